//! The innermost loop: one register tile of output channels × vectors of output pixels.

use crate::conv::cpu::epilogue::ChannelAffines;
use crate::conv::cpu::plan::RegisterTile;
use crate::conv::cpu::tile::Tap;
use crate::simd::Simd;

/// The most vectors of pixels in any register tile.
pub(super) const MOST_VECTORS: usize = 3;

/// Returns the register tile of an instruction set. Its sums, a vector of pixels for each of its vectors, and one of
/// weights have to find room in the registers, with one to spare, or the compiler spills them.
pub(super) const fn register_tile<S: Simd>() -> RegisterTile {
    let (outputs, vectors) = match S::REGISTERS {
        32.. => (8, 3),
        16.. => (6, 2),
        _ => (2, 2),
    };
    RegisterTile { outputs, pixels: vectors * S::LANES, lanes: S::LANES }
}

/// Where a register tile stores results instead of sums: all lanes of its vectors are pixels, and the epilogue is
/// applied in registers.
#[derive(Clone, Copy)]
pub(super) struct Results<'a> {
    pub affines: ChannelAffines<'a>,
    /// The address that the pixels of the first channel count from.
    pub output: *mut f32,
    /// The first pixel of each vector.
    pub pixels: &'a [u32; MOST_VECTORS],
    /// From one channel to the next.
    pub plane: usize,
}

/// Where a register tile's sums come from and go to.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    /// `[channels][vectors][lanes]`
    pub at: *mut f32,
    /// Whether the sums continue those that are there.
    pub resume: bool,
    /// Where the finished results go instead.
    pub results: Option<Results<'a>>,
}

/// Adds to the sums for every tap its `channels` weights times the vectors of pixels at the tap's offset. With `PAIRS`
/// weights and pixels are pairs of bf16, else they are floats.
///
/// # Safety
/// With `PAIRS` the kernel has been run by `dispatch_pairs`.
/// `weights` has `taps.len() * channels` floats, each of the inputs a vector at every
/// offset of `taps`, and `sums` room for a vector for each channel and input. Every channel of `results`
/// exists and has a vector at each of the pixels.
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd, const PAIRS: bool>(
    simd: S,
    channels: usize,
    inputs: &[*const f32],
    taps: &[Tap],
    weights: *const f32,
    sums: Sums<'_>,
) {
    let most = const { register_tile::<S>() };
    macro_rules! blocks {
        ($(($m:literal, $n:literal))*) => {
            match (channels, inputs.len()) {
                $(($m, $n) if $m <= most.outputs && $n * S::LANES <= most.pixels => {
                    let fixed = std::array::from_fn(|n| inputs[n]);
                    // SAFETY: the caller's promise, for this number of channels and vectors.
                    unsafe { block::<S, PAIRS, $m, $n>(simd, fixed, taps, weights, sums) }
                })*
                _ => unreachable!("a register tile of {channels} channels and {} vectors", inputs.len()),
            }
        };
    }
    match S::REGISTERS {
        32.. => blocks!((8, 3)(8, 2)(8, 1)(4, 3)(4, 2)(4, 1)(1, 3)(1, 2)(1, 1)),
        16.. => blocks!((6, 2)(6, 1)(4, 2)(4, 1)(1, 2)(1, 1)),
        _ => blocks!((2, 2)(2, 1)(1, 2)(1, 1)),
    }
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "every index is a constant, and names a register")]
unsafe fn block<S: Simd, const PAIRS: bool, const M: usize, const N: usize>(
    simd: S,
    inputs: [*const f32; N],
    taps: &[Tap],
    weights: *const f32,
    sums: Sums<'_>,
) {
    let mut sum = [[simd.zero(); N]; M];
    if sums.resume {
        for m in 0..M {
            for n in 0..N {
                // SAFETY: `sums` has `M * N` vectors.
                sum[m][n] = unsafe { simd.load(sums.at.add((m * N + n) * S::LANES)) };
            }
        }
    }
    let mut weights = weights;
    for tap in taps {
        let mut pixels = [simd.zero(); N];
        for n in 0..N {
            // SAFETY: every input has a vector at every offset of `taps`.
            pixels[n] = unsafe { simd.load(inputs[n].add(tap.offset as usize)) };
        }
        for m in 0..M {
            // SAFETY: `weights` has moved on by `M` for each of the taps before.
            let weight = simd.splat(unsafe { *weights.add(m) });
            for n in 0..N {
                sum[m][n] = if PAIRS {
                    // SAFETY: the caller's promise.
                    unsafe { simd.dot_pairs(weight, pixels[n], sum[m][n]) }
                } else {
                    simd.fma(weight, pixels[n], sum[m][n])
                };
            }
        }
        weights = weights.wrapping_add(M);
    }
    if let Some(Results { affines, output, pixels, plane }) = sums.results {
        for m in 0..M {
            // SAFETY: every channel of `results` exists.
            let affine = unsafe { affines.get(simd, m) };
            for n in 0..N {
                let value = affine.apply(simd, sum[m][n]);
                // SAFETY: every channel of `results` has a vector at each of `pixels`.
                unsafe { simd.store(output.add(m * plane + pixels[n] as usize), value) };
            }
        }
        return;
    }
    for m in 0..M {
        for n in 0..N {
            // SAFETY: `sums` has `M * N` vectors.
            unsafe { simd.store(sums.at.add((m * N + n) * S::LANES), sum[m][n]) };
        }
    }
}
