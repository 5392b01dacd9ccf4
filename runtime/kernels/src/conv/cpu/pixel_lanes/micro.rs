//! The innermost loop: one register tile of output channels × vectors of output pixels.

use crate::conv::cpu::epilogue::ChannelAffines;
use crate::conv::cpu::plan::RegisterTileShape;
use crate::conv::cpu::tile::Tap;
use crate::gemm::{Columns, RegisterTile, Rows, consecutive};
use crate::simd::{Floats, Simd};

/// The maximum number of vectors of pixels in a register tile of any instruction set.
pub(super) const MAX_VECTORS: usize = 3;

/// Returns the shape of an instruction set's register tile. At least one register remains free besides
/// the sums, a row of vectors of pixels and a vector of weights. Without a free register, the compiler spills.
pub(in crate::conv::cpu) const fn register_tile_shape<S: Simd>() -> RegisterTileShape {
    let (channels, vectors) = match S::REGISTERS {
        32.. => (8, 3),
        16.. => (6, 2),
        _ => (2, 2),
    };
    RegisterTileShape { channels, pixels: vectors * S::LANES, lanes: S::LANES }
}

/// The destination of a register tile that stores results instead of sums. All lanes of its vectors are pixels, and the
/// epilogue is applied in registers.
#[derive(Clone, Copy)]
pub(super) struct Results<'a> {
    pub affines: ChannelAffines<'a>,
    /// The address of the patch's first pixel in the first channel.
    pub output: *mut f32,
    /// The offset of the first pixel of each vector from `output`, in each channel.
    pub pixels: &'a [u32; MAX_VECTORS],
    /// The distance from one channel to the next, in floats.
    pub plane: usize,
}

/// The source and the destination of a register tile's sums.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    /// `[channels][vectors][lanes]`
    pub data: *mut f32,
    /// Whether to add to the sums in `data`.
    pub adds_to_sums: bool,
    /// If set, results are stored in this destination, and no sums are stored in `data`.
    pub results: Option<Results<'a>>,
}

/// Computes the sums of one register tile: adds, for every tap, the products of the tap's weights and the vectors of
/// pixels at the tap's offset. With `PAIRS`, weights and pixels are pairs of bf16, otherwise f32.
///
/// # Safety
/// With `PAIRS`, the kernel runs in `dispatch_pairs`. `weights` has `channels` floats for each tap. For each
/// tap and each offset in `vectors`, `pixels` has a vector at the sum of the two offsets. `sums` has room for a vector
/// for each channel and offset. Every channel of `results` exists and has a vector at each of its pixels.
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd, const PAIRS: bool>(
    simd: S,
    channels: usize,
    pixels: *const f32,
    vectors: &[u32],
    taps: &[Tap],
    weights: *const f32,
    sums: Sums<'_>,
) {
    let max_tile = const { register_tile_shape::<S>() };
    macro_rules! tiles {
        ($(($m:literal, $n:literal))*) => {
            match (channels, vectors.len()) {
                $(($m, $n) if $m <= max_tile.channels && $n * S::LANES <= max_tile.pixels => {
                    let vectors = std::array::from_fn(|n| vectors[n] as usize);
                    let pixels = Columns { start: pixels, vectors, step: 0 };
                    // SAFETY: guaranteed by the caller, for this number of channels and vectors.
                    unsafe { tile::<S, PAIRS, $m, $n>(simd, pixels, taps, weights, sums) }
                })*
                _ => unreachable!("a register tile of {channels} channels and {} vectors", vectors.len()),
            }
        };
    }
    match S::REGISTERS {
        32.. => tiles!((8, 3)(8, 2)(8, 1)(4, 3)(4, 2)(4, 1)(1, 3)(1, 2)(1, 1)),
        16.. => tiles!((6, 2)(6, 1)(4, 2)(4, 1)(1, 2)(1, 1)),
        _ => tiles!((2, 2)(2, 1)(1, 2)(1, 1)),
    }
}

/// # Safety
/// The requirements of [`accumulate`], for `M` channels and `N` vectors.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "every index is a constant that selects a register")]
unsafe fn tile<S: Simd, const PAIRS: bool, const M: usize, const N: usize>(
    simd: S,
    pixels: Columns<f32, N>,
    taps: &[Tap],
    weights: *const f32,
    sums: Sums<'_>,
) {
    let steps = [N * S::LANES, S::LANES];
    // SAFETY: guaranteed by the caller.
    let mut tile = RegisterTile::<_, M, N>::zeros(unsafe { Floats::<S, PAIRS>::new_unchecked(simd) });
    if sums.adds_to_sums {
        // SAFETY: `sums` has `M * N` vectors.
        unsafe { tile.load(sums.data, steps) };
    }
    let mut weights = Rows { start: weights, rows: consecutive(1), step: M };
    for tap in taps {
        let start = pixels.start.wrapping_add(tap.offset as usize);
        // SAFETY: there is a vector of pixels at every offset, and `weights` has `M` floats for each tap.
        unsafe { tile.add_outer_product::<0>(weights, Columns { start, ..pixels }) };
        weights.start = weights.start.wrapping_add(M);
    }
    let Some(Results { affines, output, pixels, plane }) = sums.results else {
        // SAFETY: `sums` has `M * N` vectors.
        unsafe { tile.store(sums.data, steps) };
        return;
    };
    for m in 0..M {
        // SAFETY: every channel of `results` exists.
        let affine = unsafe { affines.get(simd, m) };
        for n in 0..N {
            let [[shifted]] = affine.shifted(simd, [[tile.sums[m][n]]]);
            // SAFETY: every channel of `results` has a vector at each of `pixels`.
            unsafe { simd.store(output.add(m * plane + pixels[n] as usize), affine.clamp(simd, shifted)) };
        }
    }
}
