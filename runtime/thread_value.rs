//! Values of the current thread that a function replaces while it runs.

use std::cell::Cell;
use std::thread::LocalKey;

/// Runs `f` while `local` has the value `value`. Then `local` has its value from before, even if `f` panics.
pub(crate) fn with_value<V, T>(local: &'static LocalKey<Cell<V>>, value: V, f: impl FnOnce() -> T) -> T {
    struct Restore<V: 'static> {
        local: &'static LocalKey<Cell<V>>,
        before: Option<V>,
    }
    impl<V> Drop for Restore<V> {
        fn drop(&mut self) {
            if let Some(before) = self.before.take() {
                self.local.set(before);
            }
        }
    }
    let _restore = Restore { local, before: Some(local.replace(value)) };
    f()
}
