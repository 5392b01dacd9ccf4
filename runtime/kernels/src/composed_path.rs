//! The choice between the CPU kernels and the composed path.

use candle_core::Tensor;

/// Returns `true` if the CPU kernels run on `x`. If they do not, and no CUDA kernel does, an operation takes its
/// composed path.
pub(crate) fn has_cpu_kernels(x: &Tensor) -> bool {
    #[cfg(feature = "testing")]
    if forced::takes_composed_path() {
        return false;
    }
    x.device().is_cpu()
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

    /// Returns `true` inside of [`on_composed_path`], where operations take their composed path. Counts the calls.
    pub(super) fn takes_composed_path() -> bool {
        COUNT.set(COUNT.get().map(|count| count + 1));
        COUNT.get().is_some()
    }
}
