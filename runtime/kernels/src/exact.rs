//! The setting that selects direct convolution instead of the fastest algorithms.

use std::sync::atomic::{AtomicBool, Ordering};

static EXACT: AtomicBool = AtomicBool::new(false);

/// Sets whether convolutions must be direct: computed as the sums of products that define them. Default: `false`, which
/// allows any algorithm. The setting applies to the whole process, to forward and backward passes, from the next call
/// on.
///
/// The fastest algorithm for a large 3×3 convolution of f32 is often Winograd's (Lavin & Gray, 2016), which
/// computes the same sums from fewer products of transformed numbers. On normally distributed numbers, the result of
/// Winograd's algorithm differs from the exact result by at most 2·10⁻⁵ of the output's norm, and the result of direct
/// convolution in f32 by about 10⁻⁷. Direct convolution takes up to four times as long. The setting does not affect
/// f64.
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

/// Returns the value last passed to [`set_exact`], or `false` if it has not been called.
///
/// # Examples
/// ```
/// use sconce_kernels::{is_exact, set_exact};
///
/// assert!(!is_exact());
/// set_exact(true);
/// assert!(is_exact());
/// ```
pub fn is_exact() -> bool {
    EXACT.load(Ordering::Relaxed)
}
