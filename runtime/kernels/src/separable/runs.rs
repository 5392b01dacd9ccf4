//! Sums of consecutive elements. A target that is the sum of whole source rows, as in global average pooling, is the
//! sum of consecutive elements of its plane.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::float::Float;
use crate::simd::{Lanes, MAX_LANES, Real};

use super::SeparableMap;
use super::rows::numbers;
use super::stored::Stored;

/// A map to planes with a single column, in which each target is the sum of a run of elements, divided by a number.
pub(super) struct RunSums<R> {
    /// The number of elements of a source plane.
    plane: usize,
    /// The run of each target.
    runs: Vec<Range<usize>>,
    divisors: Vec<R>,
}

impl<R: Real> RunSums<R> {
    /// Returns `None` if the map does not have this form.
    pub fn new(map: &SeparableMap) -> Option<Self> {
        let SeparableMap { frames, rows, columns, source_divisors, target_divisors } = map;
        let width = columns.sources;
        let is_plain_sum = rows.weights.is_none() && columns.weights.is_none() && source_divisors.is_none();
        if frames.is_some() || !is_plain_sum || columns.ranges.len() != 1 || columns.ranges[0] != (0..width) {
            return None;
        }
        let divisors = match target_divisors {
            Some(divisors) => divisors.rows.iter().map(|row| row * divisors.columns[0]).collect(),
            None => vec![1; rows.ranges.len()],
        };
        let runs = rows.ranges.iter().map(|range| range.start * width..range.end * width).collect();
        Some(Self { plane: rows.sources * width, runs, divisors: numbers(&divisors) })
    }

    /// Computes consecutive targets. `first` is the index of the first one among the targets of all planes of `x`.
    ///
    /// Each lane of a vector of results is the sum of the lanes of a vector of partial sums. Transposing these vectors
    /// takes fewer instructions than adding up the lanes of each one.
    #[inline(always)]
    pub fn run<L: Lanes<Real = R>, T: Stored<Real = R>>(
        &self,
        lanes: L,
        x: &[T],
        first: usize,
        y: &mut [MaybeUninit<T>],
    ) {
        let mut partial_sums = [R::ZERO; MAX_LANES * MAX_LANES];
        let mut transposed = [R::ZERO; MAX_LANES * MAX_LANES];
        let mut divisors = [R::ONE; MAX_LANES];
        let mut plane = first / self.runs.len();
        let mut target = first % self.runs.len();
        for y in y.chunks_mut(L::LANES) {
            for (lane, divisor) in divisors.iter_mut().enumerate().take(y.len()) {
                let run = self.runs[target].clone();
                let sums = lane_sums(lanes, &x[plane * self.plane..][run]);
                // SAFETY: `lane < LANES`, and `partial_sums` has space for `LANES` vectors of `LANES` elements.
                unsafe { lanes.store(partial_sums.as_mut_ptr().add(lane * L::LANES), sums) };
                *divisor = self.divisors[target];
                target += 1;
                if target == self.runs.len() {
                    plane += 1;
                    target = 0;
                }
            }
            let mut sums = lanes.splat(R::ZERO);
            // SAFETY: both arrays have `LANES` rows of `LANES` elements, and `divisors` has a vector.
            let divisors = unsafe {
                lanes.transpose(partial_sums.as_ptr(), L::LANES, transposed.as_mut_ptr(), L::LANES);
                for lane in 0..L::LANES {
                    sums = lanes.add(sums, lanes.load(transposed.as_ptr().add(lane * L::LANES)));
                }
                lanes.load(divisors.as_ptr())
            };
            T::store(lanes, y, lanes.div(sums, divisors));
        }
    }
}

/// Returns a vector whose lanes add up to the sum of the elements.
#[inline(always)]
pub(super) fn lane_sums<L: Lanes, T: Stored<Real = L::Real>>(lanes: L, x: &[T]) -> L::V {
    // Four independent sums, so that an addition does not wait for the preceding one.
    let mut sums = [lanes.splat(<L::Real as Float>::ZERO); 4];
    let mut chunks = x.chunks_exact(4 * L::LANES);
    for chunk in &mut chunks {
        for (sum, x) in sums.iter_mut().zip(chunk.chunks_exact(L::LANES)) {
            *sum = lanes.add(*sum, T::load(lanes, x));
        }
    }
    for (sum, x) in sums.iter_mut().zip(chunks.remainder().chunks(L::LANES)) {
        *sum = lanes.add(*sum, T::load(lanes, x));
    }
    lanes.add(lanes.add(sums[0], sums[1]), lanes.add(sums[2], sums[3]))
}
