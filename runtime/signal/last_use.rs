//! Clones of signals at their last use.
//!
//! Operations are not fused into a deferred operation that several signals share. If another value may borrow from a
//! value, a forward closure clones the value at its last use (see `reuse.rs`). Each signal in this clone gets its own
//! copy of the deferred operation, so that later operations can be fused into the copy. If the original signal is read
//! nevertheless, the deferred operation and its copy both run, with equal results. The operands stay in memory until
//! the original value is dropped.

use std::cell::Cell;
use std::sync::Arc;

use crate::thread_value::with_value;

use super::{Signal, State};

thread_local! {
    static IS_LAST_USE: Cell<bool> = const { Cell::new(false) };
}

/// Calls `clone`, which clones a value at its last use. The original signals should not be read later.
pub(crate) fn at_last_use<T>(clone: impl FnOnce() -> T) -> T {
    with_value(&IS_LAST_USE, true, clone)
}

/// The clone shares the deferred operation, which runs once. At the last use of a local variable in `forward`, the
/// clone gets its own copy of the deferred operation.
impl Clone for Signal {
    fn clone(&self) -> Self {
        match &self.0 {
            State::Deferred(deferred) if Arc::strong_count(deferred) == 1 && IS_LAST_USE.get() => {
                Self(State::Deferred(Arc::new(deferred.copy())))
            }
            state => Self(state.clone()),
        }
    }
}
