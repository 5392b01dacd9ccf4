//! Optional validation data.

use crate::train::batch::Batch;
use crate::train::data::Batches;

/// Optional validation data with batches of the type `B`: a reference to [`Batches`], or `&()` for no validation.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::Validation;
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 4., &Device::Cpu)?.reshape((4, 1))?;
/// let data = (x.clone(), x);
/// assert_eq!((&data).batches().map(|batches| batches.len_hint()), Some(Some(1)));
/// assert!(Validation::<(Tensor, Tensor)>::batches(&&()).is_none());
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not validation data with batches of the type `{B}`",
    note = "validation data is a reference to a source of the same batches as in training, or `&()` for no validation"
)]
pub trait Validation<B: Batch> {
    /// Returns the batches, or `None` to skip validation.
    fn batches(&self) -> Option<&dyn Batches<Batch = B>>;
}

impl<B: Batch, D: Batches<Batch = B>> Validation<B> for &D {
    fn batches(&self) -> Option<&dyn Batches<Batch = B>> {
        Some(*self)
    }
}

impl<B: Batch> Validation<B> for &() {
    fn batches(&self) -> Option<&dyn Batches<Batch = B>> {
        None
    }
}

impl<B: Batch, D: Batches<Batch = B>> Validation<B> for Option<&D> {
    fn batches(&self) -> Option<&dyn Batches<Batch = B>> {
        self.map(|batches| batches as &dyn Batches<Batch = B>)
    }
}
