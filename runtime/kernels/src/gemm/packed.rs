//! The product of packed operands: the caller has written A and B in the order in which the loop reads them.
//!
//! B is packed in panels of `PANEL` columns, `[panel][depth][PANEL]`, so that each row of a panel fills one cache line.
//! A is packed in groups of rows whose sums are in registers together,
//! `[group][depth / LANES][row of the group][LANES]`.

use crate::memory::CACHE_LINE_FLOATS;
use crate::simd::{Floats, Simd};

use super::register_tile::{Columns, RegisterTile, Rows, consecutive};

/// The number of columns of a panel of B.
const PANEL: usize = CACHE_LINE_FLOATS;

/// The partition of the rows of A into groups.
///
/// Groups have nearly equal sizes, so that the last group is not much smaller than the others. A group of one row would
/// be slow, because it has too few independent sums to hide the latency of a multiply-add.
#[derive(Clone, Copy)]
pub(crate) struct RowGroups {
    rows: usize,
    count: usize,
}

/// Returns MR, the maximum number of rows of a group. The sums of a row are two vectors at most, or four if a vector
/// has 4 lanes, so that registers remain for the factors.
const fn max_rows<S: Simd>() -> usize {
    if S::LANES == 16 { 14 } else { 6 }
}

/// Returns the maximum number of panels that one call of [`multiply_packed`] supports. A panel that is one vector wide
/// is multiplied together with a second panel, so that each element loaded from A is used for two products.
pub(crate) const fn panels_at_once<S: Simd>() -> usize {
    if S::LANES == PANEL { 2 } else { 1 }
}

impl RowGroups {
    /// Divides `rows` rows into groups.
    #[inline(always)]
    pub fn new<S: Simd>(rows: usize) -> Self {
        Self { rows, count: rows.div_ceil(max_rows::<S>()) }
    }

    /// Returns the first row of a group, or the number of rows if `group` is the number of groups.
    #[inline(always)]
    fn start(self, group: usize) -> usize {
        group * self.rows / self.count
    }

    /// Returns where the elements `at..at + lanes` of a row begin in packed A. `at` must be a multiple of `lanes`. Rows
    /// have `depth` elements, rounded up to whole vectors.
    #[inline(always)]
    pub fn offset(self, row: usize, at: usize, depth: usize, lanes: usize) -> usize {
        let group = ((row + 1) * self.count).div_ceil(self.rows) - 1;
        let (start, end) = (self.start(group), self.start(group + 1));
        start * depth.next_multiple_of(lanes) + at * (end - start) + (row - start) * lanes
    }
}

/// The operands of [`multiply_packed`].
#[derive(Clone, Copy)]
pub(crate) struct PackedFactors {
    /// The packed rows, in the order of [`RowGroups::offset`].
    pub a: *const f32,
    /// The first panel, `[depth][PANEL]`.
    pub b: *const f32,
    pub depth: usize,
    pub rows: usize,
    /// The number of panels, at most [`panels_at_once`].
    pub panels: usize,
    /// The distances between neighboring panels, first in B, then in C.
    pub panel_strides: [usize; 2],
}

/// Writes the product to `c`, `[panel][row][PANEL]`. The panels of `c` are `panel_strides[1]` elements apart.
///
/// Every sum adds its products in the order of the depth, so that the result does not depend on the partition of the
/// rows into groups.
///
/// # Safety
/// The arrays of `factors` and `c` must have the sizes documented here and in [`PackedFactors`].
#[inline(always)]
pub(crate) unsafe fn multiply_packed<S: Simd>(simd: S, factors: PackedFactors, c: *mut f32) {
    let groups = RowGroups::new::<S>(factors.rows);
    let depth = factors.depth;
    let step = if FEW_GROUPS.contains(&groups.count) { KC } else { usize::MAX };
    for first in (0..depth.max(1)).step_by(step) {
        for group in 0..groups.count {
            let (start, end) = (groups.start(group), groups.start(group + 1));
            let rows = end - start;
            // SAFETY: `end` is at most `factors.rows`, and `first` is 0 or a multiple of `LANES` below the depth.
            unsafe {
                let a = factors.a.add(start * depth.next_multiple_of(S::LANES) + first * rows);
                let (b, depth) = (factors.b.add(first * PANEL), step.min(depth - first));
                let factors = PackedFactors { a, b, depth, rows, ..factors };
                let sums = Sums { start: c.add(start * PANEL), accumulate: first > 0 };
                match (S::LANES, factors.panels) {
                    (4, _) => multiply_group::<S, 4>(simd, factors, sums),
                    (16, 1) => multiply_group::<S, 1>(simd, factors, sums),
                    _ => multiply_group::<S, 2>(simd, factors, sums),
                }
            }
        }
    }
}

/// The destination of a group's sums.
#[derive(Clone, Copy)]
struct Sums {
    start: *mut f32,
    /// Whether to add to the sums that are already in memory.
    accumulate: bool,
}

/// The numbers of groups for which the depth is divided into passes of `KC`. Each group then finds the `KC` rows of a
/// panel in the L1 cache, where the previous group left them. A single group has no previous group. With more than
/// three groups, loading and storing the sums in each pass costs more than reading the panel.
const FEW_GROUPS: std::ops::RangeInclusive<usize> = 2..=3;
/// The number of rows of a panel in one pass over the groups.
const KC: usize = 64;

/// # Safety
/// The requirements of [`multiply_packed`], for one group and `NV` vectors of columns.
#[inline(always)]
unsafe fn multiply_group<S: Simd, const NV: usize>(simd: S, factors: PackedFactors, sums: Sums) {
    // SAFETY: guaranteed by the caller. No group has more rows than `max_rows`.
    unsafe {
        // Larger tiles are compiled only for instruction sets with enough registers.
        if S::LANES == 16 && factors.rows > 6 {
            return match factors.rows {
                7 => multiply_tile::<S, 7, NV>(simd, factors, sums),
                8 => multiply_tile::<S, 8, NV>(simd, factors, sums),
                9 => multiply_tile::<S, 9, NV>(simd, factors, sums),
                10 => multiply_tile::<S, 10, NV>(simd, factors, sums),
                11 => multiply_tile::<S, 11, NV>(simd, factors, sums),
                12 => multiply_tile::<S, 12, NV>(simd, factors, sums),
                13 => multiply_tile::<S, 13, NV>(simd, factors, sums),
                _ => multiply_tile::<S, 14, NV>(simd, factors, sums),
            };
        }
        match factors.rows {
            1 => multiply_tile::<S, 1, NV>(simd, factors, sums),
            2 => multiply_tile::<S, 2, NV>(simd, factors, sums),
            3 => multiply_tile::<S, 3, NV>(simd, factors, sums),
            4 => multiply_tile::<S, 4, NV>(simd, factors, sums),
            5 => multiply_tile::<S, 5, NV>(simd, factors, sums),
            _ => multiply_tile::<S, 6, NV>(simd, factors, sums),
        }
    }
}

/// # Safety
/// The requirements of [`multiply_packed`], for a group of `MR` rows. `NV · LANES` must be the number of columns of the
/// factors' panels.
#[inline(always)]
unsafe fn multiply_tile<S: Simd, const MR: usize, const NV: usize>(
    simd: S,
    factors: PackedFactors,
    Sums { start, accumulate }: Sums,
) {
    let PackedFactors { a, b, depth, panel_strides, .. } = factors;
    let [b_offsets, c_offsets] = panel_strides.map(|stride| offsets::<S, NV>(stride));
    let mut tile = RegisterTile::<_, MR, NV>::zeros(Floats::new(simd));
    let mut rows = Rows { start: a, rows: consecutive(S::LANES), step: 1 };
    let mut columns = Columns { start: b, vectors: b_offsets, step: PANEL };
    // SAFETY: each step of `LANES` depths reads `LANES` elements of every row and `LANES` rows of the panels.
    unsafe {
        if accumulate {
            for (i, sums) in tile.sums.iter_mut().enumerate() {
                for (offset, sum) in c_offsets.into_iter().zip(sums) {
                    *sum = simd.load(start.add(i * PANEL + offset));
                }
            }
        }
        for _ in 0..depth / S::LANES {
            tile.add_product::<PREFETCH_DISTANCE>(S::LANES, rows, columns);
            rows.start = rows.start.wrapping_add(MR * S::LANES);
            columns.start = columns.start.wrapping_add(S::LANES * PANEL);
        }
        tile.add_product::<PREFETCH_DISTANCE>(depth % S::LANES, rows, columns);
        for (i, sums) in tile.sums.into_iter().enumerate() {
            for (offset, sum) in c_offsets.into_iter().zip(sums) {
                simd.store(start.add(i * PANEL + offset), sum);
            }
        }
    }
}

/// Returns the offsets of `NV` neighboring vectors of columns, for panels that are `stride` elements apart.
#[inline(always)]
fn offsets<S: Simd, const NV: usize>(stride: usize) -> [usize; NV] {
    std::array::from_fn(|v| v * S::LANES / PANEL * stride + v * S::LANES % PANEL)
}

/// The distance between the panel row that is multiplied and the row that is prefetched, in floats. A Winograd
/// convolution has one matrix product for each position of the transformed tiles. At the end of a panel, the prefetches
/// reach the panel of the next product, which follows in memory. This helps because the panels of all products together
/// exceed the L2 cache.
const PREFETCH_DISTANCE: usize = 32 * PANEL;
