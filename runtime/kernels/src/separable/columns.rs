//! The second pass: the sums of the columns of each target column. A lane of a vector holds a target.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::simd::{Lanes, MAX_LANES, Real};

use super::rows::{numbers, padded};
use super::runs::lane_sums;
use super::stored::Stored;
use super::{AxisMap, SeparableMap};

/// The source columns of each target column.
pub(super) struct Columns<R> {
    ranges: Vec<Range<usize>>,
    blocks: Vec<Block>,
    /// For each target, the distance of its first source from the first source of its block, as a number of
    /// [`Lanes::permute`]. Padded to whole vectors, as are the fields below.
    distances: Vec<R>,
    /// For each target, the number of its sources.
    counts: Vec<R>,
    /// For each block and each tap, a vector of weights.
    weights: Option<Vec<R>>,
    divisors: Option<Vec<R>>,
    /// Whether all targets equal the only source.
    is_constant: bool,
}

/// The targets of a vector.
struct Block {
    /// The first source of the first target.
    start: usize,
    /// The number of sources of the target that has the most.
    taps: usize,
    /// The offset of the block's weights.
    weights: usize,
    access: Access,
    /// Whether the targets have different numbers of sources.
    is_ragged: bool,
}

/// The way in which a vector of sources is loaded, for one tap of each target of a block.
#[derive(Clone, Copy, PartialEq)]
enum Access {
    /// The sources are consecutive.
    Consecutive,
    /// The sources are in two consecutive vectors.
    TwoVectors,
    /// The sources are further apart. Each target is computed separately.
    Separate,
}

impl<R: Real + Stored<Real = R>> Columns<R> {
    pub fn new(map: &SeparableMap, lanes: usize) -> Self {
        let columns = &map.columns;
        let mut weight_count = 0;
        let blocks: Vec<Block> = (columns.ranges.chunks(lanes))
            .map(|ranges| {
                let block = Block::new(ranges, lanes, weight_count);
                weight_count += block.taps * lanes;
                block
            })
            .collect();
        let by_target = columns.ranges.iter().enumerate();
        let distances = by_target.map(|(target, range)| {
            let distance = range.start - blocks[target / lanes].start;
            R::from_position(if distance < 2 * lanes { distance } else { 0 })
        });
        let counts: Vec<usize> = columns.ranges.iter().map(Range::len).collect();
        let divisors = map.target_divisors.as_ref();
        let mut distances: Vec<R> = distances.collect();
        distances.resize(counts.len().next_multiple_of(lanes), R::from_position(0));
        Self {
            distances,
            counts: padded(numbers(&counts), lanes),
            weights: columns.weights.as_ref().map(|_| weight_vectors(columns, &blocks, lanes)),
            divisors: divisors.map(|divisors| padded(numbers(&divisors.columns), lanes)),
            is_constant: is_constant(map),
            ranges: columns.ranges.clone(),
            blocks,
        }
    }

    /// Computes target rows that are equal, from the sums of their source rows. `sums` must have `2 · LANES` elements
    /// more than a source row. `divisor` is that of the rows.
    #[inline(always)]
    pub fn sum<L: Lanes<Real = R>, T: Stored<Real = R>>(
        &self,
        lanes: L,
        sums: &[R],
        divisor: Option<R>,
        equal_rows: &mut [MaybeUninit<T>],
    ) {
        if self.is_constant {
            return fill(lanes, equal_rows, sums[0]);
        }
        let width = self.ranges.len();
        for (index, block) in self.blocks.iter().enumerate() {
            let first = index * L::LANES;
            let mut result = self.block(lanes, sums, first, block);
            if let (Some(row), Some(columns)) = (divisor, &self.divisors) {
                let columns = R::load(lanes, &columns[first..][..L::LANES]);
                result = lanes.div(result, lanes.mul(lanes.splat(row), columns));
            }
            let len = L::LANES.min(width - first);
            let mut target = first;
            while target < equal_rows.len() {
                T::store(lanes, &mut equal_rows[target..][..len], result);
                target += width;
            }
        }
    }

    /// Returns the targets of a block. `first` is the first one.
    #[inline(always)]
    fn block<L: Lanes<Real = R>>(&self, lanes: L, sums: &[R], first: usize, block: &Block) -> L::V {
        match (block.access, block.is_ragged) {
            (Access::Consecutive, false) => self.taps::<L, false, false>(lanes, sums, first, block),
            (Access::Consecutive, true) => self.taps::<L, false, true>(lanes, sums, first, block),
            (Access::TwoVectors, false) => self.taps::<L, true, false>(lanes, sums, first, block),
            (Access::TwoVectors, true) => self.taps::<L, true, true>(lanes, sums, first, block),
            (Access::Separate, _) => self.separate_targets(lanes, sums, first, block),
        }
    }

    /// Returns the targets of a block whose access is `TwoVectors` with `PERMUTED`, and `Consecutive` without it. With
    /// `RAGGED`, the targets have different numbers of sources.
    #[inline(always)]
    fn taps<L: Lanes<Real = R>, const PERMUTED: bool, const RAGGED: bool>(
        &self,
        lanes: L,
        sums: &[R],
        first: usize,
        block: &Block,
    ) -> L::V {
        let zero = lanes.splat(R::ZERO);
        let distances = if PERMUTED { R::load(lanes, &self.distances[first..][..L::LANES]) } else { zero };
        let counts = if RAGGED { R::load(lanes, &self.counts[first..][..L::LANES]) } else { zero };
        let sources = sums[block.start..][..block.taps + 2 * L::LANES].as_ptr();
        let mut total = zero;
        for tap in 0..block.taps {
            // SAFETY: `sources` has two vectors after the first source of each tap.
            let x = unsafe {
                let from = sources.add(tap);
                if PERMUTED {
                    lanes.permute([lanes.load(from), lanes.load(from.add(L::LANES))], distances)
                } else {
                    lanes.load(from)
                }
            };
            let next = match &self.weights {
                Some(weights) => {
                    let weights = &weights[block.weights + tap * L::LANES..][..L::LANES];
                    lanes.fma(x, R::load(lanes, weights), total)
                }
                None => lanes.add(total, x),
            };
            total = if RAGGED {
                lanes.select_less(lanes.splat(R::from_f64(tap as f64)), counts, next, total)
            } else {
                next
            };
        }
        total
    }

    /// Returns the targets of a block, computed one after another.
    #[inline(always)]
    fn separate_targets<L: Lanes<Real = R>>(
        &self,
        lanes: L,
        sums: &[R],
        first: usize,
        block: &Block,
    ) -> L::V {
        let mut targets = [R::ZERO; MAX_LANES];
        let ranges = &self.ranges[first..self.ranges.len().min(first + L::LANES)];
        for (lane, range) in ranges.iter().enumerate() {
            let sources = &sums[range.clone()];
            match &self.weights {
                Some(weights) => {
                    for (tap, x) in sources.iter().enumerate() {
                        targets[lane] += *x * weights[block.weights + tap * L::LANES + lane];
                    }
                }
                None if sources.len() >= L::LANES => targets[lane] = lanes.sum(lane_sums(lanes, sources)),
                None => {
                    for x in sources {
                        targets[lane] += *x;
                    }
                }
            }
        }
        R::load(lanes, &targets)
    }
}

impl Block {
    fn new(ranges: &[Range<usize>], lanes: usize, weights: usize) -> Self {
        let start = ranges[0].start;
        let taps = ranges.iter().map(Range::len).max().unwrap_or(0);
        let mut distances = ranges.iter().map(|range| range.start - start).enumerate();
        let access = if distances.clone().all(|(lane, distance)| lane == distance) {
            Access::Consecutive
        } else if distances.all(|(_, distance)| distance < 2 * lanes) {
            Access::TwoVectors
        } else {
            Access::Separate
        };
        let is_ragged = ranges.iter().any(|range| range.len() != taps);
        Self { start, taps, weights, access, is_ragged }
    }
}

/// Returns the weights of [`Columns::weights`].
fn weight_vectors<R: Real>(columns: &AxisMap, blocks: &[Block], lanes: usize) -> Vec<R> {
    let mut weights = columns.weights.iter().flatten();
    let mut vectors = vec![R::ZERO; blocks.iter().map(|block| block.taps * lanes).sum()];
    for (target, range) in columns.ranges.iter().enumerate() {
        let first = blocks[target / lanes].weights + target % lanes;
        for (tap, weight) in weights.by_ref().take(range.len()).enumerate() {
            vectors[first + tap * lanes] = R::from_f64(*weight);
        }
    }
    vectors
}

/// Returns `true` if every target column equals the only source column.
fn is_constant(map: &SeparableMap) -> bool {
    let columns = &map.columns;
    let is_copy = columns.weights.is_none() && map.target_divisors.is_none();
    is_copy && columns.sources == 1 && columns.ranges.iter().all(|range| *range == (0..1))
}

/// Writes `x` to every element.
#[inline(always)]
fn fill<L: Lanes, T: Stored<Real = L::Real>>(lanes: L, elements: &mut [MaybeUninit<T>], x: L::Real) {
    for chunk in elements.chunks_mut(L::LANES) {
        T::store(lanes, chunk, lanes.splat(x));
    }
}
