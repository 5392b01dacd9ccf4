//! The matrix product of one position: `m[tile][o] = Σ_c v[c][tile] · u[c][o]` for a panel of outputs.

use super::pack::PANEL;
use crate::kernels::simd::Simd;

/// The split of a block's tiles into groups that have their sums in registers at once.
///
/// Groups are of nearly equal size: a lone tile at the end would wait on its own additions.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    tiles: usize,
    count: usize,
}

/// The tiles whose sums, twelve or more, leave registers for a vector of each factor.
const fn most_tiles<S: Simd>() -> usize {
    if S::LANES == 16 { 12 } else { 6 }
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
    /// `[channels][PANEL]`.
    pub u: *const f32,
    /// The panel that will be read next, fetched meanwhile: the weights of all positions together are
    /// larger than the near caches. Never dereferenced.
    pub next: *const f32,
    pub channels: usize,
}

/// Multiplies `tiles` tiles with one panel into `m` `[tiles][PANEL]`.
///
/// The sum runs over the channels in order whatever the split, so that it does not depend on it.
///
/// # Safety
/// `factors` and `m` have the extents above.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(simd: S, factors: Factors, tiles: usize, m: *mut f32) {
    let groups = Groups::of::<S>(tiles);
    for group in 0..groups.count {
        let (start, end) = (groups.start(group), groups.start(group + 1));
        let fetch = [group * S::LANES / groups.count, (group + 1) * S::LANES / groups.count];
        // SAFETY: `end ≤ tiles`.
        unsafe {
            let v = factors.v.add(start * factors.channels.next_multiple_of(S::LANES));
            let factors = Factors { v, ..factors };
            let m = m.add(start * PANEL);
            match S::LANES {
                4 => multiply_group::<S, 4>(simd, factors, end - start, fetch, m),
                8 => multiply_group::<S, 2>(simd, factors, end - start, fetch, m),
                _ => multiply_group::<S, 1>(simd, factors, end - start, fetch, m),
            }
        }
    }
}

/// # Safety
/// As [`multiply`], for a group of `tiles` tiles.
#[inline(always)]
unsafe fn multiply_group<S: Simd, const VECTORS: usize>(
    simd: S,
    factors: Factors,
    tiles: usize,
    fetch: [usize; 2],
    m: *mut f32,
) {
    // SAFETY: the caller's bounds; no group has more tiles than `most_tiles`.
    unsafe {
        // Only where there are registers for so many is code made for them.
        if S::LANES == 16 && tiles > 6 {
            return match tiles {
                7 => multiply_tiles::<S, VECTORS, 7>(simd, factors, fetch, m),
                8 => multiply_tiles::<S, VECTORS, 8>(simd, factors, fetch, m),
                9 => multiply_tiles::<S, VECTORS, 9>(simd, factors, fetch, m),
                10 => multiply_tiles::<S, VECTORS, 10>(simd, factors, fetch, m),
                11 => multiply_tiles::<S, VECTORS, 11>(simd, factors, fetch, m),
                _ => multiply_tiles::<S, VECTORS, 12>(simd, factors, fetch, m),
            };
        }
        match tiles {
            1 => multiply_tiles::<S, VECTORS, 1>(simd, factors, fetch, m),
            2 => multiply_tiles::<S, VECTORS, 2>(simd, factors, fetch, m),
            3 => multiply_tiles::<S, VECTORS, 3>(simd, factors, fetch, m),
            4 => multiply_tiles::<S, VECTORS, 4>(simd, factors, fetch, m),
            5 => multiply_tiles::<S, VECTORS, 5>(simd, factors, fetch, m),
            _ => multiply_tiles::<S, VECTORS, 6>(simd, factors, fetch, m),
        }
    }
}

/// # Safety
/// As [`multiply`], for a group of `TILES` tiles; `VECTORS · LANES` is [`PANEL`].
#[inline(always)]
unsafe fn multiply_tiles<S: Simd, const VECTORS: usize, const TILES: usize>(
    simd: S,
    factors: Factors,
    fetch: [usize; 2],
    m: *mut f32,
) {
    let Factors { mut v, mut u, mut next, channels } = factors;
    let mut sums = [[simd.zero(); VECTORS]; TILES];
    // SAFETY: each step of `LANES` channels takes `LANES` of every tile and as many lines of the panel.
    unsafe {
        for _ in 0..channels / S::LANES {
            for lane in fetch[0]..fetch[1] {
                prefetch(next.wrapping_add(lane * PANEL));
            }
            for lane in 0..S::LANES {
                accumulate(simd, &mut sums, v.add(lane), u.add(lane * PANEL));
            }
            v = v.add(TILES * S::LANES);
            u = u.add(S::LANES * PANEL);
            next = next.wrapping_add(S::LANES * PANEL);
        }
        for lane in 0..channels % S::LANES {
            accumulate(simd, &mut sums, v.add(lane), u.add(lane * PANEL));
        }
        for (tile, sums) in sums.into_iter().enumerate() {
            for (i, sum) in sums.into_iter().enumerate() {
                simd.store(m.add(tile * PANEL + i * S::LANES), sum);
            }
        }
    }
}

/// Adds one channel's products.
///
/// # Safety
/// `u` holds [`PANEL`] floats, `v` one every `LANES` floats for each tile.
#[inline(always)]
unsafe fn accumulate<S: Simd, const VECTORS: usize, const TILES: usize>(
    simd: S,
    sums: &mut [[S::V; VECTORS]; TILES],
    v: *const f32,
    u: *const f32,
) {
    // SAFETY: the caller's bounds.
    unsafe {
        let mut panel = [simd.zero(); VECTORS];
        for (i, panel) in panel.iter_mut().enumerate() {
            *panel = simd.load(u.add(i * S::LANES));
        }
        for (tile, sums) in sums.iter_mut().enumerate() {
            let x = simd.splat(*v.add(tile * S::LANES));
            for (sum, panel) in sums.iter_mut().zip(panel) {
                *sum = simd.fma(x, panel, *sum);
            }
        }
    }
}

/// Asks for a cache line ahead of its use.
#[inline(always)]
pub(in crate::kernels::conv) fn prefetch(_line: *const f32) {
    // SAFETY: a prefetch reads nothing and cannot fault; SSE is part of x86-64.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(_line.cast());
    }
}
