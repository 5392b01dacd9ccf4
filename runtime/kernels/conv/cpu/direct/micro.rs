//! The innermost loop: one register block of output channels × vectors of output pixels.

use crate::kernels::simd::Simd;

/// The most vectors of pixels in a register block.
pub(super) const VECTORS: usize = 3;

/// Output channels in a full register block: with [`VECTORS`] vectors of sums each, one vector of weights
/// and the vectors of pixels they fill the registers (16 of them, or 32).
pub(super) const fn block_channels(registers: usize) -> usize {
    if registers >= 32 { 8 } else { 4 }
}

/// Adds to the sums `[channels][vectors][lanes]`, or starts them where `resume` is false, for every tap
/// `t` its `channels` weights times the vectors of pixels at `taps[t]`.
///
/// # Safety
/// `weights` has `taps.len() * channels` floats, each of the `vectors ≤ VECTORS` inputs a vector at every
/// offset of `taps`, and `sums` room for `channels * vectors` vectors.
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd>(
    simd: S,
    channels: usize,
    inputs: &[*const f32],
    taps: &[u32],
    weights: *const f32,
    sums: *mut f32,
    resume: bool,
) {
    macro_rules! blocks {
        ($(($m:literal, $n:literal))*) => {
            match (channels, inputs) {
                $(($m, inputs) if inputs.len() == $n => {
                    let mut fixed = [inputs[0]; $n];
                    fixed.copy_from_slice(inputs);
                    // SAFETY: the caller's promise, for this number of channels and vectors.
                    unsafe { block::<S, $m, $n>(simd, fixed, taps, weights, sums, resume) }
                })*
                _ => unreachable!("a register block of {channels} channels and {} vectors", inputs.len()),
            }
        };
    }
    blocks!((4, 3)(8, 3)(4, 2)(8, 2)(4, 1)(8, 1)(2, 3)(2, 2)(2, 1)(1, 3)(1, 2)(1, 1))
}

#[inline(always)]
unsafe fn block<S: Simd, const M: usize, const N: usize>(
    simd: S,
    inputs: [*const f32; N],
    taps: &[u32],
    weights: *const f32,
    sums: *mut f32,
    resume: bool,
) {
    let mut sum = [[simd.zero(); N]; M];
    if resume {
        for m in 0..M {
            for n in 0..N {
                // SAFETY: `sums` has `M * N` vectors.
                sum[m][n] = unsafe { simd.load(sums.add((m * N + n) * S::LANES)) };
            }
        }
    }
    let mut weights = weights;
    for offset in taps {
        let mut pixels = [simd.zero(); N];
        for n in 0..N {
            // SAFETY: every input has a vector at every offset of `taps`.
            pixels[n] = unsafe { simd.load(inputs[n].add(*offset as usize)) };
        }
        for m in 0..M {
            // SAFETY: `weights` has moved on by `M` for each of the taps before.
            let weight = simd.splat(unsafe { *weights.add(m) });
            for n in 0..N {
                sum[m][n] = simd.fma(weight, pixels[n], sum[m][n]);
            }
        }
        weights = weights.wrapping_add(M);
    }
    for m in 0..M {
        for n in 0..N {
            // SAFETY: `sums` has `M * N` vectors.
            unsafe { simd.store(sums.add((m * N + n) * S::LANES), sum[m][n]) };
        }
    }
}
