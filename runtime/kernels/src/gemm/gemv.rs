//! The product of few rows with a transposed matrix, as dot products of contiguous rows and columns.

use super::epilogue::BiasActivation;
use super::matrix::Matrix;
use crate::memory::{Scratch, zeros};
use crate::parallel::{SharedStart, cost, for_each};
use crate::simd::{Isa, Kernel, Simd, dispatch_to};

/// Columns of B that meet the same rows at once.
const NR: usize = 4;

/// Rows of A that meet the same columns at once.
const MR: usize = 4;

/// The depth that is summed at once: this part of some rows and columns stays in the first-level cache. It determines
/// the order of the additions, so it is a constant.
const KC: usize = 512;

/// From this many rows on a task packs its part of A: rows a power of two apart would compete for few sets of a cache.
const PACKED_ROWS: std::ops::Range<usize> = MR + 1..super::LEAST_PACKED[0];

/// `epilogue(a · b)`, where `a` is in row-major order and `b` is transposed, or there is nothing to multiply.
#[derive(Clone, Copy)]
pub(super) struct Gemv<'a> {
    pub a: Matrix<'a>,
    pub b: Matrix<'a>,
    pub epilogue: BiasActivation<'a>,
}

impl Gemv<'_> {
    /// A task has some columns of all rows, so that each element of B is read once.
    pub fn run(self, isa: Isa) -> Vec<f32> {
        let (rows, columns) = (self.a.rows, self.b.columns);
        let mut c = zeros(rows * columns);
        let work = rows * self.a.columns;
        // Every task reads all rows.
        let fair = columns.div_ceil(4 * rayon::current_num_threads());
        let width = cost::STREAMED_MULTIPLY_ADDS.div_ceil(work.max(1)).max(fair).next_multiple_of(NR);
        let packed = if PACKED_ROWS.contains(&rows) { rows * KC } else { 0 };
        let start = SharedStart::of(&mut c);
        for_each(columns.div_ceil(width), &|task| {
            let columns = [task * width, columns.min((task + 1) * width)];
            let mut scratch = Scratch::new([packed]);
            let [packed] = scratch.slices();
            dispatch_to(isa, Task { product: self, columns, c: &start, packed });
        });
        c
    }
}

/// The columns from the first up to the second, of every row.
struct Task<'a> {
    product: Gemv<'a>,
    columns: [usize; 2],
    /// Zeros at first.
    c: &'a SharedStart<f32>,
    /// `[rows][KC]` of A, or empty if its rows are read in place.
    packed: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Gemv { a, b, epilogue } = self.product;
        for from in (0..a.columns).step_by(KC) {
            let depth = [from, a.columns.min(from + KC)];
            self.pack(depth);
            self.add(simd, depth);
        }
        for row in 0..a.rows {
            // SAFETY: a row of C, of which these columns are this task's alone.
            unsafe { epilogue.apply(simd, self.c.at(row * b.columns), self.columns) }
        }
    }
}

impl Task<'_> {
    /// Copies the columns of A from the first up to the second.
    fn pack(&mut self, [from, to]: [usize; 2]) {
        let rows = self.product.a.values.chunks_exact(self.product.a.columns);
        for (packed, row) in self.packed.chunks_exact_mut(KC).zip(rows) {
            packed[..to - from].copy_from_slice(&row[from..to]);
        }
    }

    /// The elements of a row of A from the first up to the second.
    #[inline(always)]
    fn row(&self, row: usize, [from, to]: [usize; 2]) -> &[f32] {
        if self.packed.is_empty() {
            &self.product.a.values[row * self.product.a.columns..][from..to]
        } else {
            &self.packed[row * KC..][..to - from]
        }
    }

    /// Adds the products of the depths from the first up to the second.
    #[inline(always)]
    fn add<S: Simd>(&self, simd: S, depth: [usize; 2]) {
        let Gemv { a, b, .. } = self.product;
        for column in (self.columns[0]..self.columns[1]).step_by(NR) {
            let width = NR.min(self.columns[1] - column);
            for row in (0..a.rows).step_by(MR) {
                let count = MR.min(a.rows - row);
                // Beyond the last column or row, the last one once more: those sums are discarded.
                let mut columns = [&[][..]; NR];
                for (j, values) in columns.iter_mut().enumerate() {
                    let start = (column + j.min(width - 1)) * b.rows;
                    *values = &b.values[start + depth[0]..start + depth[1]];
                }
                let mut rows = [&[][..]; MR];
                for (i, values) in rows.iter_mut().enumerate() {
                    *values = self.row(row + i.min(count - 1), depth);
                }
                let sums = dot_products(simd, rows, columns, count);
                for (i, sums) in sums.iter().take(count).enumerate() {
                    let place = self.c.at((row + i) * b.columns + column);
                    for (j, sum) in sums.iter().take(width).enumerate() {
                        // SAFETY: an element of C, of a column that is this task's alone.
                        unsafe { *place.add(j) += sum };
                    }
                }
            }
        }
    }
}

/// The dot products of the first `count` rows with every column, all of one length.
///
/// The order of the additions of a sum does not depend on the other rows and columns.
#[inline(always)]
fn dot_products<S: Simd>(simd: S, x: [&[f32]; MR], columns: [&[f32]; NR], count: usize) -> [[f32; NR]; MR] {
    match count {
        1 => tile::<S, 1>(simd, x, columns),
        2 => tile::<S, 2>(simd, x, columns),
        // With fewer registers the sums of four rows would not stay in them.
        4 if S::REGISTERS > 16 => tile::<S, 4>(simd, x, columns),
        4 => {
            let [a, b, c, d] = x;
            let [first, second] = [[a, b, b, b], [c, d, d, d]].map(|x| (x, columns));
            let [a, b, ..] = tile::<S, 2>(simd, first.0, first.1);
            let [c, d, ..] = tile::<S, 2>(simd, second.0, second.1);
            [a, b, c, d]
        }
        _ => tile::<S, 3>(simd, x, columns),
    }
}

#[inline(always)]
fn tile<S: Simd, const COUNT: usize>(simd: S, x: [&[f32]; MR], columns: [&[f32]; NR]) -> [[f32; NR]; MR] {
    let len = columns.iter().chain(&x).map(|of| of.len()).min().unwrap_or(0);
    let mut sums = [[simd.zero(); NR]; MR];
    let whole = len - len % S::LANES;
    // SAFETY: every slice has `len` elements.
    unsafe {
        for at in (0..whole).step_by(S::LANES) {
            let mut w = [simd.zero(); NR];
            for (w, column) in w.iter_mut().zip(&columns) {
                *w = simd.load(column.as_ptr().add(at));
            }
            for (sums, x) in sums.iter_mut().zip(&x).take(COUNT) {
                let x = simd.load(x.as_ptr().add(at));
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = simd.fma(x, w, *sum);
                }
            }
        }
        if whole < len {
            for (sums, x) in sums.iter_mut().zip(&x).take(COUNT) {
                let x = simd.load_partial(x.as_ptr().add(whole), len - whole);
                for (sum, column) in sums.iter_mut().zip(&columns) {
                    let w = simd.load_partial(column.as_ptr().add(whole), len - whole);
                    *sum = simd.fma(x, w, *sum);
                }
            }
        }
    }
    let mut results = [[0.; NR]; MR];
    for (results, sums) in results.iter_mut().zip(sums).take(COUNT) {
        *results = across(simd, sums);
    }
    results
}

/// The sum of all lanes of each vector. Adds neighboring lanes until each four lanes hold one of each vector, then the
/// remaining fours.
#[inline(always)]
fn across<S: Simd>(simd: S, [a, b, c, d]: [S::V; NR]) -> [f32; NR] {
    let mut all = join(simd, join(simd, a, b), join(simd, c, d));
    let mut lanes = S::LANES / NR;
    while lanes > 1 {
        all = join(simd, all, all);
        lanes /= 2;
    }
    let mut results = [0.; 16];
    // SAFETY: no vector has more than 16 lanes.
    unsafe { simd.store(results.as_mut_ptr(), all) };
    [results[0], results[1], results[2], results[3]]
}

/// The sums of neighbouring lanes of `a`, then of `b`.
#[inline(always)]
fn join<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V {
    let [even, odd] = simd.deinterleave(a, b);
    simd.add(even, odd)
}
