//! The matrix product.

use candle_core::Shape;

use crate::graph::Op;
use crate::kernels::matmul::matmul;

use crate::Result;

use super::{Meta, Recording, Signal, add_multiply_adds, matrix_products};

impl Signal {
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
        let other = other.into();
        let recording = Recording::start_all([self, &other]);
        let y = self.clone().combine("matmul", other, matmul_meta, |a, b| {
            let y = matmul(a, b)?;
            add_multiply_adds(|| matrix_products(a.dims(), y.dims()));
            Ok(y)
        });
        recording.finish_products(y, ("matmul", Op::MatMul), matrix_products)
    }
}

/// Returns the shape of the product of two batches of matrices, `[…, rows, depth]` and `[…, depth, columns]`. The
/// product of two empty matrices checks the dtypes.
fn matmul_meta(a: &Meta, b: &Meta) -> Result<Meta> {
    let Some(shape) = product_shape(a.shape.dims(), b.shape.dims()) else {
        // The product reports the wrong shapes.
        let product = matmul(&a.view()?, &b.view()?)?;
        return Ok(Meta::like(&product, product.shape()));
    };
    let probe = matmul(&a.empty((0, 0))?, &b.empty((0, 0))?)?;
    Ok(Meta::like(&probe, shape))
}

/// Returns `None` if the shapes do not match.
fn product_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let ([a_batch @ .., rows, a_depth], [b_batch @ .., b_depth, columns]) = (a, b) else { return None };
    let batch = Shape::from(a_batch).broadcast_shape_binary_op(&Shape::from(b_batch), "matmul").ok()?;
    (a_depth == b_depth).then(|| [batch.dims(), &[*rows, *columns]].concat())
}
