//! Memory that a thread keeps for its tiles, sums and widened rows from one task to the next.

use std::cell::RefCell;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

#[derive(Default)]
pub(super) struct Scratch {
    tile: Vec<Line>,
    sums: Vec<Line>,
    rows: Vec<Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Takes this thread's memory; [`put_back`](Self::put_back) keeps it for the next task.
    pub fn take() -> Self {
        SCRATCH.take()
    }

    pub fn put_back(self) {
        SCRATCH.set(self);
    }

    /// A tile, room for sums and for rows of so many floats, aligned to cache lines. They hold whatever the
    /// task before has left.
    pub fn parts(&mut self, [tile, sums, rows]: [usize; 3]) -> [&mut [f32]; 3] {
        [floats(&mut self.tile, tile), floats(&mut self.sums, sums), floats(&mut self.rows, rows)]
    }
}

fn floats(lines: &mut Vec<Line>, count: usize) -> &mut [f32] {
    let needed = count.div_ceil(16);
    if lines.len() < needed {
        lines.resize(needed, Line([0.; 16]));
    }
    // SAFETY: a line is 16 floats without padding, and `lines` has at least `count / 16` of them.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), count) }
}
