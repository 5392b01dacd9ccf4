//! The spatial axes of a convolution. The kernels for images also convolve sequences, as images of height 1.

use candle_core::{Result, Tensor};

/// The number of spatial axes of a convolution. Sizes and settings are always `[height, width]`. A sequence is an
/// image of height 1.
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

    /// Reshapes `[…, …, length]` to `[…, …, 1, length]`. With [`Axes::Two`], returns the tensor unchanged.
    ///
    /// # Errors
    /// Fails for [`Axes::One`] if the tensor has fewer than two dimensions.
    pub fn to_image(self, tensor: &Tensor) -> Result<Tensor> {
        match self {
            Self::One => tensor.unsqueeze(2),
            Self::Two => Ok(tensor.clone()),
        }
    }

    /// Reshapes `[…, …, 1, length]` to `[…, …, length]`. With [`Axes::Two`], returns the tensor unchanged.
    ///
    /// # Errors
    /// Fails for [`Axes::One`] if the tensor has fewer than three dimensions.
    pub fn from_image(self, tensor: Tensor) -> Result<Tensor> {
        match self {
            Self::One => tensor.squeeze(2),
            Self::Two => Ok(tensor),
        }
    }

    /// Returns the shape of a tensor with the given batch size, channels and `[height, width]`.
    pub fn shape(self, batch: usize, channels: usize, [height, width]: [usize; 2]) -> Vec<usize> {
        match self {
            Self::One => vec![batch, channels, width],
            Self::Two => vec![batch, channels, height, width],
        }
    }

    /// Returns the batch size, channels and `[height, width]` of a shape, or `None` if the number of dimensions is
    /// wrong.
    pub fn sizes(self, shape: &[usize]) -> Option<(usize, usize, [usize; 2])> {
        match (self, shape) {
            (Self::One, &[batch, channels, length]) => Some((batch, channels, [1, length])),
            (Self::Two, &[batch, channels, height, width]) => Some((batch, channels, [height, width])),
            _ => None,
        }
    }

    /// Formats a setting as PyTorch prints it: `(3,)`, `(3, 5)`.
    pub fn format_setting(self, [height, width]: [usize; 2]) -> String {
        match self {
            Self::One => format!("({width},)"),
            Self::Two => format!("({height}, {width})"),
        }
    }

    /// Formats a size for error messages: `3`, `3×5`.
    pub fn format_size(self, [height, width]: [usize; 2]) -> String {
        match self {
            Self::One => width.to_string(),
            Self::Two => format!("{height}×{width}"),
        }
    }

    /// Returns the names of the spatial dimensions.
    pub fn names(self) -> &'static str {
        match self {
            Self::One => "length",
            Self::Two => "height, width",
        }
    }
}
