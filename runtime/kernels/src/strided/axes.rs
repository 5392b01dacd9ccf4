//! Loop nests over strided operands, with as few axes as possible.

/// An axis of a loop nest: its size, and the stride of each operand along it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis<const N: usize> {
    pub size: usize,
    pub strides: [usize; N],
}

/// Returns the axes of operands with the same dimensions.
pub(super) fn axes<const N: usize>(dims: &[usize], strides: [&[usize]; N]) -> Vec<Axis<N>> {
    let axis = |i: usize| Axis { size: dims[i], strides: strides.map(|strides| strides[i]) };
    (0..dims.len()).map(axis).collect()
}

/// Removes axes of size 1, and joins neighboring axes if each operand can traverse them with a single stride.
pub(super) fn collapse<const N: usize>(axes: &[Axis<N>]) -> Vec<Axis<N>> {
    let mut collapsed: Vec<Axis<N>> = Vec::with_capacity(axes.len());
    for axis in axes.iter().filter(|axis| axis.size != 1) {
        match collapsed.last_mut() {
            Some(outer) if (0..N).all(|i| outer.strides[i] == axis.strides[i] * axis.size) => {
                *outer = Axis { size: outer.size * axis.size, ..*axis };
            }
            _ => collapsed.push(*axis),
        }
    }
    collapsed
}

/// Returns the number of iterations of a loop nest.
pub(super) fn iteration_count<const N: usize>(axes: &[Axis<N>]) -> usize {
    axes.iter().map(|axis| axis.size).product()
}

/// A position in a loop nest whose last axis is the innermost.
pub(super) struct Position<'a, const N: usize> {
    axes: &'a [Axis<N>],
    indices: Vec<usize>,
    /// The offset of each operand.
    pub offsets: [usize; N],
}

impl<'a, const N: usize> Position<'a, N> {
    /// Returns the position after `iteration` iterations. At iteration 0, the operands have the offsets `start`.
    pub fn new(axes: &'a [Axis<N>], start: [usize; N], iteration: usize) -> Self {
        let mut position = Self { axes, indices: vec![0; axes.len()], offsets: start };
        position.move_to(start, iteration);
        position
    }

    /// Moves to the position that [`new`](Self::new) returns for the same `start` and `iteration`.
    #[inline]
    pub fn move_to(&mut self, start: [usize; N], mut iteration: usize) {
        self.offsets = start;
        for (index, axis) in self.indices.iter_mut().zip(self.axes).rev() {
            *index = iteration % axis.size;
            iteration /= axis.size;
            for (offset, stride) in self.offsets.iter_mut().zip(axis.strides) {
                *offset += *index * stride;
            }
        }
    }

    /// Moves to the next iteration. After the last one, moves to the first.
    #[inline]
    pub fn advance(&mut self) {
        for (index, axis) in self.indices.iter_mut().zip(self.axes).rev() {
            *index += 1;
            if *index < axis.size {
                for (offset, stride) in self.offsets.iter_mut().zip(axis.strides) {
                    *offset += stride;
                }
                return;
            }
            *index = 0;
            for (offset, stride) in self.offsets.iter_mut().zip(axis.strides) {
                *offset -= (axis.size - 1) * stride;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_collapse_if_every_operand_has_a_single_stride() {
        // [2, 3, 4, 5] and a broadcast [1, 3, 1, 1].
        let joined = collapse(&axes(&[2, 3, 4, 5], [&[60, 20, 5, 1], &[0, 1, 0, 0]]));
        let expected = [
            Axis { size: 2, strides: [60, 0] },
            Axis { size: 3, strides: [20, 1] },
            Axis { size: 20, strides: [1, 0] },
        ];
        assert_eq!(joined, expected);
        assert_eq!(
            collapse(&axes(&[2, 1, 4], [&[4, 9, 1], &[4, 0, 1]])),
            [Axis { size: 8, strides: [1, 1] }]
        );
        assert_eq!(collapse(&axes(&[1, 1], [&[1, 1]])), []);
    }

    #[test]
    fn advancing_visits_every_position_in_order() {
        let axes = axes(&[2, 3, 2], [&[12, 2, 1], &[0, 5, 0]]);
        let mut position = Position::new(&axes, [100, 7], 0);
        for iteration in 0..12 {
            assert_eq!(position.offsets, Position::new(&axes, [100, 7], iteration).offsets);
            position.advance();
        }
        assert_eq!(position.offsets, [100, 7]);
    }
}
