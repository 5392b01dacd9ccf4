//! The innermost loop: a register tile of some pixels × a panel, which is one or two vectors of output channels.

use crate::conv::cpu::epilogue::{Affine, Destination, EpilogueWriter};
use crate::conv::cpu::plan::RegisterTileShape;
use crate::conv::cpu::tile::Tap;
use crate::gemm::{Columns, RegisterTile, Rows, consecutive};
use crate::memory::CACHE_LINE_FLOATS;
use crate::simd::{Floats, Simd, prefetch};

/// The number of vectors of output channels in a panel. The last panel may have fewer.
pub(super) const PANEL_VECTORS: usize = 2;

/// Returns the maximum number of pixels of a register tile. Besides the sums, the registers hold [`PANEL_VECTORS`]
/// vectors of weights and one broadcast element of a pixel.
const fn max_pixels<S: Simd>() -> usize {
    (S::REGISTERS - PANEL_VECTORS - 1) / PANEL_VECTORS
}

pub(in crate::conv::cpu) const fn register_tile_shape<S: Simd>() -> RegisterTileShape {
    RegisterTileShape { channels: PANEL_VECTORS * S::LANES, pixels: max_pixels::<S>(), lanes: S::LANES }
}

/// Returns the distance from one pixel of the input to the next, in floats. `nchw` is `true` for an `Nchw` input and
/// `false` for an `Nchwc` input.
pub(super) const fn pixel_step<S: Simd>(nchw: bool) -> usize {
    if nchw { 1 } else { S::LANES }
}

/// The operands of a register tile.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    /// The input of the tile's first pixel at the first tap. Pixels are [`pixel_step`] floats apart.
    pub input: *const f32,
    pub taps: &'a [Tap],
    /// The panel's weights, `[tap][channel of the tap][VECTORS · LANES]`.
    pub weights: *const f32,
    /// The next panel's weights, for prefetching. Never dereferenced.
    pub next: *const f32,
    /// `[start, end]` of the cache lines that this register tile prefetches, relative to each tap's weights in `next`.
    pub prefetched_lines: [usize; 2],
}

/// The destination of a register tile's sums or results.
#[derive(Clone, Copy)]
pub(super) struct TileTarget<'a> {
    /// Whether to add to the sums that the destination already holds.
    pub adds_to_sums: bool,
    /// The epilogue, which turns sums into results. `None` before the last chunk: the sums are stored unchanged.
    pub writer: Option<&'a EpilogueWriter<'a>>,
    pub to: Destination,
}

/// Multiplies `pixels` pixels by a panel of `VECTORS` vectors of output channels. `NCHW` is the argument of
/// [`pixel_step`].
///
/// # Safety
/// For every tap, `factors.input` has the tap's channels of every pixel at the tap's offset, and `factors.weights` has
/// `VECTORS` vectors for each of these channels. `target.to` is in bounds for `pixels` pixels and `VECTORS` blocks of
/// channels.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd, const VECTORS: usize, const NCHW: bool>(
    simd: S,
    pixels: usize,
    factors: Factors<'_>,
    affine: &Affine<S, VECTORS>,
    target: TileTarget<'_>,
) {
    macro_rules! tiles {
        ($($count:literal)*) => {
            match pixels {
                // SAFETY: guaranteed by the caller.
                $($count => unsafe { tile::<S, VECTORS, $count, NCHW>(simd, factors, affine, target) },)*
                _ => unreachable!("a register tile of {pixels} pixels"),
            }
        };
    }
    // Compile larger tiles only for instruction sets with enough registers.
    if const { max_pixels::<S>() >= 14 } {
        tiles!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    } else if const { max_pixels::<S>() >= 6 } {
        tiles!(1 2 3 4 5 6)
    } else {
        tiles!(1 2)
    }
}

/// # Safety
/// The requirements of [`multiply`], for `PIXELS` pixels.
#[inline(always)]
unsafe fn tile<S: Simd, const VECTORS: usize, const PIXELS: usize, const NCHW: bool>(
    simd: S,
    factors: Factors<'_>,
    affine: &Affine<S, VECTORS>,
    target: TileTarget<'_>,
) {
    let mut tile = RegisterTile::<_, PIXELS, VECTORS>::zeros(Floats::new(simd));
    if target.adds_to_sums {
        // SAFETY: the destination is in bounds, as the caller guarantees.
        unsafe { tile.load(target.to.output.add(target.to.at), [S::LANES, target.to.block]) };
    }
    let Factors { input, taps, weights, mut next, prefetched_lines } = factors;
    let mut weights = Columns { start: weights, vectors: consecutive(S::LANES), step: VECTORS * S::LANES };
    for tap in taps {
        for line in prefetched_lines[0]..prefetched_lines[1] {
            prefetch::<2>(next.wrapping_add(line * CACHE_LINE_FLOATS));
        }
        let channels = tap.channels as usize;
        let start = input.wrapping_add(tap.offset as usize);
        let pixels = Rows { start, rows: consecutive(pixel_step::<S>(NCHW)), step: 1 };
        // SAFETY: the input has the tap's channels of every pixel, and there is a row of weights for each channel.
        unsafe { tile.add_product::<0>(channels, pixels, weights) };
        weights.start = weights.start.wrapping_add(channels * weights.step);
        next = next.wrapping_add(channels * weights.step);
    }
    // SAFETY: the destination is in bounds, as the caller guarantees.
    unsafe {
        match target.writer {
            Some(writer) => writer.store_vectors(simd, affine.shifted(simd, tile.sums), affine, target.to),
            None => target.to.store(simd, tile.sums),
        }
    }
}
