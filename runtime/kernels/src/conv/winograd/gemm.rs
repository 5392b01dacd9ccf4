//! The matrix product of one position: `m[tile][o] = Σ_c v[c][tile] · u[c][o]` for a panel of outputs or two.

use super::pack::PANEL;
use crate::simd::{Simd, prefetch};

/// The split of a block's tiles into groups that have their sums in registers at once.
///
/// Groups are of nearly equal size: a lone tile at the end would wait on its own additions.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    tiles: usize,
    count: usize,
}

/// The most tiles of a group: the sums of two vectors of outputs each leave registers for a vector of each factor.
const fn most_tiles<S: Simd>() -> usize {
    if S::LANES == 16 { 14 } else { 6 }
}

/// The panels that are multiplied at once where there are so many. Where a panel is one vector, a product of it alone
/// waits for its factors: each needs one from memory.
pub(super) const fn panels_at_once<S: Simd>() -> usize {
    if S::LANES == PANEL { 2 } else { 1 }
}

impl Groups {
    #[inline(always)]
    pub(super) fn of<S: Simd>(tiles: usize) -> Self {
        Self { tiles, count: tiles.div_ceil(most_tiles::<S>()) }
    }

    /// The first tile of a group, or the number of tiles for the group after the last.
    #[inline(always)]
    fn start(self, group: usize) -> usize {
        group * self.tiles / self.count
    }

    /// Where `v` `[group][channels / LANES][tiles of the group][LANES]` has a tile's `LANES` channels
    /// from `channel`, of `channels` rounded up to whole vectors.
    #[inline(always)]
    pub(super) fn offset(self, tile: usize, channel: usize, channels: usize, lanes: usize) -> usize {
        let group = ((tile + 1) * self.count).div_ceil(self.tiles) - 1;
        let (start, end) = (self.start(group), self.start(group + 1));
        start * channels.next_multiple_of(lanes) + channel * (end - start) + (tile - start) * lanes
    }
}

/// What one product reads.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    /// `[group][channels / LANES][tiles of the group][LANES]`, as [`Groups::offset`] has it.
    pub v: *const f32,
    /// `[channels][PANEL]` of the first panel.
    pub u: *const f32,
    pub channels: usize,
    pub tiles: usize,
    /// At most [`panels_at_once`].
    pub panels: usize,
    /// The distance from one panel to the next, in `u` and in the products.
    pub strides: [usize; 2],
}

/// Multiplies tiles with panels into `m` `[panels][tiles][PANEL]`, panels as far apart as the factors say.
///
/// The sum runs over the channels in order whatever the split, so that it does not depend on it.
///
/// # Safety
/// `factors` and `m` have the extents above.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(simd: S, factors: Factors, m: *mut f32) {
    let groups = Groups::of::<S>(factors.tiles);
    let channels = factors.channels;
    let step = if FEW_GROUPS.contains(&groups.count) { NEAR_CHANNELS } else { usize::MAX };
    for first in (0..channels.max(1)).step_by(step) {
        for group in 0..groups.count {
            let (start, end) = (groups.start(group), groups.start(group + 1));
            let tiles = end - start;
            // SAFETY: `end ≤ tiles`, and `first`, a multiple of `LANES` where it is not 0, below `channels`.
            unsafe {
                let v = factors.v.add(start * channels.next_multiple_of(S::LANES) + first * tiles);
                let (u, channels) = (factors.u.add(first * PANEL), step.min(channels - first));
                let factors = Factors { v, u, channels, tiles, ..factors };
                let sums = Sums { at: m.add(start * PANEL), resume: first > 0 };
                match (S::LANES, factors.panels) {
                    (4, _) => multiply_group::<S, 4>(simd, factors, sums),
                    (16, 1) => multiply_group::<S, 1>(simd, factors, sums),
                    _ => multiply_group::<S, 2>(simd, factors, sums),
                }
            }
        }
    }
}

/// Where sums go.
#[derive(Clone, Copy)]
struct Sums {
    at: *mut f32,
    /// Whether they go on from what is there.
    resume: bool,
}

/// Where so many groups follow one another, each reads a panel's next channels while the first-level cache still has
/// them from the group before. With one there is none before, with more the weights matter less than the sums.
const FEW_GROUPS: std::ops::RangeInclusive<usize> = 2..=3;
const NEAR_CHANNELS: usize = 64;

/// # Safety
/// As [`multiply`], for one group and `VECTORS` vectors of outputs.
#[inline(always)]
unsafe fn multiply_group<S: Simd, const VECTORS: usize>(simd: S, factors: Factors, sums: Sums) {
    // SAFETY: the caller's bounds; no group has more tiles than `most_tiles`.
    unsafe {
        // Only where there are registers for so many is code made for them.
        if S::LANES == 16 && factors.tiles > 6 {
            return match factors.tiles {
                7 => multiply_tiles::<S, VECTORS, 7>(simd, factors, sums),
                8 => multiply_tiles::<S, VECTORS, 8>(simd, factors, sums),
                9 => multiply_tiles::<S, VECTORS, 9>(simd, factors, sums),
                10 => multiply_tiles::<S, VECTORS, 10>(simd, factors, sums),
                11 => multiply_tiles::<S, VECTORS, 11>(simd, factors, sums),
                12 => multiply_tiles::<S, VECTORS, 12>(simd, factors, sums),
                13 => multiply_tiles::<S, VECTORS, 13>(simd, factors, sums),
                _ => multiply_tiles::<S, VECTORS, 14>(simd, factors, sums),
            };
        }
        match factors.tiles {
            1 => multiply_tiles::<S, VECTORS, 1>(simd, factors, sums),
            2 => multiply_tiles::<S, VECTORS, 2>(simd, factors, sums),
            3 => multiply_tiles::<S, VECTORS, 3>(simd, factors, sums),
            4 => multiply_tiles::<S, VECTORS, 4>(simd, factors, sums),
            5 => multiply_tiles::<S, VECTORS, 5>(simd, factors, sums),
            _ => multiply_tiles::<S, VECTORS, 6>(simd, factors, sums),
        }
    }
}

/// # Safety
/// As [`multiply`], for a group of `TILES` tiles; `VECTORS · LANES` is as many [`PANEL`]s as the factors have.
#[inline(always)]
unsafe fn multiply_tiles<S: Simd, const VECTORS: usize, const TILES: usize>(
    simd: S,
    factors: Factors,
    Sums { at, resume }: Sums,
) {
    let Factors { mut v, mut u, channels, strides, .. } = factors;
    let [offsets, places] = strides.map(|stride| offsets::<S, VECTORS>(stride));
    let mut sums = [[simd.zero(); VECTORS]; TILES];
    // SAFETY: each step of `LANES` channels takes `LANES` of every tile and as many lines of the panels.
    unsafe {
        if resume {
            for (tile, sums) in sums.iter_mut().enumerate() {
                for (place, sum) in places.into_iter().zip(sums) {
                    *sum = simd.load(at.add(tile * PANEL + place));
                }
            }
        }
        for _ in 0..channels / S::LANES {
            for lane in 0..S::LANES {
                accumulate(simd, &mut sums, v.add(lane), u.add(lane * PANEL), offsets);
            }
            v = v.add(TILES * S::LANES);
            u = u.add(S::LANES * PANEL);
        }
        for lane in 0..channels % S::LANES {
            accumulate(simd, &mut sums, v.add(lane), u.add(lane * PANEL), offsets);
        }
        for (tile, sums) in sums.into_iter().enumerate() {
            for (place, sum) in places.into_iter().zip(sums) {
                simd.store(at.add(tile * PANEL + place), sum);
            }
        }
    }
}

/// Where the vectors of some panels' outputs lie, one panel after the other.
#[inline(always)]
fn offsets<S: Simd, const VECTORS: usize>(stride: usize) -> [usize; VECTORS] {
    std::array::from_fn(|i| i * S::LANES / PANEL * stride + i * S::LANES % PANEL)
}

/// Adds one channel's products.
///
/// # Safety
/// `u` has a vector at each of the offsets, `v` one number every `LANES` floats for each tile.
#[inline(always)]
unsafe fn accumulate<S: Simd, const VECTORS: usize, const TILES: usize>(
    simd: S,
    sums: &mut [[S::V; VECTORS]; TILES],
    v: *const f32,
    u: *const f32,
    offsets: [usize; VECTORS],
) {
    let mut outputs = [simd.zero(); VECTORS];
    for (i, vector) in outputs.iter_mut().enumerate() {
        // SAFETY: the caller's bounds.
        *vector = unsafe { simd.load(u.add(offsets[i])) };
        if i * S::LANES % PANEL == 0 {
            prefetch::<1>(u.wrapping_add(offsets[i] + AHEAD * PANEL));
        }
    }
    for (tile, sums) in sums.iter_mut().enumerate() {
        // SAFETY: as above.
        let x = simd.splat(unsafe { *v.add(tile * S::LANES) });
        for (sum, vector) in sums.iter_mut().zip(outputs) {
            *sum = simd.fma(x, vector, *sum);
        }
    }
}

/// How many lines of a panel are asked for ahead of their use: those of the next position follow those of the last,
/// and all together are larger than the near caches.
const AHEAD: usize = 32;
