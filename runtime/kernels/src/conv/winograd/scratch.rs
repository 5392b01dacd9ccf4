//! Working memory that outlives a call: fresh memory costs a page fault for every page of it.

pub(crate) use super::pack::Line;
use std::cell::RefCell;

thread_local! {
    static SPARE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// The most a thread keeps in one piece, in bytes.
const KEPT: usize = 64 << 20;

/// Calls `f` with `lines` cache lines of memory, of any content.
///
/// It may call this again, also by way of another task that its thread takes up while it waits.
pub(crate) fn with_scratch<R>(lines: usize, f: impl FnOnce(&mut [Line]) -> R) -> R {
    let mut scratch = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < lines {
        drop(std::mem::take(&mut scratch));
        scratch = Line::zeros(lines);
    }
    let result = f(&mut scratch[..lines]);
    if scratch.len() * size_of::<Line>() <= KEPT {
        SPARE.with_borrow_mut(|spare| spare.push(scratch));
    }
    result
}
