//! The product of two matrices, as a linear map of many rows and both its gradients are one.

use super::finish::Finish;
use crate::memory::{Scratch, vec_written_by};
use crate::parallel::{Start, cost, for_each};
use crate::simd::{Isa, Kernel, Simd, dispatch_to, transpose};
use std::mem::MaybeUninit;

/// Columns of a panel, that is as many elements of some rows of the right matrix.
const PANEL: usize = 64;
/// Rows of a panel: one stays in the first cache.
const DEPTH: usize = 64;
/// Rows of the left matrix that meet a panel while both are in the first cache.
const BLOCK: usize = 96;
/// Rows of the result whose sums are in registers at once.
const ROWS: usize = 6;
/// A matrix that is read number by number.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub values: &'a [f32],
    /// From one row to the next, and from one column to the next.
    pub steps: [usize; 2],
}

/// A matrix of which panels are copied.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// It lies as `[depth, columns]`,
    Rows(&'a [f32]),
    /// or as `[columns, depth]`.
    Columns(&'a [f32]),
}

/// `left · right`, where `left` is `[rows, depth]` and `right` `[depth, columns]`, and what `finish` makes of it.
///
/// Each sum takes the same additions whatever stands beside it. None of the three sizes is 0.
pub(super) fn product(
    isa: Isa,
    left: Left<'_>,
    right: Right<'_>,
    [rows, depth, columns]: [usize; 3],
    finish: Finish<'_>,
) -> Vec<f32> {
    assert!(left.values.len() >= rows * depth);
    let (Right::Rows(values) | Right::Columns(values)) = right;
    assert!(values.len() >= depth * columns);
    let most = cost::PACKED_MULTIPLY_ADDS.div_ceil(depth * PANEL.min(columns)).next_multiple_of(BLOCK);
    let (blocks, panels) = (rows.div_ceil(most), columns.div_ceil(PANEL));
    let fill = |to: &mut [MaybeUninit<f32>]| {
        let to = Start::of(to);
        for_each(blocks * panels, &|task| {
            let (block, panel) = (task % blocks, task / blocks);
            let rows = [block * most, rows.min((block + 1) * most)];
            let first = panel * PANEL;
            let mut scratch = Scratch::new([DEPTH * PANEL, DEPTH * BLOCK]);
            let [panel, block] = scratch.slices();
            dispatch_to(
                isa,
                Task { left, right, depth, columns, rows, first, panel, block, finish, to: &to },
            );
        });
    };
    // SAFETY: the tasks have every row and every column between them, and each writes all of its sums.
    unsafe { vec_written_by(rows * columns, fill) }
}

/// The rows from the first up to the second, of a panel's columns.
struct Task<'a> {
    left: Left<'a>,
    right: Right<'a>,
    depth: usize,
    columns: usize,
    rows: [usize; 2],
    first: usize,
    /// `[DEPTH][PANEL]` of the right matrix.
    panel: &'a mut [f32],
    /// `[DEPTH][BLOCK]` of the left one, where that lies by columns: so many are in few sets of a cache.
    block: &'a mut [f32],
    finish: Finish<'a>,
    to: &'a Start<MaybeUninit<f32>>,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for from in (0..self.depth).step_by(DEPTH) {
            let depth = [from, self.depth.min(from + DEPTH)];
            self.fill(simd, depth);
            for row in (self.rows[0]..self.rows[1]).step_by(BLOCK) {
                let rows = [row, self.rows[1].min(row + BLOCK)];
                self.gather(rows, depth);
                for row in (rows[0]..rows[1]).step_by(ROWS) {
                    // As many sums as the registers hold beside the factors.
                    match S::REGISTERS {
                        32.. => self.tiles::<S, 4>(simd, row, depth),
                        _ => self.tiles::<S, 2>(simd, row, depth),
                    }
                }
            }
        }
        for row in self.rows[0]..self.rows[1] {
            let row = self.to.at(row * self.columns).cast::<f32>();
            // SAFETY: a row of the result, in whose columns this task has written all sums.
            unsafe { self.finish.apply(simd, row, [self.first, self.first + self.width()]) }
        }
    }
}

impl Task<'_> {
    /// Columns of this task.
    fn width(&self) -> usize {
        PANEL.min(self.columns - self.first)
    }

    /// Copies the part of the right matrix; what no column fills holds any number.
    #[inline(always)]
    fn fill<S: Simd>(&mut self, simd: S, [from, to]: [usize; 2]) {
        let width = self.width();
        match self.right {
            Right::Rows(values) => {
                let rows = values[from * self.columns..to * self.columns].chunks_exact(self.columns);
                for (to, row) in self.panel.chunks_exact_mut(PANEL).zip(rows) {
                    to[..width].copy_from_slice(&row[self.first..][..width]);
                }
            }
            Right::Columns(values) => {
                let columns = &values[self.first * self.depth..][..width * self.depth];
                for column in (0..width).step_by(S::LANES) {
                    for row in (from..to).step_by(S::LANES) {
                        self.turn(simd, columns, [row, to], [column, width], from);
                    }
                }
            }
        }
    }

    /// Copies a square of as many columns and rows as a vector has lanes, or what there is of one, to where a panel
    /// whose first row is `from` has it.
    #[inline(always)]
    fn turn<S: Simd>(
        &mut self,
        simd: S,
        columns: &[f32],
        [row, rows]: [usize; 2],
        [column, width]: [usize; 2],
        from: usize,
    ) {
        let columns = &columns[column * self.depth + row..];
        let panel = &mut self.panel[(row - from) * PANEL + column..];
        let (height, width) = (S::LANES.min(rows - row), S::LANES.min(width - column));
        if height == S::LANES && width == S::LANES {
            assert!((S::LANES - 1) * self.depth + S::LANES <= columns.len());
            assert!((S::LANES - 1) * PANEL + S::LANES <= panel.len());
            // SAFETY: as asserted.
            unsafe { transpose(simd, columns.as_ptr(), self.depth, panel.as_mut_ptr(), PANEL) }
        } else {
            for (i, column) in columns.chunks(self.depth).take(width).enumerate() {
                for (j, value) in column[..height].iter().enumerate() {
                    panel[j * PANEL + i] = *value;
                }
            }
        }
    }

    /// Whether the left matrix lies by columns.
    fn by_columns(&self) -> bool {
        self.left.steps[0] == 1
    }

    /// Copies a part of a left matrix that lies by columns.
    fn gather(&mut self, [row, end]: [usize; 2], [from, to]: [usize; 2]) {
        if self.by_columns() {
            for (to, column) in self.block.chunks_exact_mut(BLOCK).zip(from..to) {
                let column = &self.left.values[column * self.left.steps[1]..];
                to[..end - row].copy_from_slice(&column[row..end]);
            }
        }
    }

    /// The left matrix from a row and a column on, the first of a block that has been gathered.
    fn left(&self, row: usize, column: usize) -> Left<'_> {
        let Left { values, steps } = self.left;
        match self.by_columns() {
            true => Left { values: &self.block[(row - self.rows[0]) % BLOCK..], steps: [1, BLOCK] },
            false => Left { values: &values[row * steps[0] + column * steps[1]..], steps },
        }
    }

    /// Adds the products of a panel's rows to the sums of some rows, `V` vectors at a time.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(&self, simd: S, row: usize, depth: [usize; 2]) {
        for column in (0..self.width()).step_by(V * S::LANES) {
            self.tile::<S, V>(simd, row, column, depth);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const V: usize>(&self, simd: S, row: usize, column: usize, [from, end]: [usize; 2]) {
        let Left { values, steps } = self.left(row, from);
        let count = ROWS.min(self.rows[1] - row);
        assert!((count - 1) * steps[0] + (end - from - 1) * steps[1] < values.len());
        let mut lanes = [0; V];
        for (v, lanes) in lanes.iter_mut().enumerate() {
            *lanes = self.width().saturating_sub(column + v * S::LANES).min(S::LANES);
        }
        let place = |i: usize, v: usize| {
            self.to.at((row + i) * self.columns + self.first + column + v * S::LANES).cast::<f32>()
        };
        let mut sums = [[simd.zero(); V]; ROWS];
        let mut left = [values.as_ptr(); ROWS];
        for (i, left) in left.iter_mut().enumerate() {
            // Beyond the last row, the last one once more: its sums are left where they are.
            *left = left.wrapping_add(i.min(count - 1) * steps[0]);
        }
        let mut right = self.panel[column..].as_ptr();
        assert!(column + V * S::LANES <= PANEL && (end - from) * PANEL <= self.panel.len());
        for _ in from..end {
            // SAFETY: a row of the panel has `V` vectors from `column` on, and the left matrix an element for every
            // row and every step, both as asserted above.
            unsafe {
                let mut some = sums[0];
                for (v, to) in some.iter_mut().enumerate() {
                    *to = simd.load(right.add(v * S::LANES));
                }
                for (left, sums) in left.iter_mut().zip(&mut sums) {
                    let x = simd.splat(**left);
                    for v in 0..V {
                        sums[v] = simd.fma(x, some[v], sums[v]);
                    }
                    *left = left.wrapping_add(steps[1]);
                }
            }
            right = right.wrapping_add(PANEL);
        }
        for (i, sums) in sums.iter().enumerate().take(count) {
            for (v, sum) in sums.iter().enumerate() {
                let (place, lanes) = (place(i, v), lanes[v]);
                // SAFETY: as many elements of the result that are this task's alone, and were written with the first
                // rows of the panel.
                unsafe {
                    let sum = if from > 0 { simd.add(*sum, simd.load_partial(place, lanes)) } else { *sum };
                    simd.store_partial(place, lanes, sum);
                }
            }
        }
    }
}
