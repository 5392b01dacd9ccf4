//! Common tensor methods under PyTorch's names. For all others, use [`Signal::map`].

use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{DType, Tensor};

use crate::kernels::internal::clamp;

use super::Signal;

impl Signal {
    /// Changes the shape. One size may be `()`: it is computed from the number of elements.
    pub fn reshape(&self, shape: impl ShapeWithOneHole) -> Self {
        self.clone().apply("reshape", |t| t.reshape(shape))
    }

    /// Joins the dimensions `start..=end` into one.
    pub fn flatten(&self, start: impl Dim, end: impl Dim) -> Self {
        self.clone().apply("flatten", |t| t.flatten(start, end))
    }

    /// Swaps two dimensions.
    pub fn transpose(&self, a: impl Dim, b: impl Dim) -> Self {
        self.clone().apply("transpose", |t| t.transpose(a, b))
    }

    /// Reorders the dimensions.
    pub fn permute(&self, dims: impl Dims) -> Self {
        self.clone().apply("permute", |t| t.permute(dims))
    }

    /// Returns the elements `start..start + length` of one dimension.
    pub fn narrow(&self, dim: impl Dim, start: usize, length: usize) -> Self {
        self.clone().apply("narrow", |t| t.narrow(dim, start, length))
    }

    /// Removes a dimension of size 1.
    pub fn squeeze(&self, dim: impl Dim) -> Self {
        self.clone().apply("squeeze", |t| t.squeeze(dim))
    }

    /// Inserts a dimension of size 1.
    pub fn unsqueeze(&self, dim: impl Dim) -> Self {
        self.clone().apply("unsqueeze", |t| t.unsqueeze(dim))
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
        self.clone().apply("sum", |t| t.sum(dims))
    }

    /// Averages over `dims` and removes these dimensions.
    pub fn mean(&self, dims: impl Dims) -> Self {
        self.clone().apply("mean", |t| t.mean(dims))
    }

    /// Averages over `dims` and keeps these dimensions with size 1.
    pub fn mean_keepdim(&self, dims: impl Dims) -> Self {
        self.clone().apply("mean", |t| t.mean_keepdim(dims))
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
    /// parts are larger by 1. If the size is smaller than `chunks`, returns one part per element.
    ///
    /// # Errors
    /// Fails if the signal has failed, if its deferred operation fails, or if `dim` is out of range.
    pub fn chunk(&self, chunks: usize, dim: impl Dim) -> crate::Result<Vec<Self>> {
        let parts = self.tensor()?.chunk(chunks, dim)?;
        Ok(parts.into_iter().map(Self::from).collect())
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
        self.unary("abs", Tensor::abs)
    }

    /// Raises each element to the power `exponent`.
    pub fn powf(&self, exponent: f64) -> Self {
        self.clone().apply("powf", |t| t.powf(exponent))
    }

    /// Limits each element to the range from `min` to `max`.
    pub fn clamp(&self, min: f64, max: f64) -> Self {
        self.clone().apply("clamp", |t| clamp(&t, min, max))
    }

    fn unary(&self, name: &'static str, f: fn(&Tensor) -> candle_core::Result<Tensor>) -> Self {
        self.clone().apply(name, |t| f(&t))
    }
}

/// Returns matrices that are contiguous row by row or column by column, as candle's matrix product requires.
fn to_contiguous_matrices(x: &Tensor) -> candle_core::Result<Tensor> {
    let is_transposed = x.rank() >= 2 && x.t()?.is_contiguous();
    if is_transposed { Ok(x.clone()) } else { x.contiguous() }
}
