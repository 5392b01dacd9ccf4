//! Whether all numbers are finite, so that a product with a zero of the padding is zero.

use super::lanes::{Lanes, Real, Work};
use super::tasks::run_all;
use crate::kernels::simd::Isa;

/// Numbers that one task looks at.
const SHARE: usize = 1 << 16;

/// Whether no number is infinite or NaN.
pub(super) fn is_finite<R: Real>(isa: Isa, numbers: &[R]) -> bool {
    let mut answers = vec![false; numbers.len().div_ceil(SHARE)];
    let shares = numbers.chunks(SHARE).zip(&mut answers);
    let tasks = shares.map(|(numbers, finite)| FiniteTask { numbers, finite }).collect();
    run_all(isa, 4 * numbers.len(), tasks);
    answers.into_iter().all(|finite| finite)
}

struct FiniteTask<'a, R> {
    numbers: &'a [R],
    finite: &'a mut bool,
}

impl<R: Real> Work<R> for FiniteTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, lanes: L) {
        // Zero times a finite number is zero, and NaN times anything else.
        let zero = lanes.splat(R::default());
        let (mut sums, mut fours) = ([zero; 4], self.numbers.chunks_exact(4 * L::LANES));
        for four in &mut fours {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk has four vectors.
                let vector = unsafe { lanes.load(four.as_ptr().add(i * L::LANES)) };
                *sum = lanes.fma(vector, zero, *sum);
            }
        }
        let vectors = sums.into_iter().all(|sum| lanes.sum(sum) == R::default());
        *self.finite = vectors && fours.remainder().iter().all(|x| x.to_f64().is_finite());
    }
}
