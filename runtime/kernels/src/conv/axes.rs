//! The spatial axes of a convolution.

/// The number of spatial axes of a convolution. Sizes and settings are always `[depth, height, width]`. An image is a
/// video of depth 1, and a sequence is a video of depth 1 and height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// `[batch, channels, length]`.
    One,
    /// `[batch, channels, height, width]`.
    Two,
    /// `[batch, channels, depth, height, width]`.
    Three,
}

impl Axes {
    /// Returns the number of axes.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }

    /// Returns the sizes or settings of these axes, without those of the axes that the tensors do not have.
    fn own(self, sizes: &[usize; 3]) -> &[usize] {
        &sizes[3 - self.count()..]
    }

    /// Returns the shape of a tensor with the given batch size, channels and `[depth, height, width]`.
    pub fn shape(self, batch: usize, channels: usize, sizes: [usize; 3]) -> Vec<usize> {
        [&[batch, channels], self.own(&sizes)].concat()
    }

    /// Returns the batch size, channels and `[depth, height, width]` of a shape, or `None` if the number of dimensions
    /// is wrong.
    pub fn sizes(self, shape: &[usize]) -> Option<(usize, usize, [usize; 3])> {
        match (self, shape) {
            (Self::One, &[batch, channels, length]) => Some((batch, channels, [1, 1, length])),
            (Self::Two, &[batch, channels, height, width]) => Some((batch, channels, [1, height, width])),
            (Self::Three, &[batch, channels, depth, height, width]) => {
                Some((batch, channels, [depth, height, width]))
            }
            _ => None,
        }
    }

    /// Formats a setting as PyTorch prints it: `(3,)`, `(3, 5)`, `(3, 5, 7)`.
    pub fn format_setting(self, sizes: [usize; 3]) -> String {
        match self.own(&sizes) {
            [length] => format!("({length},)"),
            sizes => format!("({})", join(sizes, ", ")),
        }
    }

    /// Formats a size for error messages: `3`, `3×5`, `3×5×7`.
    pub fn format_size(self, sizes: [usize; 3]) -> String {
        join(self.own(&sizes), "×")
    }

    /// Returns the names of the spatial dimensions.
    pub fn names(self) -> &'static str {
        match self {
            Self::One => "length",
            Self::Two => "height, width",
            Self::Three => "depth, height, width",
        }
    }
}

fn join(sizes: &[usize], separator: &str) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(separator)
}
