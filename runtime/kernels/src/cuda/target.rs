//! What a plan has to know of the device that it is for.

use std::sync::atomic::{AtomicBool, Ordering};

/// A CUDA device, and what the user allows on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Of the device and of the kernels as they were compiled, the lower compute capability, `(major, minor)`:
    /// tensor cores for all dtypes and asynchronous copies from `(8, 0)` on.
    pub capability: (u32, u32),
    /// Whether the device is of compute capability 9.0, which has kernels of its own (`sm_90a`).
    pub hopper: bool,
    /// How many blocks run side by side at the least.
    pub multiprocessors: u32,
    /// The most bytes of shared memory that one block may ask for.
    pub shared: u32,
    /// Whether f32 may be multiplied as TF32: see [`set_tf32`].
    pub tf32: bool,
}

impl Target {
    /// An A100 without TF32: what a plan is made for where there is no device.
    pub const A100: Self =
        Self { capability: (8, 0), hopper: false, multiprocessors: 108, shared: 163 << 10, tf32: false };
    /// An H100 without TF32.
    pub const H100: Self =
        Self { capability: (8, 0), hopper: true, multiprocessors: 132, shared: 227 << 10, tf32: false };

    /// Whether the device has tensor cores for f16, bf16 and TF32, and copies into shared memory that run
    /// beside the arithmetic.
    pub fn has_tensor_cores(&self) -> bool {
        self.capability >= (8, 0)
    }
}

static TF32: AtomicBool = AtomicBool::new(false);

/// Whether convolutions of f32 on a CUDA device may run on its tensor cores, which read each factor rounded to
/// TF32: the range of f32 with 10 bits behind the point in place of 23, a relative error of about 1e-3 in place
/// of 1e-6, at several times the speed. Sums are f32 all the same. By default not, so that the results are those
/// of the CPU. It holds for the whole process, from the next call on; matrix products follow
/// `sconce::candle::cuda::set_gemm_reduced_precision_f32`.
///
/// PyTorch has the same switch as `torch.backends.cudnn.allow_tf32`, on by default there.
pub fn set_tf32(allow: bool) {
    TF32.store(allow, Ordering::Relaxed);
}

/// Whether [`set_tf32`] allows TF32.
pub fn tf32() -> bool {
    TF32.load(Ordering::Relaxed)
}

#[cfg(any(test, feature = "testing"))]
static POISON: AtomicBool = AtomicBool::new(false);

/// Whether results and scratch memory on a device are full of NaN before the kernels write them: for checks.
#[cfg(any(test, feature = "testing"))]
pub fn poison(on: bool) {
    POISON.store(on, Ordering::Relaxed);
}

#[cfg(feature = "cuda")]
pub(super) fn poisons() -> bool {
    #[cfg(any(test, feature = "testing"))]
    return POISON.load(Ordering::Relaxed);
    #[cfg(not(any(test, feature = "testing")))]
    return false;
}
