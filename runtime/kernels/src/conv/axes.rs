//! One axis or two: signals run through the kernels for images, as images of height 1.

use candle_core::{Result, Tensor};

/// The axes along which a convolution moves. Sizes and settings are kept as `[height, width]` either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// `[batch, channels, length]`.
    One,
    /// `[batch, channels, height, width]`.
    Two,
}

impl Axes {
    /// Returns the number of axes.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// A tensor `[…, …, length]` as `[…, …, 1, length]`, one of images as it is.
    pub fn lift(self, tensor: &Tensor) -> Result<Tensor> {
        match self {
            Self::One => tensor.unsqueeze(2),
            Self::Two => Ok(tensor.clone()),
        }
    }

    /// The inverse of [`lift`](Axes::lift).
    pub fn lower(self, tensor: Tensor) -> Result<Tensor> {
        match self {
            Self::One => tensor.squeeze(2),
            Self::Two => Ok(tensor),
        }
    }

    /// The shape for a batch, channels and `[height, width]`.
    pub fn shape(self, batch: usize, channels: usize, [height, width]: [usize; 2]) -> Vec<usize> {
        match self {
            Self::One => vec![batch, channels, width],
            Self::Two => vec![batch, channels, height, width],
        }
    }

    /// The inverse of [`shape`](Axes::shape), or `None` where there are more or fewer dimensions.
    pub fn sizes(self, shape: &[usize]) -> Option<(usize, usize, [usize; 2])> {
        match (self, shape) {
            (Self::One, &[batch, channels, length]) => Some((batch, channels, [1, length])),
            (Self::Two, &[batch, channels, height, width]) => Some((batch, channels, [height, width])),
            _ => None,
        }
    }

    /// A setting as PyTorch prints it: `(3,)`, `(3, 5)`.
    pub fn tuple(self, [height, width]: [usize; 2]) -> String {
        match self {
            Self::One => format!("({width},)"),
            Self::Two => format!("({height}, {width})"),
        }
    }

    /// A size as errors name it: `3`, `3×5`.
    pub fn product(self, [height, width]: [usize; 2]) -> String {
        match self {
            Self::One => width.to_string(),
            Self::Two => format!("{height}×{width}"),
        }
    }

    /// The dimensions behind the channels, by name.
    pub fn names(self) -> &'static str {
        match self {
            Self::One => "length",
            Self::Two => "height, width",
        }
    }
}
