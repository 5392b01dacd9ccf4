//! Two settings of [`Upsample`](super::Upsample): mode and scale factor.

use crate::kernels::resample::Filter;

/// The interpolation mode of [`Upsample`](super::Upsample). PyTorch's names convert into this type.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// assert_eq!(Interpolation::from("bilinear"), Interpolation::Bilinear);
/// assert!(Upsample::config().scale_factor(2).mode("trilinear").init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// `"nearest"`: the input element that contains the top left corner of the output element.
    #[default]
    Nearest,
    /// `"nearest-exact"`: the input element nearest to the center of the output element.
    NearestExact,
    /// `"linear"`, for sequences.
    Linear,
    /// `"bilinear"`, for images.
    Bilinear,
    /// `"bicubic"`, for images (Keys 1981, with a = −3/4).
    Bicubic,
    /// `"area"`: the mean of the input elements that the output element covers, as in adaptive average pooling.
    Area,
    /// An unsupported name. Building the layer fails.
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

    /// Returns the filter of the resampling kernel, or `None` if the mode does not use that kernel.
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
        let modes =
            [Self::Nearest, Self::NearestExact, Self::Linear, Self::Bilinear, Self::Bicubic, Self::Area];
        modes.into_iter().find(|mode| mode.name() == word).unwrap_or(Self::Unknown(word))
    }
}

/// The ratio of output size to input size, `[height, width]`. Numbers such as `2` and `1.5`, and pairs such as
/// `(2., 1.5)`, convert into this type.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let factor = ScaleFactor::from((2., 1.5));
/// assert_eq!(factor, ScaleFactor([2., 1.5]));
/// let up = Upsample::config().scale_factor(factor).init(&Device::Cpu)?;
/// assert_eq!(up.forward(Tensor::zeros((1, 3, 4, 4), DType::F32, &Device::Cpu)?)?.dims(), [1, 3, 8, 6]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleFactor(pub [f64; 2]);

impl From<usize> for ScaleFactor {
    fn from(factor: usize) -> Self {
        Self([factor as f64; 2])
    }
}

impl From<f64> for ScaleFactor {
    fn from(factor: f64) -> Self {
        Self([factor; 2])
    }
}

impl From<(f64, f64)> for ScaleFactor {
    fn from((height, width): (f64, f64)) -> Self {
        Self([height, width])
    }
}
