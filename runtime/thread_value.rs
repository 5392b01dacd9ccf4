//! Thread-local values that are replaced while a function runs.

use std::cell::Cell;
use std::thread::LocalKey;

/// Sets `local` to `value`, runs `f`, and then restores the previous value, even if `f` panics.
pub(crate) fn with_value<V, T>(local: &'static LocalKey<Cell<V>>, value: V, f: impl FnOnce() -> T) -> T {
    struct Restore<V: 'static> {
        local: &'static LocalKey<Cell<V>>,
        previous: Option<V>,
    }
    impl<V> Drop for Restore<V> {
        fn drop(&mut self) {
            if let Some(previous) = self.previous.take() {
                self.local.set(previous);
            }
        }
    }
    let _restore = Restore { local, previous: Some(local.replace(value)) };
    f()
}
