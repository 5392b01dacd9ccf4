//! The tensor methods that forward passes use most, under PyTorch's names; [`Signal::map`] does the rest.

use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{DType, Tensor};

use super::Signal;
use crate::kernels::internal::clamp;

impl Signal {
    /// The same elements in another shape; one size may be `()`: the rest.
    pub fn reshape(self, shape: impl ShapeWithOneHole) -> Self {
        self.apply("reshape", |t| t.reshape(shape))
    }

    /// Joins the dimensions `start..=end` into one.
    pub fn flatten(self, start: impl Dim, end: impl Dim) -> Self {
        self.apply("flatten", |t| t.flatten(start, end))
    }

    /// Swaps two dimensions.
    pub fn transpose(self, a: impl Dim, b: impl Dim) -> Self {
        self.apply("transpose", |t| t.transpose(a, b))
    }

    /// Puts the dimensions in another order.
    pub fn permute(self, dims: impl Dims) -> Self {
        self.apply("permute", |t| t.permute(dims))
    }

    /// The elements `start..start + length` of one dimension.
    pub fn narrow(self, dim: impl Dim, start: usize, length: usize) -> Self {
        self.apply("narrow", |t| t.narrow(dim, start, length))
    }

    /// Removes a dimension of size one.
    pub fn squeeze(self, dim: impl Dim) -> Self {
        self.apply("squeeze", |t| t.squeeze(dim))
    }

    /// Inserts a dimension of size one.
    pub fn unsqueeze(self, dim: impl Dim) -> Self {
        self.apply("unsqueeze", |t| t.unsqueeze(dim))
    }

    pub fn contiguous(self) -> Self {
        self.apply("contiguous", |t| t.contiguous())
    }

    pub fn to_dtype(self, dtype: DType) -> Self {
        self.apply("to_dtype", |t| t.to_dtype(dtype))
    }

    /// Sums over `dims`, which go.
    pub fn sum(self, dims: impl Dims) -> Self {
        self.apply("sum", |t| t.sum(dims))
    }

    /// Averages over `dims`, which go.
    pub fn mean(self, dims: impl Dims) -> Self {
        self.apply("mean", |t| t.mean(dims))
    }

    /// Averages over `dims`, which stay with size one.
    pub fn mean_keepdim(self, dims: impl Dims) -> Self {
        self.apply("mean", |t| t.mean_keepdim(dims))
    }

    /// The matrix product, broadcast over the leading dimensions.
    pub fn matmul(self, other: impl Into<Signal>) -> Self {
        match other.into().into_tensor() {
            Ok(other) => self.apply("matmul", |t| matrices(&t)?.broadcast_matmul(&matrices(&other)?)),
            Err(error) => Self::fail(error),
        }
    }

    /// Splits a dimension into `chunks` parts of one size, the last one smaller where it does not divide.
    pub fn chunk(self, chunks: usize, dim: impl Dim) -> crate::Result<Vec<Self>> {
        let parts = self.into_tensor()?.chunk(chunks, dim)?;
        Ok(parts.into_iter().map(Self::from).collect())
    }

    pub fn exp(self) -> Self {
        self.unary("exp", Tensor::exp)
    }

    pub fn log(self) -> Self {
        self.unary("log", Tensor::log)
    }

    pub fn sqrt(self) -> Self {
        self.unary("sqrt", Tensor::sqrt)
    }

    pub fn sqr(self) -> Self {
        self.unary("sqr", Tensor::sqr)
    }

    pub fn abs(self) -> Self {
        self.unary("abs", Tensor::abs)
    }

    pub fn powf(self, exponent: f64) -> Self {
        self.apply("powf", |t| t.powf(exponent))
    }

    pub fn clamp(self, min: f64, max: f64) -> Self {
        self.apply("clamp", |t| clamp(&t, min, max))
    }

    fn unary(self, name: &'static str, f: fn(&Tensor) -> candle_core::Result<Tensor>) -> Self {
        self.apply(name, |t| f(&t))
    }
}

/// The same matrices, row by row or column by column in memory: candle multiplies no others.
fn matrices(x: &Tensor) -> candle_core::Result<Tensor> {
    let by_columns = x.rank() >= 2 && x.t()?.is_contiguous();
    if by_columns { Ok(x.clone()) } else { x.contiguous() }
}
