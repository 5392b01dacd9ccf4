//! The switch between the fastest convolution algorithms and those that sum the products of the definition.

use std::sync::atomic::{AtomicBool, Ordering};

static EXACT: AtomicBool = AtomicBool::new(false);

/// Sets whether convolutions must sum the products of the definition, each product once (`true`), or may use
/// any algorithm (`false`, the default). Applies to the whole process, forward and backward, from the next
/// call on.
///
/// The fastest algorithm for a large 3×3 convolution of f32 is often Winograd's (Lavin & Gray, 2016), which
/// computes the same sums from fewer products of transformed numbers. On normally distributed numbers its
/// result differs from the exact one by at most 2·10⁻⁵ of the output's norm; the definition's sums in f32
/// differ by about 10⁻⁷. The definition takes up to four times as long. f64 is not affected.
///
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::{ConvGeometry, Epilogue, conv2d, set_exact};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((1, 64, 56, 56), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((64, 64, 3, 3), DType::F32, &Device::Cpu)?;
/// let (geometry, epilogue) = (ConvGeometry::new().with_padding(1), Epilogue::new());
/// let fast = conv2d(&x, &weight, &geometry, &epilogue, None)?;
/// set_exact(true);
/// let exact = conv2d(&x, &weight, &geometry, &epilogue, None)?;
/// set_exact(false);
/// assert!((fast - exact)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
pub fn set_exact(exact: bool) {
    EXACT.store(exact, Ordering::Relaxed);
}

/// Returns the value last given to [`set_exact`].
pub fn is_exact() -> bool {
    EXACT.load(Ordering::Relaxed)
}
