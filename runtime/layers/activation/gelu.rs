//! GELU, exact or with the tanh approximation.

use crate::layers::{self_config, stateless};
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;
use crate::{Error, Result};

/// Computes `x Φ(x)`, or its approximation `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2` (Hendrycks and Gimpel 2016).
/// Φ is the cumulative distribution function of the standard normal distribution.
///
/// - Config: `Gelu::config()`; setter `approximate` (`"none"`)
/// - Input, output: any shape
/// - Fails if `approximate` is neither `"none"` nor `"tanh"`
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-100f32, 0., 100.], &Device::Cpu)?;
/// let y = Gelu::config().approximate("tanh").call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.to_vec1::<f32>()?, [0., 0., 100.]);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "GELU")]
#[derive(Clone, Copy)]
pub struct Gelu {
    approximate: &'static str,
}

impl Default for Gelu {
    fn default() -> Self {
        Self { approximate: "none" }
    }
}

impl Gelu {
    /// Creates the layer with PyTorch's defaults.
    pub fn config() -> Self {
        Self::default()
    }

    /// Sets the approximation: `"none"` or `"tanh"`.
    pub fn approximate(mut self, approximate: &'static str) -> Self {
        self.approximate = approximate;
        self
    }

    fn function(self) -> Result<fn(Signal) -> Signal> {
        match self.approximate {
            "none" => Ok(ops::gelu),
            "tanh" => Ok(ops::gelu_tanh),
            found => {
                let error = format!("expected approximate \"none\" or \"tanh\", found {found:?}");
                Err(Error::msg(error).in_layer("GELU"))
            }
        }
    }

    fn checked(self) -> Result<Self> {
        self.function().map(|_| self)
    }
}

stateless!(Gelu, "GELU", |this| format!("approximate='{}'", this.approximate));
self_config!(Gelu);

impl Forward for Gelu {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        match self.function() {
            Ok(function) => function(x),
            Err(error) => Signal::fail(error),
        }
    }
}
