//! One dimension into several.

use super::{own_config, stateless};
use crate::Result;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

/// Splits the dimension `dim`, counted from the end where it is negative, into several, of which one may
/// be `-1`: the rest.
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
#[derive(Clone, Debug)]
pub struct Unflatten {
    dim: isize,
    unflattened_size: Vec<isize>,
}

impl Unflatten {
    pub fn config(dim: isize, unflattened_size: impl IntoIterator<Item = isize>) -> Self {
        Self { dim, unflattened_size: unflattened_size.into_iter().collect() }
    }

    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

stateless!(Unflatten, "Unflatten", |this| {
    let sizes: Vec<String> = this.unflattened_size.iter().map(isize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    format!("dim={}, unflattened_size=({}{comma})", this.dim, sizes.join(", "))
});
own_config!(Unflatten);

impl Forward for Unflatten {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        ops::unflatten(x, self.dim, self.unflattened_size.iter().copied())
    }
}
