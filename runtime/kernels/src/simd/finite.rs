//! Checks for infinities and NaN.

use super::{Half, Isa, Kernel, Simd, dispatch_loops, dispatch_to};
use crate::parallel::cost;
use rayon::prelude::*;

/// Returns `true` if no value is infinite or NaN.
pub(crate) fn is_finite(values: &[f32], isa: Isa) -> bool {
    match values.len() {
        0..=cost::MIN_READ_ELEMENTS => dispatch_to(isa, Finite(values)),
        _ => values.par_chunks(cost::MIN_READ_ELEMENTS).all(|values| dispatch_to(isa, Finite(values))),
    }
}

/// Returns `true` if none of the 16-bit floats with the bits `values` is infinite or NaN.
pub(crate) fn halves_are_finite(half: Half, values: &[u16]) -> bool {
    match values.len() {
        0..=cost::MIN_READ_ELEMENTS => dispatch_loops(FiniteHalves(half, values)),
        _ => values
            .par_chunks(cost::MIN_READ_ELEMENTS)
            .all(|values| dispatch_loops(FiniteHalves(half, values))),
    }
}

struct Finite<'a>(&'a [f32]);

impl Kernel for Finite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        // Zero times a finite number is zero. Zero times an infinity or NaN is NaN.
        let (mut sums, mut vectors) = ([simd.zero(); 4], self.0.chunks_exact(4 * S::LANES));
        for chunk in &mut vectors {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk has four vectors.
                let vector = unsafe { simd.load(chunk.as_ptr().add(i * S::LANES)) };
                *sum = simd.fma(vector, simd.zero(), *sum);
            }
        }
        let sum = sums.into_iter().map(|sum| simd.sum(sum)).sum::<f32>();
        sum == 0. && vectors.remainder().iter().all(|value| value.is_finite())
    }
}

struct FiniteHalves<'a>(Half, &'a [u16]);

impl Kernel for FiniteHalves<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        // In an infinity or NaN, all bits of the exponent are set, so adding the lowest of these bits carries into the
        // sign.
        let (exponent_mask, lowest_bit) = match self.0 {
            Half::F16 => (0x7c00, 0x0400),
            Half::Bf16 => (0x7f80, 0x0080),
        };
        let carries = self.1.iter().fold(0, |carries, bits| carries | ((bits & exponent_mask) + lowest_bit));
        carries & 0x8000 == 0
    }
}
