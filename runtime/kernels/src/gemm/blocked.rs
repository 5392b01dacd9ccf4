//! Products of f32 matrices in blocks. If B is not packed, each task packs the blocks of B that it multiplies.

use std::mem::MaybeUninit;

use crate::memory::{CACHE_LINE_FLOATS, Scratch, vec_written_by};
use crate::parallel::{SharedStart, cost, for_each_group};
use crate::simd::{Floats, Isa, Kernel, Simd, dispatch_to, prefetch};

use super::epilogue::BiasActivation;
use super::matrix::Matrix;
use super::packed_b::{KC, NC, PackedB, pack};
use super::register_tile::{Columns, RegisterTile, Rows, consecutive};
use super::{Product, sizes};

/// The number of rows of A that are multiplied by a block of B while both are in the L1 cache.
const MC: usize = 96;
/// The maximum number of rows of a task. Its part of C, `[MAX_TASK_ROWS][NC]`, stays in the L2 cache.
const MAX_TASK_ROWS: usize = 8 * MC;
/// The number of rows of a register tile.
const MR: usize = 6;

/// Returns `epilogue(a · b)` for each product, one after another. None of the sizes may be 0.
pub(super) fn multiply_all(isa: Isa, products: &[Product<'_>], epilogue: BiasActivation<'_>) -> Vec<f32> {
    let factors = |product: usize| (products[product].a, Right::Matrix(products[product].b));
    multiply(isa, products.len(), sizes(products), factors, epilogue)
}

/// Returns `epilogue(a · b)`. None of the sizes may be 0.
pub(crate) fn multiply_by_packed(
    isa: Isa,
    a: Matrix<'_>,
    b: &PackedB,
    epilogue: BiasActivation<'_>,
) -> Vec<f32> {
    assert_eq!(a.columns, b.rows(), "the columns of `a` must equal the rows of `b`");
    multiply(isa, 1, [a.rows, a.columns, b.columns()], |_| (a, Right::Packed(b)), epilogue)
}

/// The right factor of a product.
#[derive(Clone, Copy)]
enum Right<'a> {
    Matrix(Matrix<'a>),
    Packed(&'a PackedB),
}

/// Returns the products of `count` pairs of factors of the given sizes, one after another.
fn multiply<'a>(
    isa: Isa,
    count: usize,
    [rows, depth, columns]: [usize; 3],
    factors: impl Fn(usize) -> (Matrix<'a>, Right<'a>) + Sync,
    epilogue: BiasActivation<'_>,
) -> Vec<f32> {
    let column_blocks = columns.div_ceil(NC);
    let task_rows = rows_of_task(rows, depth * NC.min(columns), count * column_blocks);
    let row_blocks = rows.div_ceil(task_rows);
    let write = |c: &mut [MaybeUninit<f32>]| {
        let c = SharedStart::of(c);
        let task_work = rows.min(task_rows) * depth * columns.min(NC);
        let tasks = count * row_blocks * column_blocks;
        for_each_group(tasks, cost::MIN_PACKED_MULTIPLY_ADDS / task_work, &|task| {
            let (row_block, column_block) = (task % row_blocks, task / row_blocks % column_blocks);
            let product = task / (row_blocks * column_blocks);
            let (a, b) = factors(product);
            let task = Task {
                a,
                b,
                rows: [row_block * task_rows, rows.min((row_block + 1) * task_rows)],
                columns: [column_block * NC, columns.min((column_block + 1) * NC)],
                epilogue,
                c: &c,
                first: product * rows * columns,
                row_length: columns,
            };
            dispatch_to(isa, task);
        });
    };
    // SAFETY: the tasks cover every row and every column of every product, and each writes all of its sums.
    unsafe { vec_written_by(count * rows * columns, write) }
}

/// Returns the number of rows of a task. `row_work` is the number of multiply-adds of a row, and `column_tasks` is the
/// number of tasks if the rows are not divided.
///
/// Each task reads B once, so the rows are divided only if there are few tasks, or if C has so many rows that the part
/// of a task would not stay in the L2 cache.
fn rows_of_task(rows: usize, row_work: usize, column_tasks: usize) -> usize {
    let min_rows = cost::MIN_PACKED_MULTIPLY_ADDS.div_ceil(row_work);
    let row_blocks = (4 * rayon::current_num_threads()).div_ceil(column_tasks);
    rows.div_ceil(row_blocks).max(min_rows).min(MAX_TASK_ROWS).next_multiple_of(MR)
}

/// Computes some rows of C, in at most `NC` columns.
struct Task<'a> {
    a: Matrix<'a>,
    b: Right<'a>,
    /// `[start, end]` of the rows.
    rows: [usize; 2],
    /// `[start, end]` of the columns.
    columns: [usize; 2],
    epilogue: BiasActivation<'a>,
    c: &'a SharedStart<MaybeUninit<f32>>,
    /// The offset of the product's first result in the output.
    first: usize,
    /// The number of columns of C.
    row_length: usize,
}

/// The factors of the products that are added to C in one pass.
#[derive(Clone, Copy)]
struct Block<'a> {
    /// `[start, end]` of the columns of A, which are the rows of B.
    depth: [usize; 2],
    /// The packed part of A, `[KC][MC]`, if A is transposed. Reading a transposed A in place could cause cache-set
    /// conflicts.
    packed_a: &'a [f32],
    /// Packed rows of B, `[rows][NC]`.
    b: &'a [f32],
    /// The elements that follow `b` in a packed matrix, which the task multiplies next.
    next_b: &'a [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let packed_b = if matches!(self.b, Right::Matrix(_)) { KC * NC } else { 0 };
        let packed_a = if self.a.transposed { KC * MC } else { 0 };
        let rows = self.rows[1] - self.rows[0];
        let mut scratch = Scratch::new([packed_b, packed_a, rows.next_multiple_of(MR) * NC]);
        let [packed_b, packed_a, sums] = scratch.slices();
        for start in (0..self.a.columns).step_by(KC) {
            let depth = [start, self.a.columns.min(start + KC)];
            let [b, next_b] = self.rows_of_b(simd, depth, packed_b);
            for row in (self.rows[0]..self.rows[1]).step_by(MC) {
                self.pack_a([row, self.rows[1].min(row + MC)], depth, packed_a);
                self.multiply_block(simd, row, Block { depth, packed_a, b, next_b }, sums);
            }
        }
        self.finish(simd, &mut sums[..rows * NC]);
    }
}

impl Task<'_> {
    /// Returns the number of columns of this task.
    fn width(&self) -> usize {
        self.columns[1] - self.columns[0]
    }

    /// Returns the packed rows `depth[0]..depth[1]` of B in the columns of this task, `[rows][NC]`, and the elements
    /// that follow them in memory. If B is a matrix, packs the rows in `scratch`, which must have `KC · NC` elements.
    /// The columns `self.width()..NC` have unspecified values, which only affect sums that are discarded.
    #[inline(always)]
    fn rows_of_b<'b, S: Simd>(
        &'b self,
        simd: S,
        depth: [usize; 2],
        scratch: &'b mut [f32],
    ) -> [&'b [f32]; 2] {
        match self.b {
            Right::Matrix(b) => {
                pack(simd, b, depth, self.columns, scratch);
                [&scratch[..(depth[1] - depth[0]) * NC], &[]]
            }
            Right::Packed(b) => b.rows_of_block(self.columns[0] / NC, depth),
        }
    }

    /// If A is transposed, copies its rows `row..end`, in the columns `start..stop`, to `packed_a`.
    fn pack_a(&self, [row, end]: [usize; 2], [start, stop]: [usize; 2], packed_a: &mut [f32]) {
        if self.a.transposed {
            for (packed, column) in packed_a.chunks_exact_mut(MC).zip(start..stop) {
                packed[..end - row].copy_from_slice(self.a.line(column, [row, end]));
            }
        }
    }

    /// Returns the elements of A in a block, starting in the given row, and the distances between rows and between
    /// columns.
    fn elements_of_a<'b>(&'b self, row: usize, block: Block<'b>) -> (&'b [f32], [usize; 2]) {
        if self.a.transposed {
            (&block.packed_a[(row - self.rows[0]) % MC..], [1, MC])
        } else {
            (&self.a.values[row * self.a.stride + block.depth[0]..], self.a.strides())
        }
    }

    /// Multiplies up to `MC` rows of A by a block of B and adds the products to the sums.
    #[inline(always)]
    fn multiply_block<S: Simd>(&self, simd: S, first_row: usize, block: Block<'_>, sums: &mut [f32]) {
        for row in (first_row..self.rows[1].min(first_row + MC)).step_by(MR) {
            self.prefetch_part(row, block.next_b);
            let sums = &mut sums[(row - self.rows[0]) * NC..];
            // With 4 or 2 vectors of sums in each of the `MR` rows, registers remain for the factors.
            match S::REGISTERS {
                32.. => self.multiply_rows::<S, 4>(simd, row, block, sums),
                _ => self.multiply_rows::<S, 2>(simd, row, block, sums),
            }
        }
    }

    /// Prefetches a part of the next block of B. The calls for all rows of the task prefetch the whole block.
    #[inline(always)]
    fn prefetch_part(&self, row: usize, next_b: &[f32]) {
        let tiles = (self.rows[1] - self.rows[0]).div_ceil(MR);
        let part = next_b.len().div_ceil(tiles).next_multiple_of(CACHE_LINE_FLOATS);
        let first = (row - self.rows[0]) / MR * part;
        for line in (first..next_b.len().min(first + part)).step_by(CACHE_LINE_FLOATS) {
            prefetch::<1>(&next_b[line]);
        }
    }

    /// Multiplies up to `MR` rows of A by a block of B, `NV` vectors of columns at a time, and adds the products to
    /// `sums`, `[rows][NC]`.
    #[inline(always)]
    fn multiply_rows<S: Simd, const NV: usize>(
        &self,
        simd: S,
        row: usize,
        block: Block<'_>,
        sums: &mut [f32],
    ) {
        for column in (0..self.width()).step_by(NV * S::LANES) {
            let sums = &mut sums[column..];
            // The last rows may be few.
            match self.rows[1] - row {
                1..=2 => self.multiply_tile::<S, 2, NV>(simd, [row, column], block, sums),
                3..=4 => self.multiply_tile::<S, 4, NV>(simd, [row, column], block, sums),
                _ => self.multiply_tile::<S, MR, NV>(simd, [row, column], block, sums),
            }
        }
    }

    /// Multiplies `ROWS` rows of A by `NV` vectors of columns of a block of B and adds the products to `sums`, whose
    /// rows are `NC` elements apart. The sums of rows after the last row are unspecified.
    #[inline(always)]
    fn multiply_tile<S: Simd, const ROWS: usize, const NV: usize>(
        &self,
        simd: S,
        [row, column]: [usize; 2],
        block: Block<'_>,
        sums: &mut [f32],
    ) {
        let depth = block.depth[1] - block.depth[0];
        let (values, strides) = self.elements_of_a(row, block);
        let last_row = ROWS.min(self.rows[1] - row) - 1;
        assert!(last_row * strides[0] + (depth - 1) * strides[1] < values.len());
        assert!(column + NV * S::LANES <= NC && depth * NC <= block.b.len());
        assert!((ROWS - 1) * NC + NV * S::LANES <= sums.len());
        let mut rows = [0; ROWS];
        for (i, offset) in rows.iter_mut().enumerate() {
            *offset = i.min(last_row) * strides[0];
        }
        let a = Rows { start: values.as_ptr(), rows, step: strides[1] };
        let b = Columns { start: block.b[column..].as_ptr(), vectors: consecutive::<NV>(S::LANES), step: NC };
        let mut tile = RegisterTile::<_, ROWS, NV>::zeros(Floats::new(simd));
        // SAFETY: by the assertions above, a row of the block of B has `NV` vectors from `column` on, A has an element
        // for every row and every depth, and `sums` has `NV` vectors in every row.
        unsafe {
            tile.add_product::<0>(depth, a, b);
            if block.depth[0] > 0 {
                tile.add_from(sums.as_ptr(), [NC, S::LANES]);
            }
            tile.store(sums.as_mut_ptr(), [NC, S::LANES]);
        }
    }

    /// Applies the epilogue to the sums, `[rows][NC]`, and copies the results to C.
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, sums: &mut [f32]) {
        self.epilogue.apply_to_rows(simd, sums, NC, self.columns);
        for (row, results) in (self.rows[0]..self.rows[1]).zip(sums.chunks_exact(NC)) {
            let c = self.c.at(self.first + row * self.row_length + self.columns[0]).cast::<f32>();
            // SAFETY: C has these elements, and no other task accesses them.
            unsafe { c.copy_from_nonoverlapping(results.as_ptr(), self.width()) }
        }
    }
}
