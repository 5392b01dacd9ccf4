//! The innermost loop: a register tile of some pixels × one or two vectors of output channels, a panel.

use crate::conv::cpu::epilogue::{Affine, Destination, EpilogueWriter};
use crate::conv::cpu::plan::TileShape;
use crate::conv::cpu::tile::Tap;
use crate::gemm::{Columns, RegisterTile, Rows, consecutive};
use crate::simd::{Floats, Simd, prefetch};

/// The vectors of output channels of a panel; the last panel may have fewer.
pub(super) const PANEL_VECTORS: usize = 2;

/// Returns the most pixels of a register tile, so that its sums leave room for the weights and a pixel.
const fn most_pixels<S: Simd>() -> usize {
    (S::REGISTERS - PANEL_VECTORS - 1) / PANEL_VECTORS
}

pub(in crate::conv::cpu) const fn tile_shape<S: Simd>() -> TileShape {
    TileShape { outputs: PANEL_VECTORS * S::LANES, pixels: most_pixels::<S>(), lanes: S::LANES }
}

/// Returns the distance from one pixel to the next in a tile of planes, or of blocks of channels.
pub(super) const fn pixel_step<S: Simd>(planes: bool) -> usize {
    if planes { 1 } else { S::LANES }
}

/// What a register tile reads.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    /// The first pixel for the first tap; the others follow it, a vector apart, or in a tile of planes a number.
    pub input: *const f32,
    pub taps: &'a [Tap],
    /// A vector, or two, for every channel of every tap.
    pub weights: *const f32,
    /// The weights that will be read next, and which cache lines of each tap's this tile prefetches. Never
    /// dereferenced.
    pub next: *const f32,
    pub fetch: [usize; 2],
}

/// Where a register tile's sums come from and go to.
#[derive(Clone, Copy)]
pub(super) struct Ends<'a> {
    /// Whether they continue the sums in the output.
    pub resume: bool,
    /// Makes results of the sums after the last chunk.
    pub writer: Option<&'a EpilogueWriter<'a>>,
    pub to: Destination,
}

/// Multiplies `pixels` pixels with a panel of `VECTORS` vectors of output channels.
///
/// # Safety
/// `factors` has all that it says; `ends.to` is in the output, for `pixels` pixels and `VECTORS` blocks.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd, const VECTORS: usize, const PLANES: bool>(
    simd: S,
    pixels: usize,
    factors: Factors<'_>,
    affine: &Affine<S, VECTORS>,
    ends: Ends<'_>,
) {
    macro_rules! tiles {
        ($($count:literal)*) => {
            match pixels {
                // SAFETY: the caller's promise.
                $($count => unsafe { tile::<S, VECTORS, $count, PLANES>(simd, factors, affine, ends) },)*
                _ => unreachable!("a register tile of {pixels} pixels"),
            }
        };
    }
    // Code is generated only for tiles that have registers.
    if const { most_pixels::<S>() >= 14 } {
        tiles!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    } else if const { most_pixels::<S>() >= 6 } {
        tiles!(1 2 3 4 5 6)
    } else {
        tiles!(1 2)
    }
}

/// # Safety
/// As [`multiply`], for `PIXELS` pixels.
#[inline(always)]
unsafe fn tile<S: Simd, const VECTORS: usize, const PIXELS: usize, const PLANES: bool>(
    simd: S,
    factors: Factors<'_>,
    affine: &Affine<S, VECTORS>,
    ends: Ends<'_>,
) {
    let mut tile = RegisterTile::<_, PIXELS, VECTORS>::zeros(Floats::new(simd));
    if ends.resume {
        // SAFETY: the destination is in the output.
        tile.sums = unsafe { ends.to.load(simd) };
    }
    let Factors { input, taps, weights, mut next, fetch } = factors;
    let mut weights = Columns { start: weights, vectors: consecutive(S::LANES), step: VECTORS * S::LANES };
    for tap in taps {
        for line in fetch[0]..fetch[1] {
            prefetch::<2>(next.wrapping_add(line * LINE));
        }
        let channels = tap.channels as usize;
        let start = input.wrapping_add(tap.offset as usize);
        let pixels = Rows { start, rows: consecutive(pixel_step::<S>(PLANES)), step: 1 };
        // SAFETY: the tap has these channels of every pixel, and there is a row of weights for each.
        unsafe { tile.add_product::<0>(channels, pixels, weights) };
        weights.start = weights.start.wrapping_add(channels * weights.step);
        next = next.wrapping_add(channels * weights.step);
    }
    // SAFETY: the destination is in the output.
    unsafe {
        match ends.writer {
            Some(writer) => writer.store_vectors(simd, tile.sums, affine, ends.to),
            None => ends.to.store(simd, tile.sums),
        }
    }
}

/// The floats of a cache line.
pub(super) const LINE: usize = 16;
