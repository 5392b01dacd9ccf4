//! The matrix product.

use crate::kernels::matmul::matmul;

use super::Signal;

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
        match other.into().into_tensor() {
            Ok(other) => self.clone().apply("matmul", |t| matmul(&t, &other)),
            Err(error) => Self::fail(error),
        }
    }
}
