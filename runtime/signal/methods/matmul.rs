//! The matrix product.

use candle_core::Shape;

use crate::kernels::matmul::matmul;

use crate::{Error, Result};

use super::{Meta, Recording, Signal, product};

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
        let recording = Recording::start(self);
        let y = self.clone().combine("matmul", other.into(), matmul_meta, |a, b| Ok(matmul(a, b)?));
        recording.finish_products(y, |a, y| product(y.iter().chain(a.last())))
    }
}

/// Returns the shape of the product of two batches of matrices, `[…, rows, depth]` and `[…, depth, columns]`. The product
/// of two empty matrices checks the dtypes.
fn matmul_meta(a: &Meta, b: &Meta) -> Result<Meta> {
    let error = || {
        let (a, b) = (a.shape.dims(), b.shape.dims());
        Error::msg(format!(
            "matmul: expected matrices […, rows, depth] and […, depth, columns], found {a:?} and {b:?}"
        ))
    };
    let ([a_batch @ .., rows, depth], [b_batch @ .., b_depth, columns]) = (a.shape.dims(), b.shape.dims())
    else {
        return Err(error());
    };
    if depth != b_depth {
        return Err(error());
    }
    let batch = Shape::from(a_batch).broadcast_shape_binary_op(&Shape::from(b_batch), "matmul");
    let batch = batch.map_err(|_| error())?;
    let probe = matmul(&a.empty((0, 0))?, &b.empty((0, 0))?)?;
    Ok(Meta::like(&probe, [batch.dims(), &[*rows, *columns]].concat()))
}
