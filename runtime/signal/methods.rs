//! Common tensor methods under PyTorch's names. For all others, use [`Signal::map`].

use candle_core::shape::ShapeWithOneHole;
use candle_core::{DType, Tensor};

use crate::dim::{Dim, Dims};
use crate::kernels::internal::clamp;
use crate::ops::flatten_range;
use crate::{Error, Result};

use super::{Chunks, Signal};

impl Signal {
    /// Changes the shape. One size may be `()`: it is computed from the number of elements.
    pub fn reshape(&self, shape: impl ShapeWithOneHole) -> Self {
        self.clone().apply("reshape", |t| t.reshape(shape))
    }

    /// Joins the dimensions `start..=end` into one.
    pub fn flatten(&self, start: impl Dim, end: impl Dim) -> Self {
        flatten_range(self.clone(), start, end)
    }

    /// Swaps two dimensions.
    pub fn transpose(&self, a: impl Dim, b: impl Dim) -> Self {
        self.along("transpose", (a, b), |t, dims| t.transpose(dims[0], dims[1]))
    }

    /// Reorders the dimensions.
    pub fn permute(&self, dims: impl Dims) -> Self {
        self.along("permute", dims, |t, dims| t.permute(dims))
    }

    /// Returns the elements `start..start + length` of one dimension.
    pub fn narrow(&self, dim: impl Dim, start: usize, length: usize) -> Self {
        self.along("narrow", dim, |t, dims| t.narrow(dims[0], start, length))
    }

    /// Removes a dimension of size 1.
    pub fn squeeze(&self, dim: impl Dim) -> Self {
        self.along("squeeze", dim, |t, dims| t.squeeze(dims[0]))
    }

    /// Inserts a dimension of size 1, before dimension `dim`. `-1` appends it.
    pub fn unsqueeze(&self, dim: impl Dim) -> Self {
        self.clone().apply("unsqueeze", |t| -> Result<Tensor> { Ok(t.unsqueeze(dim.index(t.rank() + 1)?)?) })
    }

    /// Copies the elements to contiguous memory if they are not contiguous.
    pub fn contiguous(&self) -> Self {
        self.clone().apply("contiguous", |t| t.contiguous())
    }

    /// Converts the elements to `dtype`.
    pub fn to_dtype(&self, dtype: DType) -> Self {
        self.clone().apply("to_dtype", |t| t.to_dtype(dtype))
    }

    /// Sums over `dims` and removes these dimensions.
    pub fn sum(&self, dims: impl Dims) -> Self {
        self.along("sum", dims, |t, dims| t.sum(dims))
    }

    /// Averages over `dims` and removes these dimensions.
    pub fn mean(&self, dims: impl Dims) -> Self {
        self.along("mean", dims, |t, dims| t.mean(dims))
    }

    /// Averages over `dims` and keeps these dimensions with size 1.
    pub fn mean_keepdim(&self, dims: impl Dims) -> Self {
        self.along("mean", dims, |t, dims| t.mean_keepdim(dims))
    }

    /// Returns the matrix product, broadcast over the leading dimensions.
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
    /// The parts are an array, or a `Vec` or `Result<Vec<Signal>>` if the type says so.
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
    pub fn exp(&self) -> Self {
        self.unary("exp", Tensor::exp)
    }

    /// Computes the natural logarithm of each element.
    pub fn log(&self) -> Self {
        self.unary("log", Tensor::log)
    }

    /// Computes the square root of each element.
    pub fn sqrt(&self) -> Self {
        self.unary("sqrt", Tensor::sqrt)
    }

    /// Computes the square of each element.
    pub fn sqr(&self) -> Self {
        self.unary("sqr", Tensor::sqr)
    }

    /// Computes the absolute value of each element.
    pub fn abs(&self) -> Self {
        self.clone().apply("abs", |t| t.abs())
    }

    /// Raises each element to the power `exponent`.
    pub fn powf(&self, exponent: f64) -> Self {
        self.clone().apply("powf", |t| t.powf(exponent))
    }

    /// Limits each element to the range from `min` to `max`.
    pub fn clamp(&self, min: f64, max: f64) -> Self {
        self.clone().apply("clamp", |t| clamp(&t, min, max))
    }

    /// Runs an operation on some dimensions.
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

    /// Runs an elementwise operation that requires floating-point elements.
    fn unary(&self, name: &'static str, f: fn(&Tensor) -> candle_core::Result<Tensor>) -> Self {
        self.clone().apply(name, |t| -> Result<Tensor> {
            check_float(&t)?;
            Ok(f(&t)?)
        })
    }
}

/// Returns an error unless the tensor is floating point, because candle's unary operations panic for integers.
pub(super) fn check_float(x: &Tensor) -> Result<()> {
    if x.dtype().is_float() {
        return Ok(());
    }
    Err(Error::msg(format!("expected a floating-point input, found {:?}", x.dtype())))
}

/// Returns matrices that are contiguous row by row or column by column, as candle's matrix product requires.
fn to_contiguous_matrices(x: &Tensor) -> candle_core::Result<Tensor> {
    let is_transposed = x.rank() >= 2 && x.t()?.is_contiguous();
    if is_transposed { Ok(x.clone()) } else { x.contiguous() }
}
