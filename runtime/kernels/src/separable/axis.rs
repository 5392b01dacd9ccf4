//! A linear map along one axis.

use std::ops::Range;

/// A linear map along one axis. Each target is a sum of consecutive sources.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AxisMap {
    /// The number of sources.
    pub sources: usize,
    /// The sources of each target. Neither the starts nor the ends decrease from one target to the next.
    pub ranges: Vec<Range<usize>>,
    /// The weights of the sources of each target, all targets one after another. `None` if all weights are 1.
    pub weights: Option<Vec<f64>>,
}

impl AxisMap {
    /// Returns the map from a single source to an equal target.
    pub fn single() -> Self {
        Self { sources: 1, ranges: std::iter::once(0..1).collect(), weights: None }
    }

    /// Returns the offset of each target's weights in [`weights`](Self::weights).
    pub fn weight_offsets(&self) -> impl Iterator<Item = usize> {
        self.ranges.iter().scan(0, |next, range| {
            let offset = *next;
            *next += range.len();
            Some(offset)
        })
    }

    /// Returns the map from targets to sources.
    pub fn transposed(&self) -> Self {
        let ranges = self.transposed_ranges();
        let mut transposed = Self { sources: self.ranges.len(), ranges, weights: None };
        transposed.weights = self.weights.as_ref().map(|weights| {
            let offsets: Vec<usize> = transposed.weight_offsets().collect();
            let mut result = vec![0.; transposed.ranges.iter().map(Range::len).sum()];
            let sources = self.ranges.iter().cloned().enumerate();
            let elements = sources.flat_map(|(target, range)| range.map(move |source| (source, target)));
            for ((source, target), weight) in elements.zip(weights) {
                result[offsets[source] + target - transposed.ranges[source].start] = *weight;
            }
            result
        });
        transposed
    }

    /// Returns the targets of each source: those that begin at or before the source and do not end there.
    fn transposed_ranges(&self) -> Vec<Range<usize>> {
        let mut begun = 0;
        let mut ended = 0;
        let targets_of = |source: usize| {
            begun += self.ranges[begun..].iter().take_while(|range| range.start <= source).count();
            ended += self.ranges[ended..begun].iter().take_while(|range| range.end <= source).count();
            ended..begun
        };
        (0..self.sources).map(targets_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::AxisMap;

    #[test]
    fn transposing_twice_returns_the_same_map() {
        let ranges = vec![0..1, 0..3, 2..4, 3..4];
        for weights in [None, Some((1..=7).map(f64::from).collect())] {
            let map = AxisMap { sources: 4, ranges: ranges.clone(), weights };
            assert_eq!(map.transposed().ranges, [0..2, 1..2, 1..3, 2..4]);
            assert_eq!(map.transposed().transposed(), map);
        }
    }

    #[test]
    fn a_source_without_targets_has_an_empty_range() {
        let map = AxisMap { sources: 5, ranges: vec![1..2, 3..4, 5..5], weights: None };
        let targets = map.transposed().ranges;
        assert_eq!(targets.iter().map(|range| range.len()).collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
    }
}
