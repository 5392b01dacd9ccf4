//! Methods of [`Signal`] with the names of PyTorch's tensor methods. Use [`Signal::map`] to call any other method of a
//! tensor.

use candle_core::shape::ShapeWithOneHole;
use candle_core::{DType, Tensor};

use crate::dim::{Dim, Dims};
use crate::kernels::arithmetic::{self, Unary};
use crate::kernels::internal::blocked::{self, BlockedTensor};
use crate::ops::flatten_range;
use crate::{Error, Result};

use super::{Chunks, Layout, Signal};

impl Signal {
    /// Changes the shape. One size may be `()`: it is computed from the number of elements.
    ///
    /// The result is a failed signal if the shape has another number of elements.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.reshape((6, ())).dims()?, [6, 4]);
    /// assert!(x.reshape((5, 5)).error().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reshape(&self, shape: impl ShapeWithOneHole) -> Self {
        self.clone().apply("reshape", |t| t.reshape(shape))
    }

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

    /// Returns the elements `start..start + length` of one dimension.
    ///
    /// The result is a failed signal if the range or `dim` is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::arange(0f32, 5., &Device::Cpu)?);
    /// assert_eq!(x.narrow(0, 1, 3).into_tensor()?.to_vec1::<f32>()?, [1., 2., 3.]);
    /// assert!(x.narrow(0, 3, 3).error().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn narrow(&self, dim: impl Dim, start: usize, length: usize) -> Self {
        self.along("narrow", dim, |t, dims| t.narrow(dims[0], start, length))
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
        self.clone().apply("unsqueeze", |t| -> Result<Tensor> { Ok(t.unsqueeze(dim.index(t.rank() + 1)?)?) })
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
        self.clone().apply("contiguous", |t| t.contiguous())
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
        self.clone().apply("to_dtype", |t| t.to_dtype(dtype))
    }

    /// Sums over `dims` and removes these dimensions.
    ///
    /// The result is a failed signal if a dimension is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.sum((0, -1)).into_tensor()?.to_vec1::<f32>()?, [8.; 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sum(&self, dims: impl Dims) -> Self {
        self.along("sum", dims, |t, dims| arithmetic::sum(&t, dims))
    }

    /// Averages over `dims` and removes these dimensions.
    ///
    /// The result is a failed signal if a dimension is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?);
    /// assert_eq!(x.mean(-1).into_tensor()?.to_vec1::<f32>()?, [1.5, 3.5]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mean(&self, dims: impl Dims) -> Self {
        self.average(dims, false)
    }

    /// Averages over `dims` and keeps these dimensions with size 1.
    ///
    /// The result is a failed signal if a dimension is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?);
    /// let centered = &x - x.mean_keepdim(-1);
    /// assert_eq!(centered.into_tensor()?.to_vec2::<f32>()?, [[-0.5, 0.5], [-0.5, 0.5]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mean_keepdim(&self, dims: impl Dims) -> Self {
        self.average(dims, true)
    }

    /// Returns the matrix product, broadcast over the leading dimensions.
    ///
    /// `self` is `[…, rows, inner]`, `other` is `[…, inner, columns]`, and the result is `[…, rows, columns]`. The
    /// result is a failed signal if the shapes do not match.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let a = Signal::from(Tensor::ones((5, 2, 3), DType::F32, &Device::Cpu)?);
    /// let b = Tensor::ones((3, 4), DType::F32, &Device::Cpu)?;
    /// assert_eq!(a.matmul(&b).dims()?, [5, 2, 4]);
    /// assert!(a.matmul(a.clone()).error().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn matmul(&self, other: impl Into<Signal>) -> Self {
        match other.into().into_tensor() {
            Ok(other) => self.clone().apply("matmul", |t| {
                to_contiguous_matrices(&t)?.broadcast_matmul(&to_contiguous_matrices(&other)?)
            }),
            Err(error) => Self::fail(error),
        }
    }

    /// Splits a dimension into `chunks` parts. If the size of the dimension is not divisible by `chunks`, the first
    /// parts are larger by 1. If the size is smaller than `chunks`, there is one part per element.
    ///
    /// Returns an array, a `Vec<Signal>` or a `Result<Vec<Signal>>`, depending on the annotated type.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::arange(0f32, 6., &Device::Cpu)?);
    /// let [a, b, c] = x.chunk(3, -1);
    /// assert_eq!((a + b + c).into_tensor()?.to_vec1::<f32>()?, [6., 9.]);
    /// let parts: Vec<Signal> = x.chunk(2, 0);
    /// assert_eq!(parts[1].tensor()?.to_vec1::<f32>()?, [3., 4., 5.]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The parts fail if the signal has failed, if its deferred operation fails, if `dim` is out of range, or if the
    /// number of parts is not the length of the array.
    pub fn chunk<C: Chunks>(&self, chunks: usize, dim: impl Dim) -> C {
        let parts = self.tensor().and_then(|tensor| {
            let dim = dim.index(tensor.rank())?;
            let parts = tensor.chunk(chunks, dim)?;
            Ok(parts.into_iter().map(Self::from).collect())
        });
        C::from_result(parts, chunks)
    }

    /// Computes the exponential of each element.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[0f32, f32::NEG_INFINITY], &Device::Cpu)?);
    /// assert_eq!(x.exp().into_tensor()?.to_vec1::<f32>()?, [1., 0.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn exp(&self) -> Self {
        self.clone().map_elements("exp", Unary::Exp, check_float)
    }

    /// Computes the natural logarithm of each element.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[1f32, 0.], &Device::Cpu)?);
    /// assert_eq!(x.log().into_tensor()?.to_vec1::<f32>()?, [0., f32::NEG_INFINITY]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn log(&self) -> Self {
        self.clone().map_elements("log", Unary::Log, check_float)
    }

    /// Computes the square root of each element.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[4f32, 9.], &Device::Cpu)?);
    /// assert_eq!(x.sqrt().into_tensor()?.to_vec1::<f32>()?, [2., 3.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sqrt(&self) -> Self {
        self.clone().map_elements("sqrt", Unary::Sqrt, check_float)
    }

    /// Computes the square of each element.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[-2f32, 3.], &Device::Cpu)?);
    /// assert_eq!(x.sqr().into_tensor()?.to_vec1::<f32>()?, [4., 9.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sqr(&self) -> Self {
        self.clone().map_elements("sqr", Unary::Sqr, check_float)
    }

    /// Computes the absolute value of each element.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[-2f32, 3.], &Device::Cpu)?);
    /// assert_eq!(x.abs().into_tensor()?.to_vec1::<f32>()?, [2., 3.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn abs(&self) -> Self {
        self.clone().map_elements("abs", Unary::Abs, |_| Ok(()))
    }

    /// Raises each element to the power `exponent`.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[2f32, 3.], &Device::Cpu)?);
    /// assert_eq!(x.powf(2.).into_tensor()?.to_vec1::<f32>()?, [4., 9.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn powf(&self, exponent: f64) -> Self {
        self.clone().map_elements("powf", Unary::Powf { exponent }, check_float)
    }

    /// Limits each element to the range from `min` to `max`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[-2f32, 0.5, 3.], &Device::Cpu)?);
    /// assert_eq!(x.clamp(-1., 1.).into_tensor()?.to_vec1::<f32>()?, [-1., 0.5, 1.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn clamp(&self, min: f64, max: f64) -> Self {
        self.clone().map_elements("clamp", Unary::Clamp { min, max }, |_| Ok(()))
    }

    /// Calls `operation` with the tensor and the indices of `dims`.
    fn along(
        &self,
        name: &'static str,
        dims: impl Dims,
        operation: impl FnOnce(Tensor, Vec<usize>) -> candle_core::Result<Tensor>,
    ) -> Self {
        self.clone().apply(name, |t| -> Result<Tensor> {
            let dims = dims.indices(t.rank())?;
            Ok(operation(t, dims)?)
        })
    }

    /// Averages over `dims`. Averaging over height and width reads a channel-blocked signal without reordering it.
    fn average(&self, dims: impl Dims, keep_dims: bool) -> Self {
        let Ok(rank) = self.rank() else { return self.clone() };
        let mut dims = match dims.indices(rank) {
            Ok(dims) => dims,
            Err(error) => return Self::fail(error),
        };
        dims.sort_unstable();
        let is_over_pixels = rank == 4 && dims == [2, 3];
        let on_tensor = |t: Tensor| {
            if keep_dims { arithmetic::mean_keepdim(&t, dims) } else { arithmetic::mean(&t, dims) }
        };
        if !is_over_pixels {
            return self.clone().apply("mean", on_tensor);
        }
        let on_blocked = |x: &BlockedTensor| blocked::adaptive_avg_pool2d(x, [Some(1); 2]);
        let mean = self.clone().apply_either("mean", Layout::Nchwc, on_blocked, on_tensor);
        // `on_blocked` keeps the dimensions of the pixels, and `on_tensor` has removed them unless `keep_dims` is set.
        if keep_dims || mean.rank().is_ok_and(|rank| rank == 2) {
            return mean;
        }
        mean.into_tensor().and_then(|mean| Ok(mean.flatten_from(1)?)).into()
    }

    /// Applies the function `op` to every element, in the layout of the signal. The result is a failed signal if
    /// `check` fails for the dtype.
    pub(super) fn map_elements(
        self,
        name: &'static str,
        op: Unary,
        check: impl FnOnce(DType) -> Result<()>,
    ) -> Self {
        let on_blocked = |x: &BlockedTensor| blocked::unary(op, x);
        self.apply_either(name, Layout::Nchw, on_blocked, |t| -> Result<Tensor> {
            check(t.dtype())?;
            Ok(arithmetic::unary(op, &t)?)
        })
    }
}

/// Returns an error unless the dtype is floating point.
pub(super) fn check_float(dtype: DType) -> Result<()> {
    if dtype.is_float() {
        return Ok(());
    }
    Err(Error::msg(format!("expected a floating-point input, found {dtype:?}")))
}

/// Copies matrices unless they are contiguous row by row or column by column, as candle's matrix product requires.
fn to_contiguous_matrices(x: &Tensor) -> candle_core::Result<Tensor> {
    let is_transposed = x.rank() >= 2 && x.t()?.is_contiguous();
    if is_transposed { Ok(x.clone()) } else { x.contiguous() }
}
