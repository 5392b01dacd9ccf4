//! The properties of a device on which programs depend.

use std::sync::atomic::{AtomicBool, Ordering};

/// The properties of a CUDA device, and the user's settings, on which programs depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The compute capability `(major, minor)` of the device or of the compiled kernels, whichever is lower. From
    /// `(8, 0)` on there are tensor cores for f16, bf16 and TF32, and asynchronous copies.
    pub capability: (u32, u32),
    /// Whether the device has compute capability 9.0, for which there are separate kernels (`sm_90a`).
    pub hopper: bool,
    /// The number of multiprocessors. The device can run at least this many blocks concurrently.
    pub multiprocessors: u32,
    /// The maximum number of bytes of shared memory of a block.
    pub shared: u32,
    /// Whether f32 may be rounded to TF32 and multiplied on tensor cores: see [`set_tf32`].
    pub tf32: bool,
}

impl Target {
    /// The properties of an A100, with `tf32` unset. Tests use them to build programs without a device.
    pub const A100: Self =
        Self { capability: (8, 0), hopper: false, multiprocessors: 108, shared: 163 << 10, tf32: false };
    /// The properties of an H100, with `tf32` unset. Its separate kernels are compiled for compute capability 9.0, all
    /// others for 8.0.
    pub const H100: Self =
        Self { capability: (8, 0), hopper: true, multiprocessors: 132, shared: 227 << 10, tf32: false };

    /// Returns `true` if the device has tensor cores for f16, bf16 and TF32, and asynchronous copies to shared memory.
    pub fn has_tensor_cores(&self) -> bool {
        self.capability >= (8, 0)
    }
}

static TF32: AtomicBool = AtomicBool::new(false);

/// Sets whether convolutions of f32 on a CUDA device may use tensor cores, which round each factor to TF32. Default:
/// `false`, so that results agree with the CPU.
///
/// TF32 has the range of f32 and a mantissa of 10 bits instead of 23. The relative error is about 1e-3 instead of 1e-6,
/// and convolutions run several times as fast. Sums remain f32. The setting applies to the whole process, from the next
/// call on. Matrix products are controlled by `sconce::candle::cuda::set_gemm_reduced_precision_f32`.
///
/// The equivalent setting in PyTorch is `torch.backends.cudnn.allow_tf32`, which is on by default.
///
/// # Examples
/// ```
/// use sconce_kernels::cuda::{set_tf32, tf32};
///
/// assert!(!tf32());
/// set_tf32(true);
/// assert!(tf32());
/// ```
pub fn set_tf32(allow: bool) {
    TF32.store(allow, Ordering::Relaxed);
}

/// Returns the value last passed to [`set_tf32`], or `false` if it has not been called.
///
/// # Examples
/// ```
/// assert!(!sconce_kernels::cuda::tf32()); // the default
/// ```
pub fn tf32() -> bool {
    TF32.load(Ordering::Relaxed)
}

#[cfg(any(test, feature = "testing"))]
static POISON: AtomicBool = AtomicBool::new(false);

/// Sets whether results and scratch memory on a device are filled with NaN before the kernels run, for tests.
#[cfg(any(test, feature = "testing"))]
pub fn poison(on: bool) {
    POISON.store(on, Ordering::Relaxed);
}

/// Returns the value last passed to `poison`, or `false` outside of tests.
#[cfg(feature = "cuda")]
pub(super) fn is_poisoning() -> bool {
    #[cfg(any(test, feature = "testing"))]
    return POISON.load(Ordering::Relaxed);
    #[cfg(not(any(test, feature = "testing")))]
    return false;
}
