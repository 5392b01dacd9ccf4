//! Memory that a thread keeps for its tiles, sums and widened rows from one task to the next.

use crate::conv::winograd::scratch::Line;
use std::cell::RefCell;

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
    let needed = count.div_ceil(Line::ZERO.0.len());
    if lines.len() < needed {
        lines.resize(needed, Line::ZERO);
    }
    &mut Line::floats_mut(lines)[..count]
}
