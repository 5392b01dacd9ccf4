//! The layer `Permute`.

use crate::Result;
use crate::module::{Forward, Mode};
use crate::signal::Signal;

use super::{self_config, stateless};

/// Reorders the dimensions, like torchvision's `Permute`. The method for signals is
/// [`permute`](crate::Signal::permute).
///
/// - Config: `Permute::config(dims)`; the output's dimension `i` is the input's dimension `dims[i]`, and a negative
///   number counts from the end
/// - Input: any shape with as many dimensions as `dims`
/// - Fails if `dims` does not contain each dimension of the input exactly once
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let to_nhwc = Permute::config([0, 2, 3, 1]);
/// let x = Tensor::zeros((8, 3, 4, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(to_nhwc.forward(&x)?.dims(), [8, 4, 5, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Permute {
    dims: Vec<isize>,
}

impl Permute {
    /// Creates the layer, which is its own config.
    pub fn config(dims: impl IntoIterator<Item = isize>) -> Self {
        Self { dims: dims.into_iter().collect() }
    }

    // `self_config!` calls this method. `Signal::permute` checks the dimensions on each call.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

// torchvision does not print the dimensions.
stateless!(Permute, "Permute");
self_config!(Permute);

impl Forward for Permute {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        x.permute(&self.dims)
    }
}
