//! Training in mixed precision: parameters in f32, computation in bf16 or f16.

use candle_core::{DType, Tensor};

use crate::module::{Forward, Mode, Module};
use crate::registry::{Replacements, TensorKind, for_each_mut};
use crate::signal::IntoTensors;
use crate::{Error, Result};

use super::batch::Batch;
use super::evaluate::run_network;

/// The element type in which a [`Trainer`](super::Trainer::precision) runs the network.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::Precision;
///
/// assert_eq!(Precision::Bf16.dtype(), DType::BF16);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// The dtype of the parameters, usually f32, without conversions.
    #[default]
    F32,
    /// bf16: the range of f32 with 8 bits of precision. Needs no loss scaling.
    Bf16,
    /// f16: 11 bits of precision, up to 65,504. Losses are scaled, see [`GradScaler`](super::GradScaler).
    F16,
}

impl Precision {
    /// Returns the dtype.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// Runs the network on a batch in [`Mode::Train`]. With another precision than f32, the network and the input are
    /// converted, and the output is converted to f32.
    pub(super) fn run<M, B, O>(self, network: &M, batch: &B) -> Result<O>
    where
        B: Batch,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        if self == Self::F32 {
            return run_network(network, batch.input(), Mode::Train, &Ok);
        }
        let dtype = self.dtype();
        let batch = batch.map_tensors(&|tensor| convert(tensor, dtype))?;
        let network = mixed_precision(network, dtype)?;
        run_network(&network, batch.input(), Mode::Train, &|output| convert(&output, DType::F32))
    }
}

/// Converts a floating-point tensor to `dtype`.
fn convert(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if tensor.dtype().is_float() { Ok(tensor.to_dtype(dtype)?) } else { Ok(tensor.clone()) }
}

/// Returns a copy of `network` that computes in `dtype`, for one forward and backward pass in mixed precision.
///
/// The floating-point parameters of the copy are those of `network`, converted to `dtype`. The conversions belong to
/// candle's graph: the backward pass returns the gradients of the original parameters, in the dtype of the parameters,
/// so an optimizer updates the parameters in f32. Buffers, such as running statistics, are shared and keep their dtype.
/// Convert the input with `to_dtype(dtype)`, and the output to f32 before the loss. Unlike PyTorch's `autocast`, the
/// network also computes in `dtype` between its matrix products; norms, softmax and losses use f32 internally.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::mixed_precision;
/// # fn main() -> Result<()> {
/// let net = Linear::config(4, 2).init(&Device::Cpu)?;
/// let x = Tensor::ones((8, 4), DType::F32, &Device::Cpu)?;
/// let output = mixed_precision(&net, DType::BF16)?.forward(&x.to_dtype(DType::BF16)?)?;
/// assert_eq!(output.dtype(), DType::BF16);
/// let grads = sconce::backward(&output.to_dtype(DType::F32)?.sqr()?.sum_all()?)?;
/// let gradient = grads.get(net.weight()).expect("the weight has a gradient");
/// assert_eq!(gradient.dtype(), DType::F32);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if `dtype` is not a floating-point dtype, or if a conversion fails.
pub fn mixed_precision<M: Module>(network: &M, dtype: DType) -> Result<M> {
    if !dtype.is_float() {
        return Err(Error::msg(format!("expected a floating-point dtype for a network, found {dtype:?}")));
    }
    let mut converted = network.share();
    let mut replacements = Replacements::default();
    for_each_mut(&mut converted, &mut |_, kind, tensor| {
        if kind == TensorKind::Parameter && tensor.dtype().is_float() {
            *tensor = replacements.get_or_make(tensor, |tensor| Ok(Tensor::to_dtype(tensor, dtype)?))?;
        }
        Ok(())
    })?;
    Ok(converted)
}
