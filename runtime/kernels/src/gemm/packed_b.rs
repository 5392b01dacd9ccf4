//! The right factor B of a product, packed into blocks of `KC` rows and `NC` columns.

use crate::memory::AlignedVec;
use crate::parallel::for_each_chunk;
use crate::simd::{Isa, Kernel, Simd, dispatch_to, transpose};

use super::matrix::Matrix;

/// The number of columns of a packed block of B.
pub(super) const NC: usize = 64;
/// The number of rows of a packed block of B. The block stays in the L1 cache.
pub(super) const KC: usize = 64;

/// A matrix B in packed blocks, for several products with the same B.
pub(crate) struct PackedB {
    /// The rows of the first `NC` columns, then those of the next `NC` columns. Zeros follow the last column.
    values: AlignedVec,
    rows: usize,
    columns: usize,
}

impl PackedB {
    /// Packs `b`.
    pub fn new(isa: Isa, b: Matrix<'_>) -> Self {
        let Matrix { rows, columns, .. } = b;
        let mut values = AlignedVec::zeros(columns.div_ceil(NC) * rows * NC);
        for_each_chunk(&mut values, rows * NC, |block, packed| {
            let columns = [block * NC, columns.min((block + 1) * NC)];
            dispatch_to(isa, PackColumns { b, columns, packed });
        });
        Self { values, rows, columns }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the packed rows `start..end` in the columns of a block, `[rows][NC]`, and up to `KC` rows that follow
    /// them in memory.
    pub(super) fn rows_of_block(&self, column_block: usize, [start, end]: [usize; 2]) -> [&[f32]; 2] {
        let block = column_block * self.rows * NC;
        let (start, end) = (block + start * NC, block + end * NC);
        [&self.values[start..end], &self.values[end..self.values.len().min(end + KC * NC)]]
    }
}

/// Packs all rows of up to `NC` columns.
struct PackColumns<'a> {
    b: Matrix<'a>,
    columns: [usize; 2],
    packed: &'a mut [f32],
}

impl Kernel for PackColumns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        pack(simd, self.b, [0, self.b.rows], self.columns, self.packed);
    }
}

/// Copies the rows `start..end` of `b`, in up to `NC` columns, to `packed`, `[rows][NC]`. Leaves the elements of the
/// remaining columns of `packed` unchanged.
#[inline(always)]
pub(super) fn pack<S: Simd>(
    simd: S,
    b: Matrix<'_>,
    [start, end]: [usize; 2],
    columns: [usize; 2],
    packed: &mut [f32],
) {
    let width = columns[1] - columns[0];
    if !b.transposed {
        for (to, row) in packed.chunks_exact_mut(NC).zip(start..end) {
            to[..width].copy_from_slice(b.line(row, columns));
        }
        return;
    }
    for column in (0..width).step_by(S::LANES) {
        for row in (start..end).step_by(S::LANES) {
            let from = &b.values[(columns[0] + column) * b.stride + row..];
            let to = &mut packed[(row - start) * NC + column..];
            let size = [S::LANES.min(end - row), S::LANES.min(width - column)];
            pack_transposed(simd, from, b.stride, to, size);
        }
    }
}

/// Copies `height` rows of `width` columns from a transposed matrix, whose columns are `stride` elements apart, to
/// `packed`, whose rows are `NC` elements apart. Both sizes are at most the number of lanes.
#[inline(always)]
fn pack_transposed<S: Simd>(
    simd: S,
    columns: &[f32],
    stride: usize,
    packed: &mut [f32],
    [height, width]: [usize; 2],
) {
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
