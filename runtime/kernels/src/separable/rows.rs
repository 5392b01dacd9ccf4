//! The first pass: the sums of the source rows of a target row.

use std::ops::Range;

use crate::simd::{Lanes, Real};

use super::SeparableMap;
use super::stored::Stored;

/// The source rows of each target row.
pub(super) struct Rows<R> {
    ranges: Vec<Range<usize>>,
    /// The weights of [`AxisMap`](super::AxisMap), and the offset of the weights of each target row.
    weights: Option<(Vec<R>, Vec<usize>)>,
    source_divisors: Option<SourceDivisors<R>>,
    target_divisors: Option<Vec<R>>,
    /// For each target row, the number of rows from this row on that are equal to it.
    equal: Vec<usize>,
}

/// The divisors of the source rows and columns. Those of the columns are padded to whole vectors.
struct SourceDivisors<R> {
    rows: Vec<R>,
    columns: Vec<R>,
}

impl<R: Real + Stored<Real = R>> Rows<R> {
    pub fn new(map: &SeparableMap, lanes: usize) -> Self {
        let rows = &map.rows;
        let source_divisors = map.source_divisors.as_ref().map(|divisors| SourceDivisors {
            rows: numbers(&divisors.rows),
            columns: padded(numbers(&divisors.columns), lanes),
        });
        let target_divisors = map.target_divisors.as_ref().map(|divisors| numbers(&divisors.rows));
        let weights = rows.weights.as_ref().map(|weights| {
            let weights = weights.iter().map(|weight| R::from_f64(*weight)).collect();
            (weights, rows.weight_offsets().collect())
        });
        let divisor = |row: usize| target_divisors.as_ref().map(|divisors| divisors[row]);
        let mut equal = vec![1; rows.ranges.len()];
        for row in (1..rows.ranges.len()).rev() {
            let ranges_are_equal = rows.ranges[row - 1] == rows.ranges[row];
            if weights.is_none() && ranges_are_equal && divisor(row - 1) == divisor(row) {
                equal[row - 1] = equal[row] + 1;
            }
        }
        Self { ranges: rows.ranges.clone(), weights, source_divisors, target_divisors, equal }
    }

    /// Returns the number of target rows, beginning with this one, that have the same elements.
    #[inline(always)]
    pub fn equal_rows(&self, row: usize) -> usize {
        self.equal[row]
    }

    /// Returns the number that divides the sums of a target row, if there is one.
    #[inline(always)]
    pub fn target_divisor(&self, row: usize) -> Option<R> {
        self.target_divisors.as_ref().map(|divisors| divisors[row])
    }

    /// Adds up the source rows of a target row. `x` is a source plane. The sums are the first elements of `sums`, which
    /// must have at least `LANES` elements more than a source row.
    #[inline(always)]
    pub fn sum<L: Lanes<Real = R>, T: Stored<Real = R>>(
        &self,
        lanes: L,
        x: &[T],
        row: usize,
        sums: &mut [R],
    ) {
        let width = sums.len() - 2 * L::LANES;
        let mut at = 0;
        while at + 4 * L::LANES <= width {
            self.sum_vectors::<L, T, 4>(lanes, x, [row, width, at], sums);
            at += 4 * L::LANES;
        }
        while at < width {
            self.sum_vectors::<L, T, 1>(lanes, x, [row, width, at], sums);
            at += L::LANES;
        }
    }

    /// Adds up `N` vectors of the source rows, beginning at column `at`. A single vector may end after the row.
    #[inline(always)]
    fn sum_vectors<L: Lanes<Real = R>, T: Stored<Real = R>, const N: usize>(
        &self,
        lanes: L,
        x: &[T],
        [row, width, at]: [usize; 3],
        sums: &mut [R],
    ) {
        let range = self.ranges[row].clone();
        let len = if N > 1 { N * L::LANES } else { L::LANES.min(width - at) };
        let mut totals = [lanes.splat(R::ZERO); N];
        for (tap, source) in range.enumerate() {
            let x = &x[source * width + at..][..len];
            let mut elements = [lanes.splat(R::ZERO); N];
            for (i, elements) in elements.iter_mut().enumerate() {
                *elements = T::load(lanes, &x[i * L::LANES..]);
            }
            if let Some(divisors) = &self.source_divisors {
                let row = lanes.splat(divisors.rows[source]);
                for (i, elements) in elements.iter_mut().enumerate() {
                    let columns = R::load(lanes, &divisors.columns[at + i * L::LANES..][..L::LANES]);
                    *elements = lanes.div(*elements, lanes.mul(row, columns));
                }
            }
            match &self.weights {
                Some((weights, offsets)) => {
                    let weight = lanes.splat(weights[offsets[row] + tap]);
                    for (total, x) in totals.iter_mut().zip(elements) {
                        *total = lanes.fma(x, weight, *total);
                    }
                }
                None => {
                    for (total, x) in totals.iter_mut().zip(elements) {
                        *total = lanes.add(*total, x);
                    }
                }
            }
        }
        let sums = &mut sums[at..][..N * L::LANES];
        for (sums, total) in sums.chunks_exact_mut(L::LANES).zip(totals) {
            // SAFETY: the chunk has `LANES` elements.
            unsafe { lanes.store(sums.as_mut_ptr(), total) }
        }
    }
}

/// Converts integers to numbers of type `R`.
pub(super) fn numbers<R: Real>(integers: &[usize]) -> Vec<R> {
    integers.iter().map(|integer| R::from_f64(*integer as f64)).collect()
}

/// Appends ones, so that the length is a multiple of `lanes`.
pub(super) fn padded<R: Real>(mut numbers: Vec<R>, lanes: usize) -> Vec<R> {
    numbers.resize(numbers.len().next_multiple_of(lanes), R::ONE);
    numbers
}
