//! The forward pass of a network, recorded as one CUDA graph.

use candle_core::{Tensor, Var};

use crate::kernels::cuda::Graph;
use crate::module::{Forward, Mode};
use crate::signal::Signal;
use crate::{Error, Result};

/// The forward pass of a network in evaluation mode, recorded on a CUDA device by [`Network::capture`].
///
/// ```no_run
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let device = sconce::cuda(0)?;
/// let layer = Conv2d::config(3, 16, 3).init(&device)?;
/// let captured = layer.capture(&Tensor::zeros((1, 3, 8, 8), DType::F32, &device)?)?;
/// let y = captured.replay(&Tensor::ones((1, 3, 8, 8), DType::F32, &device)?)?;
/// assert_eq!(y.dims(), [1, 16, 6, 6]);
/// # Ok(())
/// # }
/// ```
///
/// A replay reads the tensors that the network had during the recording. Training updates them in place and therefore
/// affects replays. `to_dtype` and `to_device` give the network other tensors and do not affect replays. Nothing else
/// may use the device during the recording.
///
/// [`Network::capture`]: crate::Network::capture
pub struct Captured<M> {
    graph: Graph,
    /// The tensor from which the recorded kernels read the input.
    input: Var,
    /// The tensor to which the recorded kernels write the output.
    output: Var,
    /// The network, whose tensors the recorded kernels read.
    _network: M,
}

impl<M: Forward<Signal, Output = Signal>> Captured<M> {
    pub(crate) fn new(network: M, x: &Tensor) -> Result<Self> {
        let device = x.device();
        let input = Var::from_tensor(&x.detach().contiguous()?)?;
        let forward = || network.call(input.as_detached_tensor().into(), Mode::Eval).into_tensor();
        let mut output = None;
        let graph = Graph::capture(device, || {
            let y = forward()?.detach();
            match &output {
                // This is the first of two calls: `Graph::capture` records only the second call.
                None => output = Some(Var::from_tensor(&y.contiguous()?)?),
                Some(output) => output.set(&y)?,
            }
            Ok(())
        })?;
        match output {
            Some(output) => Ok(Self { graph, input, output, _network: network }),
            None => Err(Error::msg("capture: the forward pass did not run")),
        }
    }

    /// Returns the output of the network for `x`.
    ///
    /// # Errors
    /// Fails if the shape, dtype or device of `x` differs from that of the recorded input.
    pub fn replay(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        self.input.set(&x.detach())?;
        self.graph.launch()?;
        Ok(self.output.as_detached_tensor().copy()?)
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        let expected = &self.input;
        if x.shape() != expected.shape() || x.dtype() != expected.dtype() {
            return Err(Error::msg(format!(
                "replay: expected the recorded shape {:?} and dtype {:?}, found {:?} and {:?}",
                expected.shape(),
                expected.dtype(),
                x.shape(),
                x.dtype()
            )));
        }
        if !x.device().same_device(self.input.device()) {
            let expected = self.input.device().location();
            let found = x.device().location();
            return Err(Error::msg(format!(
                "replay: expected an input on the recorded device {expected:?}, found one on {found:?}"
            )));
        }
        Ok(())
    }
}
