//! The layer `Threshold`.

use crate::Result;
use crate::display::python_float;
use crate::layers::{self_config, stateless};
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

/// Computes `value` if `x ≤ threshold`, and `x` otherwise.
///
/// - Config: `Threshold::config(threshold, value)`
/// - Input, output: any shape
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-4f32, 1., 4.], &Device::Cpu)?;
/// let y = Threshold::config(1., -20.).call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.to_vec1::<f32>()?, [-20., -20., 4.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Threshold {
    threshold: f64,
    value: f64,
}

impl Threshold {
    /// Creates the layer, which is its own config.
    pub fn config(threshold: f64, value: f64) -> Self {
        Self { threshold, value }
    }

    // `self_config!` calls this method. Every threshold and value is valid.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

stateless!(Threshold, "Threshold", |this| {
    format!("threshold={}, value={}", python_float(this.threshold), python_float(this.value))
});
self_config!(Threshold);

impl Forward for Threshold {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        ops::threshold(x, self.threshold, self.value)
    }
}
