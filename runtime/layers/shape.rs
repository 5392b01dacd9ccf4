//! The layers `Flatten` and `Identity`.

use crate::Result;
use crate::graph::Op;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::{Recording, Signal};

use super::{self_config, stateless, without_settings};

/// Merges the dimensions `start_dim..=end_dim` into one.
///
/// - Config: `Flatten::config()`; setters `start_dim` (1), `end_dim` (−1); a negative number counts from the end
/// - Input: `[batch, …]`
/// - Output: `[batch, features]` with the defaults
/// - Fails if `start_dim` or `end_dim` is out of range for the input, or if `start_dim` is after `end_dim`
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((8, 3, 4, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(Flatten::config().call(x.into(), Mode::Eval).dims()?, [8, 60]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Flatten {
    start_dim: isize,
    end_dim: isize,
}

impl Default for Flatten {
    fn default() -> Self {
        Self { start_dim: 1, end_dim: -1 }
    }
}

impl Flatten {
    /// Creates the layer with PyTorch's defaults.
    pub fn config() -> Self {
        Self::default()
    }

    /// Sets the first of the merged dimensions. Default: 1.
    pub fn start_dim(mut self, dim: isize) -> Self {
        self.start_dim = dim;
        self
    }

    /// Sets the last of the merged dimensions. Default: −1.
    pub fn end_dim(mut self, dim: isize) -> Self {
        self.end_dim = dim;
        self
    }

    // `self_config!` calls this method. `flatten_range` checks the dimensions on each call.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

stateless!(Flatten, "Flatten", |this| format!("start_dim={}, end_dim={}", this.start_dim, this.end_dim));
self_config!(Flatten);

impl Forward for Flatten {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        ops::flatten_range(x, self.start_dim, self.end_dim)
    }
}

without_settings! {
    /// Returns its input unchanged.
    ///
    /// - Config: `Identity`
    /// - Input, output: any shape
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros((8, 3), DType::F32, &Device::Cpu)?;
    /// assert_eq!(Identity.call(x.into(), Mode::Eval).dims()?, [8, 3]);
    /// # Ok(())
    /// # }
    /// ```
    Identity "Identity"
}

impl Forward for Identity {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        Recording::start(&x).finish(x, ("identity", Op::Identity))
    }
}
