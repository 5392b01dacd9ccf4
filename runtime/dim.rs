//! Dimensions as arguments: an index, or a negative number that counts from the end.

use candle_core::D;

use crate::{Error, Result};

/// A dimension of a tensor: an integer of any type, or candle's [`D`]. A negative dimension counts from the end, as in
/// PyTorch: `-1` is the last dimension.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
/// assert_eq!(x.transpose(-1, 1).dims()?, [2, 4, 3]);
/// assert_eq!(x.mean(D::Minus1).dims()?, [2, 3]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a dimension",
    note = "a dimension is an integer, which may be negative to count from the end, or `D::Minus1`"
)]
pub trait Dim: Copy {
    /// Returns the index of this dimension in a tensor with `rank` dimensions.
    ///
    /// # Errors
    /// Fails if the dimension is out of range.
    fn index(self, rank: usize) -> Result<usize>;
}

impl Dim for isize {
    fn index(self, rank: usize) -> Result<usize> {
        let index = if self < 0 { self.checked_add_unsigned(rank) } else { Some(self) };
        match index.and_then(|index| usize::try_from(index).ok()) {
            Some(index) if index < rank => Ok(index),
            _ => Err(out_of_range(self, rank)),
        }
    }
}

fn out_of_range(dim: impl std::fmt::Display, rank: usize) -> Error {
    Error::msg(format!("dimension {dim} is out of range for a tensor with {rank} dimensions"))
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Dim for $integer {
            fn index(self, rank: usize) -> Result<usize> {
                isize::try_from(self).map_err(|_| out_of_range(self, rank))?.index(rank)
            }
        }
    )*};
}

integers! { i8 i16 i32 i64 u8 u16 u32 u64 usize }

impl Dim for D {
    fn index(self, rank: usize) -> Result<usize> {
        let from_end = match self {
            D::Minus1 => 1,
            D::Minus2 => 2,
            D::Minus(from_end) => from_end,
        };
        let index = rank.checked_sub(from_end).filter(|index| *index < rank);
        index.ok_or_else(|| out_of_range(format!("-{from_end}"), rank))
    }
}

/// Several dimensions of a tensor: one [`Dim`], or a tuple, array, slice or `Vec` of them.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Signal::from(Tensor::ones((2, 3, 4, 5), DType::F32, &Device::Cpu)?);
/// assert_eq!(x.mean_keepdim((-2, -1)).dims()?, [2, 3, 1, 1]);
/// assert_eq!(x.permute([0, 2, 3, 1]).dims()?, [2, 4, 5, 3]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of dimensions",
    note = "dimensions are one integer or `D::Minus1`, or a tuple, array, slice or `Vec` of them"
)]
pub trait Dims {
    /// Returns the indices of these dimensions in a tensor with `rank` dimensions.
    ///
    /// # Errors
    /// Fails if a dimension is out of range.
    fn indices(self, rank: usize) -> Result<Vec<usize>>;
}

impl<T: Dim> Dims for T {
    fn indices(self, rank: usize) -> Result<Vec<usize>> {
        Ok(vec![self.index(rank)?])
    }
}

impl<T: Dim> Dims for &[T] {
    fn indices(self, rank: usize) -> Result<Vec<usize>> {
        self.iter().map(|dim| dim.index(rank)).collect()
    }
}

impl<T: Dim> Dims for Vec<T> {
    fn indices(self, rank: usize) -> Result<Vec<usize>> {
        self[..].indices(rank)
    }
}

impl<T: Dim> Dims for &Vec<T> {
    fn indices(self, rank: usize) -> Result<Vec<usize>> {
        self[..].indices(rank)
    }
}

impl<T: Dim, const N: usize> Dims for [T; N] {
    fn indices(self, rank: usize) -> Result<Vec<usize>> {
        self[..].indices(rank)
    }
}

/// No dimensions.
impl Dims for () {
    fn indices(self, _: usize) -> Result<Vec<usize>> {
        Ok(Vec::new())
    }
}

macro_rules! tuples {
    ($($($dim:ident $index:tt)+;)*) => {$(
        impl<$($dim: Dim),+> Dims for ($($dim,)+) {
            fn indices(self, rank: usize) -> Result<Vec<usize>> {
                Ok(vec![$(self.$index.index(rank)?),+])
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
