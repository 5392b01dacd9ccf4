//! The choice between the CPU kernels and the composed path.

use candle_core::{Result, Tensor};

/// Returns `true` if the CPU kernels run on `x`. If they do not, and no CUDA kernel does, an operation takes its
/// composed path. On Metal devices, that is every operation.
pub(crate) fn has_cpu_kernels(x: &Tensor) -> bool {
    #[cfg(feature = "testing")]
    forced::count_call();
    may_run_cpu_kernels(x)
}

/// Returns `true` if `x` is on the CPU, and no test has chosen the composed path.
pub(crate) fn may_run_cpu_kernels(x: &Tensor) -> bool {
    x.device().is_cpu() && check_kernel("").is_ok()
}

/// Checks that a CPU kernel may run. In tests, fails on the composed path: devices without kernels would fail there.
pub(crate) fn check_kernel(_name: &str) -> Result<()> {
    #[cfg(feature = "testing")]
    if forced::is_active() {
        candle_core::bail!("{_name}: expected candle's operations on the composed path, found a CPU kernel")
    }
    Ok(())
}

/// The composed path on the CPU, for tests.
#[cfg(feature = "testing")]
pub(crate) mod forced {
    use std::cell::Cell;

    thread_local! {
        /// The number of operations that took the composed path since [`on_composed_path`] was called on this thread;
        /// `None` outside of that function.
        static COUNT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Calls `run`. Operations that `run` calls on this thread take their composed path, even on the CPU.
    ///
    /// # Panics
    /// Panics if `run` calls no operation that has a composed path.
    pub fn on_composed_path<R>(run: impl FnOnce() -> R) -> R {
        /// Ends the count on drop, even after a panic.
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                COUNT.set(None);
            }
        }
        let _end = End;
        COUNT.set(Some(0));
        let result = run();
        assert_ne!(COUNT.get(), Some(0), "expected a call of an operation with a composed path, found none");
        result
    }

    /// Returns `true` inside of [`on_composed_path`].
    pub(crate) fn is_active() -> bool {
        COUNT.get().is_some()
    }

    /// Counts the calls of operations inside of [`on_composed_path`].
    pub(super) fn count_call() {
        COUNT.set(COUNT.get().map(|count| count + 1));
    }
}
