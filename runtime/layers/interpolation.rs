//! The settings of an interpolation: mode and scale factor.

use crate::kernels::resample::Filter;

/// How [`Upsample`](super::Upsample) computes an output from the inputs around it. Converts from PyTorch's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// `"nearest"`: the input at the first edge of the output, rounded down.
    #[default]
    Nearest,
    /// `"nearest-exact"`: the input nearest to the center of the output.
    NearestExact,
    /// `"linear"`, for sequences.
    Linear,
    /// `"bilinear"`, for images.
    Bilinear,
    /// `"bicubic"`, for images: Keys 1981 with a = −3/4.
    Bicubic,
    /// `"area"`: the mean of the inputs that the output covers, as in adaptive average pooling.
    Area,
    /// A name that PyTorch does not have. Building the layer returns an error.
    Unknown(&'static str),
}

impl Interpolation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::NearestExact => "nearest-exact",
            Self::Linear => "linear",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Area => "area",
            Self::Unknown(word) => word,
        }
    }

    /// Returns the filter of the resampling kernel, or `None` for modes without one.
    pub(super) fn filter(self) -> Option<Filter> {
        match self {
            Self::Nearest => Some(Filter::Nearest),
            Self::NearestExact => Some(Filter::NearestExact),
            Self::Linear | Self::Bilinear => Some(Filter::Linear),
            Self::Bicubic => Some(Filter::Cubic),
            Self::Area | Self::Unknown(_) => None,
        }
    }
}

impl From<&'static str> for Interpolation {
    fn from(word: &'static str) -> Self {
        let known =
            [Self::Nearest, Self::NearestExact, Self::Linear, Self::Bilinear, Self::Bicubic, Self::Area];
        known.into_iter().find(|mode| mode.name() == word).unwrap_or(Self::Unknown(word))
    }
}

/// The ratio of output size to input size, `[height, width]`. Converts from `2`, `1.5` or `(2., 1.5)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleFactor(pub [f64; 2]);

impl From<usize> for ScaleFactor {
    fn from(both: usize) -> Self {
        Self([both as f64; 2])
    }
}

impl From<f64> for ScaleFactor {
    fn from(both: f64) -> Self {
        Self([both; 2])
    }
}

impl From<(f64, f64)> for ScaleFactor {
    fn from((height, width): (f64, f64)) -> Self {
        Self([height, width])
    }
}
