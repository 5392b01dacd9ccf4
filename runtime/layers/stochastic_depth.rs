//! The layer `StochasticDepth`.

use crate::Result;
use crate::display::python_float;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

use super::{self_config, stateless};

/// In training, zeroes the whole input or whole examples with probability `p` and multiplies the rest by `1 / (1 − p)`.
/// In evaluation, returns the input unchanged (Huang et al. 2016, <https://arxiv.org/abs/1603.09382>). Corresponds to
/// torchvision's `StochasticDepth`.
///
/// - Config: `StochasticDepth::config(p, mode)`; `mode` is `"batch"` to keep or zero the whole input, or `"row"` to
///   keep or zero each example independently
/// - Input, output: `[batch, …]`
/// - Fails if `p` is not between 0 and 1, or if `mode` is neither `"batch"` nor `"row"`
///
/// The layer follows the last layer of a residual branch: `x + depth(branch(x))`. [`manual_seed`](crate::manual_seed)
/// makes the random choice reproducible.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let depth = StochasticDepth::config(0.5, "row");
/// let x = Tensor::ones((8, 3, 2), DType::F32, &Device::Cpu)?;
/// for sum in depth.forward_t(&x, true)?.sum((1, 2))?.to_vec1::<f32>()? {
///     assert!(sum == 0. || sum == 12.); // An example is kept or dropped as a whole.
/// }
/// assert_eq!(depth.forward(&x)?.sum_all()?.to_scalar::<f32>()?, 48.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct StochasticDepth {
    p: f64,
    mode: &'static str,
    /// The mode to which the layer is pinned.
    pinned: Option<Mode>,
}

impl StochasticDepth {
    /// Creates the layer, which is its own config.
    pub fn config(p: f64, mode: &'static str) -> Self {
        Self { p, mode, pinned: None }
    }

    fn checked(self) -> Result<Self> {
        ops::check_stochastic_depth(self.p, self.mode).map_err(|error| error.in_layer("StochasticDepth"))?;
        Ok(self)
    }
}

stateless!(StochasticDepth, "StochasticDepth", |this| {
    format!("p={}, mode={}", python_float(this.p), this.mode)
}; pinned);
self_config!(StochasticDepth);

impl Forward for StochasticDepth {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        ops::stochastic_depth(x, self.p, self.mode, self.pinned.unwrap_or(mode))
    }
}
