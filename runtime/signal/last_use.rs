//! Clones of signals at their last use.
//!
//! Operations are not fused into a deferred operation that several signals share. If a forward closure clones a value
//! at its last use, the clone gets copies of the deferred operations, into which later operations can be fused. If the
//! original value is nevertheless read later, both deferred operations run, with equal results. The operands stay in
//! memory until the original value is dropped.

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

/// The clone shares the deferred operation, which runs once. At the last use of a local in `forward`, the clone gets
/// its own copy of the deferred operation.
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
