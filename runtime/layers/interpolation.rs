//! The settings of an interpolation: its mode and its scale.

use crate::kernels::resample::Filter;

/// How an [`Upsample`](super::Upsample) makes an output of the inputs around it; a layer takes the name as PyTorch has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// `"nearest"`: the input at the output's first edge, rounded down.
    #[default]
    Nearest,
    /// `"nearest-exact"`: the input nearest to the output's centre.
    NearestExact,
    /// `"linear"`, of sequences.
    Linear,
    /// `"bilinear"`, of images.
    Bilinear,
    /// `"bicubic"`, of images: Keys 1981 with a = −3/4.
    Bicubic,
    /// `"area"`: the mean of what an output covers, as adaptive average pooling.
    Area,
    /// A word that PyTorch does not know either; building the layer reports it.
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

    /// The kernel's filter; `None` where pooling does the work.
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

/// Outputs for each input along `[height, width]`, from `2`, `1.5` or `(2., 1.5)`.
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
