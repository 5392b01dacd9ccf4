//! The sizes of a new shape as arguments: integers, of which `-1` stands for a size that is not given.

use candle_core::Shape;

use crate::{Error, Result};

/// The size of one dimension of a new shape: an integer of up to 64 bits. `-1` or `()` stands for a size that is not
/// given.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the size of a dimension",
    note = "a size is an integer, or `-1` for a size that is not given"
)]
pub trait Size: Copy {
    /// Returns the size, or -1 if it is not given.
    ///
    /// # Errors
    /// Fails if the size is negative but not -1, or if it does not fit into an `isize`.
    fn size(self) -> Result<isize>;
}

impl Size for isize {
    fn size(self) -> Result<isize> {
        if self < -1 { Err(invalid(self)) } else { Ok(self) }
    }
}

impl Size for () {
    fn size(self) -> Result<isize> {
        Ok(-1)
    }
}

fn invalid(size: impl std::fmt::Display) -> Error {
    Error::msg(format!("expected a size of at least 0, or -1, found {size}"))
}

fn too_large(size: impl std::fmt::Display) -> Error {
    Error::msg(format!("expected a size of at most {}, found {size}", isize::MAX))
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Size for $integer {
            fn size(self) -> Result<isize> {
                isize::try_from(self).map_err(|_| too_large(self))?.size()
            }
        }
    )*};
}

integers! { i8 i16 i32 i64 u8 u16 u32 u64 usize }

/// The sizes of a new shape: one [`Size`], a tuple, array, slice or `Vec` of them, or candle's [`Shape`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
/// let batch: usize = x.dim(0)?;
/// assert_eq!(x.reshape((batch, -1)).dims()?, [2, 12]);
/// assert_eq!(x.reshape([4, 6]).dims()?, [4, 6]);
/// assert_eq!(x.reshape(-1).dims()?, [24]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a shape",
    note = "a shape is one integer, or a tuple, array, slice or `Vec` of integers; `-1` stands for a size that is not given"
)]
pub trait Sizes {
    /// Returns the sizes, with -1 for those that are not given.
    ///
    /// # Errors
    /// Fails if a size is negative but not -1, or too large.
    fn sizes(self) -> Result<Vec<isize>>;
}

impl<T: Size> Sizes for T {
    fn sizes(self) -> Result<Vec<isize>> {
        Ok(vec![self.size()?])
    }
}

impl<T: Size> Sizes for &[T] {
    fn sizes(self) -> Result<Vec<isize>> {
        self.iter().map(|size| size.size()).collect()
    }
}

impl<T: Size> Sizes for Vec<T> {
    fn sizes(self) -> Result<Vec<isize>> {
        self[..].sizes()
    }
}

impl<T: Size> Sizes for &Vec<T> {
    fn sizes(self) -> Result<Vec<isize>> {
        self[..].sizes()
    }
}

impl<T: Size, const N: usize> Sizes for [T; N] {
    fn sizes(self) -> Result<Vec<isize>> {
        self[..].sizes()
    }
}

impl<T: Size, const N: usize> Sizes for &[T; N] {
    fn sizes(self) -> Result<Vec<isize>> {
        self[..].sizes()
    }
}

impl Sizes for Shape {
    fn sizes(self) -> Result<Vec<isize>> {
        self.dims().sizes()
    }
}

impl Sizes for &Shape {
    fn sizes(self) -> Result<Vec<isize>> {
        self.dims().sizes()
    }
}

macro_rules! tuples {
    ($($($size:ident $index:tt)+;)*) => {$(
        impl<$($size: Size),+> Sizes for ($($size,)+) {
            fn sizes(self) -> Result<Vec<isize>> {
                Ok(vec![$(self.$index.size()?),+])
            }
        }
    )*};
}

tuples! {
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
}

/// Returns the sizes with -1 computed, so that their product is `total`. Returns `None` if that is not possible.
pub(crate) fn inferred_sizes(total: usize, sizes: &[isize]) -> Option<Vec<usize>> {
    let known = sizes.iter().filter(|size| **size != -1);
    let product = known.clone().try_fold(1usize, |product, size| {
        usize::try_from(*size).ok().and_then(|size| product.checked_mul(size))
    })?;
    let inferred = match sizes.len() - known.count() {
        // No size is `-1`, so that the inferred size is not used.
        0 if product == total => 1,
        1 if product > 0 && total.is_multiple_of(product) => total / product,
        _ => return None,
    };
    Some(sizes.iter().map(|size| usize::try_from(*size).unwrap_or(inferred)).collect())
}

/// Returns the sizes to which the shape `dims` can be expanded, with -1 replaced with the present size. Returns `None`
/// if a dimension whose size is not 1 would have to change.
pub(crate) fn expanded_sizes(dims: &[usize], sizes: &[isize]) -> Option<Vec<usize>> {
    let added = sizes.len().checked_sub(dims.len())?;
    let present = sizes.iter().enumerate().map(|(i, size)| (size, i.checked_sub(added).map(|i| dims[i])));
    let expanded = present.map(|(size, present)| match (usize::try_from(*size), present) {
        (Err(_), present) => present,
        (Ok(size), Some(present)) if present != 1 && present != size => None,
        (Ok(size), _) => Some(size),
    });
    expanded.collect()
}
