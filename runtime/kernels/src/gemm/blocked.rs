//! Products of f32 matrices that are not packed. Each task packs the blocks of B that it multiplies.

use std::mem::MaybeUninit;

use crate::memory::{Scratch, vec_written_by};
use crate::parallel::{SharedStart, cost, for_each_group};
use crate::simd::{Floats, Isa, Kernel, Simd, dispatch_to, transpose};

use super::epilogue::BiasActivation;
use super::matrix::Matrix;
use super::register_tile::{Columns, RegisterTile, Rows, consecutive};
use super::{Product, sizes};

/// The number of columns of a packed block of B.
const NC: usize = 64;
/// The number of rows of a packed block of B. The block stays in the L1 cache.
const KC: usize = 64;
/// The number of rows of A that are multiplied by a block of B while both are in the L1 cache.
const MC: usize = 96;
/// The number of rows of a register tile.
const MR: usize = 6;

/// Returns `epilogue(a · b)` for each product, one after another. None of the sizes may be 0.
pub(super) fn multiply_all(isa: Isa, products: &[Product<'_>], epilogue: BiasActivation<'_>) -> Vec<f32> {
    let [rows, depth, columns] = sizes(products);
    let task_rows = cost::MIN_PACKED_MULTIPLY_ADDS.div_ceil(depth * NC.min(columns)).next_multiple_of(MC);
    let row_blocks = rows.div_ceil(task_rows);
    let column_blocks = columns.div_ceil(NC);
    let write = |c: &mut [MaybeUninit<f32>]| {
        let c = SharedStart::of(c);
        let task_work = rows.min(task_rows) * depth * columns.min(NC);
        let tasks = products.len() * row_blocks * column_blocks;
        for_each_group(tasks, cost::MIN_PACKED_MULTIPLY_ADDS / task_work, &|task| {
            let (row_block, column_block) = (task % row_blocks, task / row_blocks % column_blocks);
            let product = task / (row_blocks * column_blocks);
            let rows = [row_block * task_rows, rows.min((row_block + 1) * task_rows)];
            let columns = [column_block * NC, columns.min((column_block + 1) * NC)];
            let mut scratch = Scratch::new([KC * NC, KC * MC]);
            let [packed_b, packed_a] = scratch.slices();
            let Product { a, b } = products[product];
            let first = product * a.rows * b.columns;
            dispatch_to(isa, Task { a, b, rows, columns, packed_b, packed_a, epilogue, c: &c, first });
        });
    };
    // SAFETY: the tasks cover every row and every column of every product, and each writes all of its sums.
    unsafe { vec_written_by(products.len() * rows * columns, write) }
}

/// Computes some rows of C, in at most `NC` columns.
struct Task<'a> {
    a: Matrix<'a>,
    b: Matrix<'a>,
    /// `[start, end]` of the rows.
    rows: [usize; 2],
    /// `[start, end]` of the columns.
    columns: [usize; 2],
    /// A packed block of B, `[KC][NC]`.
    packed_b: &'a mut [f32],
    /// A packed block of A, `[KC][MC]`, used if A is transposed. Reading a transposed A in place could cause
    /// cache-set conflicts.
    packed_a: &'a mut [f32],
    epilogue: BiasActivation<'a>,
    c: &'a SharedStart<MaybeUninit<f32>>,
    /// The offset of the product's first result in the output.
    first: usize,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for start in (0..self.b.rows).step_by(KC) {
            let depth = [start, self.b.rows.min(start + KC)];
            self.pack_b(simd, depth);
            for row in (self.rows[0]..self.rows[1]).step_by(MC) {
                let rows = [row, self.rows[1].min(row + MC)];
                self.pack_a(rows, depth);
                for row in (rows[0]..rows[1]).step_by(MR) {
                    // With 4 or 2 vectors of sums in each of the `MR` rows, registers remain for the factors.
                    match S::REGISTERS {
                        32.. => self.multiply_rows::<S, 4>(simd, row, depth),
                        _ => self.multiply_rows::<S, 2>(simd, row, depth),
                    }
                }
            }
        }
        for row in self.rows[0]..self.rows[1] {
            let row = self.c.at(self.first + row * self.b.columns).cast::<f32>();
            // SAFETY: this task has written all sums in its columns of the row, and no other task accesses them.
            unsafe { self.epilogue.apply(simd, row, self.columns) }
        }
    }
}

impl Task<'_> {
    /// Returns the number of columns of this task.
    fn width(&self) -> usize {
        self.columns[1] - self.columns[0]
    }

    /// Copies the rows `start..end` of B, in the columns of this task, to `packed_b`. The columns `self.width()..NC` of
    /// `packed_b` keep their contents, which only affect sums that are discarded.
    #[inline(always)]
    fn pack_b<S: Simd>(&mut self, simd: S, [start, end]: [usize; 2]) {
        let width = self.width();
        if !self.b.transposed {
            for (to, row) in self.packed_b.chunks_exact_mut(NC).zip(start..end) {
                to[..width].copy_from_slice(self.b.line(row, self.columns));
            }
            return;
        }
        for column in (0..width).step_by(S::LANES) {
            for row in (start..end).step_by(S::LANES) {
                self.pack_transposed(simd, [row, end], [column, width], start);
            }
        }
    }

    /// Copies one block of a transposed B to `packed_b`. The block begins at row `row` of B and at column `column` of
    /// `packed_b`. It has up to `LANES` rows, all before `end`, and up to `LANES` columns, all before `width`. Row
    /// `start` of B is the first row of `packed_b`.
    #[inline(always)]
    fn pack_transposed<S: Simd>(
        &mut self,
        simd: S,
        [row, end]: [usize; 2],
        [column, width]: [usize; 2],
        start: usize,
    ) {
        let stride = self.b.stride;
        let columns = &self.b.values[(self.columns[0] + column) * stride + row..];
        let packed = &mut self.packed_b[(row - start) * NC + column..];
        let (height, width) = (S::LANES.min(end - row), S::LANES.min(width - column));
        if height == S::LANES && width == S::LANES {
            assert!((S::LANES - 1) * stride + S::LANES <= columns.len());
            assert!((S::LANES - 1) * NC + S::LANES <= packed.len());
            // SAFETY: by the assertions above, both parts are in bounds. They are in different slices.
            unsafe { transpose(simd, columns.as_ptr(), stride, packed.as_mut_ptr(), NC) }
        } else {
            for i in 0..width {
                for (j, value) in columns[i * stride..][..height].iter().enumerate() {
                    packed[j * NC + i] = *value;
                }
            }
        }
    }

    /// If A is transposed, copies its rows `row..end`, in the columns `start..stop`, to `packed_a`.
    fn pack_a(&mut self, [row, end]: [usize; 2], [start, stop]: [usize; 2]) {
        if self.a.transposed {
            for (packed, column) in self.packed_a.chunks_exact_mut(MC).zip(start..stop) {
                packed[..end - row].copy_from_slice(self.a.line(column, [row, end]));
            }
        }
    }

    /// Returns the elements of A, starting with the element `[row, column]`, and the distances between rows and between
    /// columns. `column` must be the first column of the block that was packed last.
    fn elements_of_a(&self, row: usize, column: usize) -> (&[f32], [usize; 2]) {
        if self.a.transposed {
            (&self.packed_a[(row - self.rows[0]) % MC..], [1, MC])
        } else {
            (&self.a.values[row * self.a.stride + column..], self.a.strides())
        }
    }

    /// Multiplies up to `MR` rows of A by `packed_b` and adds the products to C, `NV` vectors of columns at a time.
    #[inline(always)]
    fn multiply_rows<S: Simd, const NV: usize>(&self, simd: S, row: usize, depth: [usize; 2]) {
        for column in (0..self.width()).step_by(NV * S::LANES) {
            self.multiply_tile::<S, NV>(simd, row, column, depth);
        }
    }

    /// Multiplies up to `MR` rows of A by `NV` vectors of columns of `packed_b` and adds the products to C.
    #[inline(always)]
    fn multiply_tile<S: Simd, const NV: usize>(
        &self,
        simd: S,
        row: usize,
        column: usize,
        [start, end]: [usize; 2],
    ) {
        let (values, strides) = self.elements_of_a(row, start);
        let count = MR.min(self.rows[1] - row);
        assert!((count - 1) * strides[0] + (end - start - 1) * strides[1] < values.len());
        assert!(column + NV * S::LANES <= NC && (end - start) * NC <= self.packed_b.len());
        let mut rows = [0; MR];
        for (i, offset) in rows.iter_mut().enumerate() {
            // Rows beyond the last row repeat the last row. Their sums are discarded.
            *offset = i.min(count - 1) * strides[0];
        }
        let a = Rows { start: values.as_ptr(), rows, step: strides[1] };
        let start_of_b = self.packed_b[column..].as_ptr();
        let b = Columns { start: start_of_b, vectors: consecutive::<NV>(S::LANES), step: NC };
        let mut tile = RegisterTile::<_, MR, NV>::zeros(Floats::new(simd));
        // SAFETY: by the assertions above, a row of `packed_b` has `NV` vectors from `column` on, and A has an element
        // for every row and every depth.
        unsafe { tile.add_product::<0>(end - start, a, b) };
        for (i, sums) in tile.sums.iter().enumerate().take(count) {
            for (v, sum) in sums.iter().enumerate() {
                let lanes = self.width().saturating_sub(column + v * S::LANES).min(S::LANES);
                let offset =
                    self.first + (row + i) * self.b.columns + self.columns[0] + column + v * S::LANES;
                let address = self.c.at(offset).cast::<f32>();
                // SAFETY: no other task accesses these `lanes` elements of C. If `start > 0`, this task has written
                // them with the previous block of B.
                unsafe {
                    let sum =
                        if start > 0 { simd.add(*sum, simd.load_partial(address, lanes)) } else { *sum };
                    simd.store_partial(address, lanes, sum);
                }
            }
        }
    }
}
