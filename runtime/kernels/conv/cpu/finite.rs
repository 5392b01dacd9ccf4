//! Whether all numbers are finite, so that a product with a zero of the padding is zero.

use crate::kernels::simd::{self, Isa, Kernel, Simd};
use rayon::prelude::*;

/// Whether no value is infinite or NaN.
pub(crate) fn is_finite(values: &[f32], isa: Isa) -> bool {
    const SHARE: usize = 1 << 16;
    match values.len() {
        0..=SHARE => simd::dispatch_to(isa, Finite(values)),
        _ => values.par_chunks(SHARE).all(|values| simd::dispatch_to(isa, Finite(values))),
    }
}

struct Finite<'a>(&'a [f32]);

impl Kernel for Finite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        // Zero times a finite number is zero, and NaN times anything else.
        let (mut sums, mut vectors) = ([simd.zero(); 4], self.0.chunks_exact(4 * S::LANES));
        for four in &mut vectors {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk has four vectors.
                let vector = unsafe { simd.load(four.as_ptr().add(i * S::LANES)) };
                *sum = simd.fma(vector, simd.zero(), *sum);
            }
        }
        let sum = sums.into_iter().map(|sum| simd.sum(sum)).sum::<f32>();
        sum == 0. && vectors.remainder().iter().all(|value| value.is_finite())
    }
}
