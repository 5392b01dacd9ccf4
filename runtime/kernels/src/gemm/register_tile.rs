//! The register tile: sums of a matrix product, for `MR` rows and `NV` vectors of columns, in registers.
//!
//! [`RegisterTile::add_product`] is the inner loop of the products of `blocked` and `packed`, and of several
//! convolution kernels. The callers differ in the layouts of the operands, and in which operands they pack.

use crate::memory::CACHE_LINE_FLOATS;
use crate::simd::{Lanes, prefetch};

/// `MR` rows of A, whose elements are broadcast one by one.
#[derive(Clone, Copy)]
pub(crate) struct Rows<R, const MR: usize> {
    pub start: *const R,
    /// The offset of the first element of each row.
    pub rows: [usize; MR],
    /// The distance from one element of a row to the next.
    pub step: usize,
}

/// `NV` vectors of columns of B.
#[derive(Clone, Copy)]
pub(crate) struct Columns<R, const NV: usize> {
    pub start: *const R,
    /// The offset of each vector in a row of B.
    pub vectors: [usize; NV],
    /// The distance from one row of B to the next.
    pub step: usize,
}

/// Returns the `N` offsets `0, step, 2 · step, …`.
#[inline(always)]
pub(crate) fn consecutive<const N: usize>(step: usize) -> [usize; N] {
    std::array::from_fn(|i| i * step)
}

/// `MR × NV` vectors of sums.
#[derive(Clone, Copy)]
pub(crate) struct RegisterTile<L: Lanes, const MR: usize, const NV: usize> {
    lanes: L,
    pub sums: [[L::V; NV]; MR],
}

impl<L: Lanes, const MR: usize, const NV: usize> RegisterTile<L, MR, NV> {
    /// Creates a tile of zeros.
    #[inline(always)]
    pub fn zeros(lanes: L) -> Self {
        Self { lanes, sums: [[lanes.splat(L::Real::default()); NV]; MR] }
    }

    /// Loads the sums from memory. `strides` are the distances between rows and between vectors.
    ///
    /// # Safety
    /// Every vector of the tile must be in bounds at `from`.
    #[inline(always)]
    pub unsafe fn load(&mut self, from: *const L::Real, strides: [usize; 2]) {
        for m in 0..MR {
            for v in 0..NV {
                // SAFETY: guaranteed by the caller.
                self.sums[m][v] = unsafe { self.lanes.load(from.add(m * strides[0] + v * strides[1])) };
            }
        }
    }

    /// Adds vectors from memory to the sums. `strides` are the distances between rows and between vectors.
    ///
    /// # Safety
    /// Every vector of the tile must be in bounds at `from`.
    #[inline(always)]
    pub unsafe fn add_from(&mut self, from: *const L::Real, strides: [usize; 2]) {
        for m in 0..MR {
            for v in 0..NV {
                // SAFETY: guaranteed by the caller.
                let vector = unsafe { self.lanes.load(from.add(m * strides[0] + v * strides[1])) };
                self.sums[m][v] = self.lanes.add(self.sums[m][v], vector);
            }
        }
    }

    /// Stores the sums in memory. `strides` are the distances between rows and between vectors.
    ///
    /// # Safety
    /// Every vector of the tile must be in bounds at `to`.
    #[inline(always)]
    pub unsafe fn store(&self, to: *mut L::Real, strides: [usize; 2]) {
        for m in 0..MR {
            for v in 0..NV {
                // SAFETY: guaranteed by the caller.
                unsafe { self.lanes.store(to.add(m * strides[0] + v * strides[1]), self.sums[m][v]) };
            }
        }
    }

    /// Adds the matrix product of A, with `depth` elements in each row, and B, with `depth` rows.
    ///
    /// With `PREFETCH_DISTANCE > 0`, prefetches the elements of B that are `PREFETCH_DISTANCE` elements ahead.
    ///
    /// # Safety
    /// Every row of A must have `depth` elements, and every vector of B must be in bounds in `depth` rows.
    #[inline(always)]
    pub unsafe fn add_product<const PREFETCH_DISTANCE: usize>(
        &mut self,
        depth: usize,
        mut a: Rows<L::Real, MR>,
        mut b: Columns<L::Real, NV>,
    ) {
        for _ in 0..depth {
            // SAFETY: guaranteed by the caller.
            unsafe { self.add_outer_product::<PREFETCH_DISTANCE>(a, b) };
            a.start = a.start.wrapping_add(a.step);
            b.start = b.start.wrapping_add(b.step);
        }
    }

    /// Adds the outer product of one element of each row of A and one row of B.
    ///
    /// # Safety
    /// The requirements of [`add_product`](Self::add_product), for a depth of 1.
    #[inline(always)]
    pub unsafe fn add_outer_product<const PREFETCH_DISTANCE: usize>(
        &mut self,
        a: Rows<L::Real, MR>,
        b: Columns<L::Real, NV>,
    ) {
        let lanes = self.lanes;
        let mut row = self.sums[0];
        for (v, vector) in row.iter_mut().enumerate() {
            let address = b.start.wrapping_add(b.vectors[v]);
            // SAFETY: guaranteed by the caller.
            *vector = unsafe { lanes.load(address) };
            if PREFETCH_DISTANCE > 0 && (v * L::LANES).is_multiple_of(CACHE_LINE_FLOATS) {
                prefetch::<1>(address.wrapping_add(PREFETCH_DISTANCE).cast());
            }
        }
        for (offset, sums) in a.rows.into_iter().zip(&mut self.sums) {
            // SAFETY: guaranteed by the caller.
            let x = lanes.splat(unsafe { *a.start.wrapping_add(offset) });
            for v in 0..NV {
                sums[v] = lanes.fma(x, row[v], sums[v]);
            }
        }
    }
}
