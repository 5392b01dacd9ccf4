//! Matrix products with few rows or few columns, computed as dot products of the contiguous rows of A and the
//! contiguous columns of B.

use crate::memory::{Scratch, zeros};
use crate::parallel::{SharedStart, cost, for_each_group};
use crate::simd::{Isa, Kernel, Simd, dispatch_to};

use super::epilogue::BiasActivation;
use super::{Product, sizes};

/// The number of columns of B in one call of [`dot_products`].
const NR: usize = 4;

/// The maximum number of rows of A in one call of [`dot_products`].
const MR: usize = 4;

/// The maximum depth of a pass: the number of elements of each row and column that one pass multiplies. The elements of
/// a few rows and columns stay in the L1 cache. This depth determines the order of the additions, so it must not depend
/// on the number of threads.
const KC: usize = 512;

/// If A has one of these numbers of rows, each task packs A. If A were read in place, rows whose distance is a power
/// of two would cause cache-set conflicts.
const PACKED_ROWS: std::ops::Range<usize> = MR + 1..super::MIN_PACKED[0];

/// Returns `epilogue(a · b)` for each product, one after another. In each product, `a` must be in row-major order and
/// `b` must be transposed, unless one of the sizes is 0. A task computes some columns of all rows of a product, so that
/// each element of B is read once.
pub(super) fn multiply_all(isa: Isa, products: &[Product<'_>], epilogue: BiasActivation<'_>) -> Vec<f32> {
    let [rows, depth, columns] = sizes(products);
    let mut c = zeros(products.len() * rows * columns);
    // Every task reads all rows of A, so there are at most four tasks per thread.
    let min_width = (products.len() * columns).div_ceil(4 * rayon::current_num_threads()).min(columns);
    let width =
        cost::MIN_STREAMED_MULTIPLY_ADDS.div_ceil((rows * depth).max(1)).max(min_width).next_multiple_of(NR);
    let packed = if PACKED_ROWS.contains(&rows) { rows * KC } else { 0 };
    let tasks = columns.div_ceil(width);
    let start = SharedStart::of(&mut c);
    let task_work = (rows * depth * width.min(columns)).max(1);
    for_each_group(products.len() * tasks, cost::MIN_STREAMED_MULTIPLY_ADDS / task_work, &|index| {
        let (product, task) = (index / tasks, index % tasks);
        let columns = [task * width, columns.min((task + 1) * width)];
        let mut scratch = Scratch::new([packed]);
        let [packed] = scratch.slices();
        let first = product * rows * products[product].b.columns;
        dispatch_to(isa, Task { product: products[product], epilogue, columns, c: &start, first, packed });
    });
    c
}

/// Computes some columns of every row of one product.
struct Task<'a> {
    product: Product<'a>,
    epilogue: BiasActivation<'a>,
    /// `[start, end]` of the columns.
    columns: [usize; 2],
    /// The output, initially zeros.
    c: &'a SharedStart<f32>,
    /// The offset of the product's first result in the output.
    first: usize,
    /// The packed part of A, `[rows][KC]`, or empty if its rows are read in place.
    packed: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Product { a, b } = self.product;
        for start in (0..a.columns).step_by(KC) {
            let depth = [start, a.columns.min(start + KC)];
            self.pack(depth);
            self.add(simd, depth);
        }
        for row in 0..a.rows {
            // SAFETY: the row is in C, and no other task accesses these columns.
            unsafe { self.epilogue.apply(simd, self.c.at(self.first + row * b.columns), self.columns) }
        }
    }
}

impl Task<'_> {
    /// Packs the columns `start..end` of A.
    fn pack(&mut self, [start, end]: [usize; 2]) {
        for (row, packed) in self.packed.chunks_exact_mut(KC).enumerate() {
            packed[..end - start].copy_from_slice(self.product.a.line(row, [start, end]));
        }
    }

    /// Returns the elements `start..end` of a row of A.
    #[inline(always)]
    fn row(&self, row: usize, [start, end]: [usize; 2]) -> &[f32] {
        if self.packed.is_empty() {
            self.product.a.line(row, [start, end])
        } else {
            &self.packed[row * KC..][..end - start]
        }
    }

    /// Multiplies the columns `depth[0]..depth[1]` of A by the same rows of B, and adds the products to C.
    #[inline(always)]
    fn add<S: Simd>(&self, simd: S, depth: [usize; 2]) {
        let Product { a, b } = self.product;
        for column in (self.columns[0]..self.columns[1]).step_by(NR) {
            let width = NR.min(self.columns[1] - column);
            for row in (0..a.rows).step_by(MR) {
                let count = MR.min(a.rows - row);
                // Columns beyond the last column repeat the last column, and rows beyond the last row repeat the last
                // row. Their sums are discarded.
                let mut columns = [&[][..]; NR];
                for (j, values) in columns.iter_mut().enumerate() {
                    *values = b.line(column + j.min(width - 1), depth);
                }
                let mut rows = [&[][..]; MR];
                for (i, values) in rows.iter_mut().enumerate() {
                    *values = self.row(row + i.min(count - 1), depth);
                }
                let sums = dot_products(simd, rows, columns, count);
                for (i, sums) in sums.iter().take(count).enumerate() {
                    let address = self.c.at(self.first + (row + i) * b.columns + column);
                    for (j, sum) in sums.iter().take(width).enumerate() {
                        // SAFETY: the element is in C, and no other task accesses its column.
                        unsafe { *address.add(j) += sum };
                    }
                }
            }
        }
    }
}

/// Returns the dot products of the first `count` rows with every column. All rows and columns have the same length.
///
/// The order of the additions in a sum does not depend on the other rows and columns.
#[inline(always)]
fn dot_products<S: Simd>(simd: S, x: [&[f32]; MR], columns: [&[f32]; NR], count: usize) -> [[f32; NR]; MR] {
    match count {
        1 => dot_products_of_rows::<S, 1>(simd, x, columns),
        2 => dot_products_of_rows::<S, 2>(simd, x, columns),
        // The sums of four rows fit only in more than 16 registers.
        4 if S::REGISTERS > 16 => dot_products_of_rows::<S, 4>(simd, x, columns),
        4 => {
            // Computes two pairs of rows. The last two rows of each call are not used.
            let [a, b, c, d] = x;
            let [first, second] = [[a, b, b, b], [c, d, d, d]].map(|x| (x, columns));
            let [a, b, ..] = dot_products_of_rows::<S, 2>(simd, first.0, first.1);
            let [c, d, ..] = dot_products_of_rows::<S, 2>(simd, second.0, second.1);
            [a, b, c, d]
        }
        _ => dot_products_of_rows::<S, 3>(simd, x, columns),
    }
}

/// Returns the dot products of the first `COUNT` rows with every column, and zeros for the other rows.
#[inline(always)]
fn dot_products_of_rows<S: Simd, const COUNT: usize>(
    simd: S,
    x: [&[f32]; MR],
    columns: [&[f32]; NR],
) -> [[f32; NR]; MR] {
    let len = columns.iter().chain(&x).map(|values| values.len()).min().unwrap_or(0);
    let mut sums = [[simd.zero(); NR]; MR];
    let vectorized_len = len - len % S::LANES;
    // SAFETY: every slice has at least `len` elements.
    unsafe {
        for at in (0..vectorized_len).step_by(S::LANES) {
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
        if vectorized_len < len {
            for (sums, x) in sums.iter_mut().zip(&x).take(COUNT) {
                let x = simd.load_partial(x.as_ptr().add(vectorized_len), len - vectorized_len);
                for (sum, column) in sums.iter_mut().zip(&columns) {
                    let w = simd.load_partial(column.as_ptr().add(vectorized_len), len - vectorized_len);
                    *sum = simd.fma(x, w, *sum);
                }
            }
        }
    }
    let mut results = [[0.; NR]; MR];
    for (results, sums) in results.iter_mut().zip(sums).take(COUNT) {
        *results = sum_lanes(simd, sums);
    }
    results
}

/// Returns the sum of the lanes of each vector. Each call of [`add_adjacent`] halves the number of partial sums per
/// vector, until one sum per vector remains.
#[inline(always)]
fn sum_lanes<S: Simd>(simd: S, [a, b, c, d]: [S::V; NR]) -> [f32; NR] {
    let mut all = add_adjacent(simd, add_adjacent(simd, a, b), add_adjacent(simd, c, d));
    let mut lanes = S::LANES / NR;
    while lanes > 1 {
        all = add_adjacent(simd, all, all);
        lanes /= 2;
    }
    let mut results = [0.; 16];
    // SAFETY: a vector has at most 16 lanes.
    unsafe { simd.store(results.as_mut_ptr(), all) };
    [results[0], results[1], results[2], results[3]]
}

/// Returns the sums of adjacent lanes of the concatenation of `a` and `b`.
#[inline(always)]
fn add_adjacent<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V {
    let [even, odd] = simd.deinterleave(a, b);
    simd.add(even, odd)
}
