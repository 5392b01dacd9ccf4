//! The layer `RRelu`.

use crate::Result;
use crate::display::python_float;
use crate::layers::{self_config, stateless};
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

/// Computes leaky ReLU with random slopes for negative inputs (Xu et al. 2015).
///
/// In training, the slope of each element is drawn uniformly between `lower` and `upper`. In evaluation, it is their
/// mean.
///
/// - Config: `RRelu::config()`; setters `lower` (1/8), `upper` (1/3)
/// - Input, output: any shape
/// - Fails if a slope is not finite, or if `lower` is greater than `upper`
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-4f32, 4.], &Device::Cpu)?;
/// let y = RRelu::config().lower(0.25).upper(0.75).call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.to_vec1::<f32>()?, [-2., 4.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
#[doc(alias = "RReLU")]
pub struct RRelu {
    lower: f64,
    upper: f64,
    /// The mode to which the layer is pinned.
    pinned: Option<Mode>,
}

impl Default for RRelu {
    fn default() -> Self {
        Self::config()
    }
}

impl RRelu {
    /// Creates the layer with PyTorch's defaults. The layer is its own config.
    pub fn config() -> Self {
        Self { lower: 1. / 8., upper: 1. / 3., pinned: None }
    }

    /// Sets the smallest slope.
    pub fn lower(mut self, lower: f64) -> Self {
        self.lower = lower;
        self
    }

    /// Sets the largest slope.
    pub fn upper(mut self, upper: f64) -> Self {
        self.upper = upper;
        self
    }

    fn checked(self) -> Result<Self> {
        ops::check_slopes(self.lower, self.upper).map_err(|error| error.in_layer("RReLU"))?;
        Ok(self)
    }
}

stateless!(RRelu, "RReLU", |this| {
    format!("lower={}, upper={}", python_float(this.lower), python_float(this.upper))
}; pinned);
self_config!(RRelu);

impl Forward for RRelu {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        ops::rrelu(x, self.lower, self.upper, self.pinned.unwrap_or(mode))
    }
}
