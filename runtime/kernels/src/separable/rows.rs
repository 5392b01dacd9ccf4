//! The first pass: the sums of the source rows of a target row. They are in one source frame or in several.

use std::ops::Range;

use crate::simd::{Lanes, Real};

use super::stored::Stored;
use super::{AxisMap, Divisors, SeparableMap};

/// The source rows of each target row.
pub(super) struct Rows<R> {
    frames: Sources<R>,
    rows: Sources<R>,
    source_divisors: Option<AxisDivisors<R>>,
    target_divisors: Option<AxisDivisors<R>>,
    /// For each target row, the number of rows from this row on that are equal to it.
    equal: Vec<usize>,
}

/// The sources of each target along one axis.
struct Sources<R> {
    /// The number of all sources.
    count: usize,
    ranges: Vec<Range<usize>>,
    /// The weights of [`AxisMap`], and the offset of the weights of each target.
    weights: Option<(Vec<R>, Vec<usize>)>,
}

impl<R: Real> Sources<R> {
    fn new(axis: &AxisMap) -> Self {
        let weights = axis.weights.as_ref().map(|weights| {
            let weights = weights.iter().map(|weight| R::from_f64(*weight)).collect();
            (weights, axis.weight_offsets().collect())
        });
        Self { count: axis.sources, ranges: axis.ranges.clone(), weights }
    }

    /// Returns the weight of a source of a target.
    #[inline(always)]
    fn weight(&self, target: usize, source: usize) -> R {
        match &self.weights {
            Some((weights, offsets)) => weights[offsets[target] + source - self.ranges[target].start],
            None => R::ONE,
        }
    }
}

/// A source row of a target row.
pub(super) struct Tap<R> {
    /// The offset in the source video.
    offset: usize,
    weight: R,
    /// The divisor of the frame and the row.
    divisor: R,
}

/// The divisors of frames, rows and columns. Those of the columns are padded to whole vectors.
struct AxisDivisors<R> {
    frames: Vec<R>,
    rows: Vec<R>,
    columns: Vec<R>,
}

impl<R: Real> AxisDivisors<R> {
    fn new(divisors: &Divisors, lanes: usize) -> Self {
        Self {
            frames: numbers(&divisors.frames),
            rows: numbers(&divisors.rows),
            columns: padded(numbers(&divisors.columns), lanes),
        }
    }
}

impl<R: Real + Stored<Real = R>> Rows<R> {
    pub fn new(map: &SeparableMap, frames: &AxisMap, lanes: usize) -> Self {
        let (rows, targets) = (&map.rows, map.target_divisors.as_ref());
        let divisor = |row: usize| targets.map(|divisors| divisors.rows[row]);
        let mut equal = vec![1; rows.ranges.len()];
        for row in (1..rows.ranges.len()).rev() {
            let ranges_are_equal = rows.ranges[row - 1] == rows.ranges[row];
            if rows.weights.is_none() && ranges_are_equal && divisor(row - 1) == divisor(row) {
                equal[row - 1] = equal[row] + 1;
            }
        }
        Self {
            frames: Sources::new(frames),
            rows: Sources::new(rows),
            source_divisors: map.source_divisors.as_ref().map(|divisors| AxisDivisors::new(divisors, lanes)),
            target_divisors: targets.map(|divisors| AxisDivisors::new(divisors, lanes)),
            equal,
        }
    }

    /// Returns the number of target rows, beginning with this one, that have the same elements.
    #[inline(always)]
    pub fn equal_rows(&self, row: usize) -> usize {
        self.equal[row]
    }

    /// Returns the number that divides the sums of the row `row` of a target frame, if there is one.
    #[inline(always)]
    pub fn target_divisor(&self, [frame, row]: [usize; 2]) -> Option<R> {
        self.target_divisors.as_ref().map(|divisors| divisors.frames[frame] * divisors.rows[row])
    }

    /// Adds up the source rows of the row `row` of a target frame. `x` is a source video. The sums are the first
    /// elements of `sums`, which must have at least `LANES` elements more than a source row. `taps` is scratch memory.
    #[inline(always)]
    pub fn sum<L: Lanes<Real = R>, T: Stored<Real = R>>(
        &self,
        lanes: L,
        x: &[T],
        target: [usize; 2],
        taps: &mut Vec<Tap<R>>,
        sums: &mut [R],
    ) {
        let width = sums.len() - 2 * L::LANES;
        self.list_taps(target, width, taps);
        for at in (0..width).step_by(4 * L::LANES) {
            match (width - at).div_ceil(L::LANES) {
                1 => self.sum_vectors::<L, T, 1>(lanes, x, taps, [width, at], sums),
                2 => self.sum_vectors::<L, T, 2>(lanes, x, taps, [width, at], sums),
                3 => self.sum_vectors::<L, T, 3>(lanes, x, taps, [width, at], sums),
                _ => self.sum_vectors::<L, T, 4>(lanes, x, taps, [width, at], sums),
            }
        }
    }

    /// Lists the source rows of a target row.
    #[inline(always)]
    fn list_taps(&self, [frame, row]: [usize; 2], width: usize, taps: &mut Vec<Tap<R>>) {
        taps.clear();
        for source_frame in self.frames.ranges[frame].clone() {
            for source_row in self.rows.ranges[row].clone() {
                let divisor = match &self.source_divisors {
                    Some(divisors) => divisors.frames[source_frame] * divisors.rows[source_row],
                    None => R::ONE,
                };
                taps.push(Tap {
                    offset: (source_frame * self.rows.count + source_row) * width,
                    weight: self.frames.weight(frame, source_frame) * self.rows.weight(row, source_row),
                    divisor,
                });
            }
        }
    }

    /// Adds up `N` vectors of the source rows, beginning at column `at`. The last vector may end after the row.
    #[inline(always)]
    fn sum_vectors<L: Lanes<Real = R>, T: Stored<Real = R>, const N: usize>(
        &self,
        lanes: L,
        x: &[T],
        taps: &[Tap<R>],
        [width, at]: [usize; 2],
        sums: &mut [R],
    ) {
        let len = (N * L::LANES).min(width - at);
        let is_weighted = self.frames.weights.is_some() || self.rows.weights.is_some();
        let mut totals = [lanes.splat(R::ZERO); N];
        for tap in taps {
            let x = &x[tap.offset + at..][..len];
            let mut elements = [lanes.splat(R::ZERO); N];
            for (i, elements) in elements.iter_mut().enumerate() {
                *elements = T::load(lanes, &x[i * L::LANES..]);
            }
            if let Some(divisors) = &self.source_divisors {
                for (i, elements) in elements.iter_mut().enumerate() {
                    let columns = R::load(lanes, &divisors.columns[at + i * L::LANES..][..L::LANES]);
                    *elements = lanes.div(*elements, lanes.mul(lanes.splat(tap.divisor), columns));
                }
            }
            for (total, x) in totals.iter_mut().zip(elements) {
                *total = if is_weighted {
                    lanes.fma(x, lanes.splat(tap.weight), *total)
                } else {
                    lanes.add(*total, x)
                };
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
