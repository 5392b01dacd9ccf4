//! The layer `Unflatten`.

use crate::Result;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

use super::{self_config, stateless};

/// Splits one dimension into several.
///
/// - Config: `Unflatten::config(dim, unflattened_size)`; a negative `dim` counts from the end; one size may be −1
///   and is then inferred
/// - Input: `[…, size, …]`
/// - Output: `[…, size1, size2, …]`
/// - Fails if `dim` is out of range for the input, or if the product of the sizes is not the size of that dimension
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((4, 30), DType::F32, &Device::Cpu)?;
/// let y = Unflatten::config(1, [2, -1, 5]).call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.dims(), [4, 2, 3, 5]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Unflatten {
    dim: isize,
    unflattened_size: Vec<isize>,
}

impl Unflatten {
    /// Creates the layer, which is its own config.
    pub fn config(dim: isize, unflattened_size: impl IntoIterator<Item = isize>) -> Self {
        Self { dim, unflattened_size: unflattened_size.into_iter().collect() }
    }

    // `self_config!` calls this method. `ops::unflatten` checks the settings on each call.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

stateless!(Unflatten, "Unflatten", |this| {
    let sizes: Vec<String> = this.unflattened_size.iter().map(isize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    format!("dim={}, unflattened_size=({}{comma})", this.dim, sizes.join(", "))
});
self_config!(Unflatten);

impl Forward for Unflatten {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        ops::unflatten(x, self.dim, self.unflattened_size.iter().copied())
    }
}
