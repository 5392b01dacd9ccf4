//! Dropout.

use super::{own_config, stateless};
use crate::display::python_float;
use crate::functional;
use crate::module::{Forward, Mode};
use crate::signal::Signal;
use crate::{Error, Result};

/// In training, sets each element to zero with probability `p` and scales the others by `1 / (1 − p)`;
/// in evaluation, the identity. Srivastava et al. 2014.
///
/// [`manual_seed`](crate::manual_seed) makes the choice reproducible.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    p: f64,
}

impl Default for Dropout {
    /// `p = 0.5`
    fn default() -> Self {
        Self { p: 0.5 }
    }
}

impl Dropout {
    pub fn config(p: f64) -> Self {
        Self { p }
    }

    fn checked(self) -> Result<Self> {
        if (0. ..=1.).contains(&self.p) {
            return Ok(self);
        }
        Err(Error::msg(format!("expected a probability between 0 and 1, got {}", self.p)).in_layer("Dropout"))
    }
}

stateless!(Dropout, "Dropout", |this| format!("p={}", python_float(this.p)));
own_config!(Dropout);

impl Forward for Dropout {
    type Output = Signal;

    fn call(&self, x: Signal, mode: Mode) -> Signal {
        functional::dropout(x, self.p, mode)
    }
}
