//! Methods that change the shape, the strides, the order of the elements or the element type.

use candle_core::{DType, Tensor};

use crate::dim::{Dim, Dims};
use crate::graph::Op;
use crate::kernels::internal::reshape;
use crate::ops::flatten_range;
use crate::sizes::{Sizes, expanded_sizes, inferred_sizes};
use crate::{Error, Result};

use super::{SameShape, ShapeFrom, Signal, View};

impl Signal {
    /// Joins the dimensions `start..=end` into one.
    ///
    /// The result is a failed signal if a dimension is out of range, or if `start` is greater than `end`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.flatten(1, -1).dims()?, [2, 12]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn flatten(&self, start: impl Dim, end: impl Dim) -> Self {
        flatten_range(self.clone(), start, end)
    }

    /// Swaps two dimensions.
    ///
    /// The result is a failed signal if a dimension is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.transpose(-1, -2).dims()?, [2, 4, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn transpose(&self, a: impl Dim, b: impl Dim) -> Self {
        self.along("transpose", (a, b), |t, dims| t.transpose(dims[0], dims[1]))
    }

    /// Reorders the dimensions.
    ///
    /// Dimension `i` of the result is dimension `dims[i]` of `self`. The result is a failed signal unless `dims`
    /// contains each dimension exactly once.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.permute((2, 0, 1)).dims()?, [4, 2, 3]);
    /// assert!(x.permute((0, 0, 1)).error().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn permute(&self, dims: impl Dims) -> Self {
        self.along("permute", dims, |t, dims| t.permute(dims))
    }

    /// Shifts the elements by `shifts[i]` positions along the dimension `dims[i]`. Elements that leave a dimension at
    /// one end enter it at the other. A negative number shifts towards the first position.
    ///
    /// The result is a failed signal if a dimension is out of range, or if the numbers of shifts and of dimensions
    /// differ.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[[1f32, 2., 3.], [4., 5., 6.]], &Device::Cpu)?);
    /// assert_eq!(x.roll([1], -1).into_tensor()?.to_vec2::<f32>()?, [[3., 1., 2.], [6., 4., 5.]]);
    /// assert_eq!(x.roll([1, -1], (0, 1)).into_tensor()?.to_vec2::<f32>()?, [[5., 6., 4.], [2., 3., 1.]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn roll(&self, shifts: impl IntoIterator<Item = isize>, dims: impl Dims) -> Self {
        let Ok(rank) = self.rank() else { return self.clone() };
        let shifts: Vec<isize> = shifts.into_iter().collect();
        let dims = match dims.indices(rank) {
            Ok(dims) => dims,
            Err(error) => return Self::fail(error),
        };
        if shifts.len() != dims.len() {
            return Self::fail(Error::msg(format!(
                "roll: expected one shift per dimension, found {shifts:?} for the dimensions {dims:?}"
            )));
        }
        let op = Op::Roll { shifts: shifts.clone(), dims: dims.clone() };
        self.clone().apply(("roll", op), SameShape, |t| -> Result<Tensor> {
            shifts.iter().zip(&dims).try_fold(t, |t, (shift, dim)| roll(&t, *shift, *dim))
        })
    }

    /// Removes a dimension of size 1.
    ///
    /// A dimension of another size stays. The result is a failed signal if `dim` is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 1, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.squeeze(1).dims()?, [2, 4]);
    /// assert_eq!(x.squeeze(0).dims()?, [2, 1, 4]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn squeeze(&self, dim: impl Dim) -> Self {
        self.along("squeeze", dim, |t, dims| t.squeeze(dims[0]))
    }

    /// Inserts a dimension of size 1, before dimension `dim`. With `-1`, appends the dimension.
    ///
    /// The result is a failed signal if `dim` is greater than the number of dimensions.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.unsqueeze(1).dims()?, [2, 1, 4]);
    /// assert_eq!(x.unsqueeze(-1).dims()?, [2, 4, 1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn unsqueeze(&self, dim: impl Dim) -> Self {
        self.clone()
            .apply("unsqueeze", View, |t| -> Result<Tensor> { Ok(t.unsqueeze(dim.index(t.rank() + 1)?)?) })
    }

    /// Copies the elements to contiguous memory if they are not contiguous.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3), DType::F32, &Device::Cpu)?).transpose(0, 1);
    /// assert!(!x.tensor()?.is_contiguous());
    /// assert!(x.contiguous().tensor()?.is_contiguous());
    /// # Ok(())
    /// # }
    /// ```
    pub fn contiguous(&self) -> Self {
        self.clone().apply(("contiguous", Op::Identity), SameShape, |t| t.contiguous())
    }

    /// Converts the elements to `dtype`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[1f32, 2.5], &Device::Cpu)?);
    /// assert_eq!(x.to_dtype(DType::U32).into_tensor()?.to_vec1::<u32>()?, [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_dtype(&self, dtype: DType) -> Self {
        self.clone().apply(("to_dtype", Op::ToDtype(dtype)), SameShape, |t| t.to_dtype(dtype))
    }

    /// Changes the shape. One size may be `-1` or `()`: it is computed from the number of elements.
    ///
    /// The result is a failed signal if the shape has another number of elements.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.reshape((6, -1)).dims()?, [6, 4]);
    /// assert_eq!(x.reshape([-1]).dims()?, [24]);
    /// assert!(x.reshape((5, 5)).error().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reshape(&self, shape: impl Sizes) -> Self {
        let shape = shape.sizes();
        let new_dims = |dims: &[usize]| -> Result<Vec<usize>> {
            let shape = shape.as_ref().map_err(Clone::clone)?;
            inferred_sizes(dims.iter().product(), shape)
                .ok_or_else(|| Error::msg(format!("reshape: cannot change the shape {dims:?} to {shape:?}")))
        };
        self.clone().apply(("reshape", Op::Reshape), ShapeFrom(&new_dims), |t| -> Result<Tensor> {
            let dims = new_dims(t.dims())?;
            Ok(reshape(&t, dims)?.into_tensor())
        })
    }

    /// Changes the shape, as [`reshape`](Self::reshape) does. Unlike PyTorch's `view`, this method copies the elements
    /// if they are not contiguous.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.view((-1, 2, 2)).dims()?, [6, 2, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn view(&self, shape: impl Sizes) -> Self {
        self.reshape(shape)
    }

    /// Transposes a matrix. A signal with fewer than 2 dimensions stays as it is.
    ///
    /// The result is a failed signal if there are more than 2 dimensions. Then use [`transpose`](Self::transpose).
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.t().dims()?, [3, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn t(&self) -> Self {
        self.clone().apply("t", View, |t| -> Result<Tensor> {
            match t.rank() {
                0 | 1 => Ok(t),
                2 => Ok(t.t()?),
                rank => Err(Error::msg(format!("t: expected at most 2 dimensions, found {rank}"))),
            }
        })
    }

    /// Repeats dimensions of size 1 to the given sizes, without a copy. `-1` keeps the size of a dimension. The shape
    /// may have more dimensions, which are added before the first.
    ///
    /// The result is a failed signal if a dimension of another size would have to change.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((1, 1, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.expand((8, -1, -1)).dims()?, [8, 1, 4]);
    /// assert!(x.expand((1, 1, 5)).error().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn expand(&self, shape: impl Sizes) -> Self {
        self.clone().apply("expand", View, |t| -> Result<Tensor> {
            let shape = shape.sizes()?;
            let Some(sizes) = expanded_sizes(t.dims(), &shape) else {
                let dims = t.dims();
                return Err(Error::msg(format!("expand: cannot expand the shape {dims:?} to {shape:?}")));
            };
            Ok(t.broadcast_as(sizes)?)
        })
    }
}

/// Shifts the elements by `shift` places along one dimension, modulo its size.
fn roll(t: &Tensor, shift: isize, dim: usize) -> Result<Tensor> {
    let size = t.dim(dim)?;
    // A size is at most `isize::MAX`. An empty dimension has no elements to shift.
    let shift = shift.rem_euclid(size.max(1) as isize) as usize;
    if shift == 0 {
        return Ok(t.clone());
    }
    let [first, last] = [t.narrow(dim, 0, size - shift)?, t.narrow(dim, size - shift, shift)?];
    Ok(Tensor::cat(&[last, first], dim)?)
}
