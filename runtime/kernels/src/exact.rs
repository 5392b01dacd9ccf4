//! The switch between the fastest convolutions and those that sum the definition's own products.

use std::sync::atomic::{AtomicBool, Ordering};

static EXACT: AtomicBool = AtomicBool::new(false);

/// Whether every convolution, forward and backward and in every thread, from now on keeps to kernels that
/// sum the products of the definition, each product once: `true`, or takes the fastest: `false`, the default.
///
/// The fastest kernel of a large 3×3 convolution of f32 is often Winograd's (Lavin & Gray, 2016), which
/// computes the same sums from fewer products of transformed numbers. Its result differs from the exact one
/// by at most 2·10⁻⁵ of the output's norm, on normally distributed numbers, where the definition's sums in f32
/// differ by some 10⁻⁷. Where that is too much, or to tell whether it is, ask for the definition; it takes up
/// to four times as long. f64 is exact either way.
///
/// What layers have prepared from their weights follows the switch at the next call.
///
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::conv::{ConvGeometry, Epilogue, conv2d};
/// use sconce_kernels::exact::set_exact;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((1, 64, 56, 56), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((64, 64, 3, 3), DType::F32, &Device::Cpu)?;
/// let geometry = ConvGeometry { padding: [[1; 2]; 2], ..ConvGeometry::default() };
/// let fast = conv2d(&x, &weight, &geometry, &Epilogue::default(), None)?;
/// set_exact(true);
/// let exact = conv2d(&x, &weight, &geometry, &Epilogue::default(), None)?;
/// set_exact(false);
/// assert!((fast - exact)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
pub fn set_exact(exact: bool) {
    EXACT.store(exact, Ordering::Relaxed);
}

/// What [`set_exact`] has been told last.
pub fn is_exact() -> bool {
    EXACT.load(Ordering::Relaxed)
}
