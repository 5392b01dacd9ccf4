//! Other sizes by interpolation.

use candle_core::Tensor;

use super::interpolation::{Interpolation, ScaleFactor};
use super::{own_config, stateless};
use crate::display::python_float;
use crate::kernels::pool::{adaptive_avg_pool1d, adaptive_avg_pool2d};
use crate::kernels::resample::{Resampling, resample1d, resample2d};
use crate::module::{Forward, Mode};
use crate::ops::Pair;
use crate::signal::Signal;
use crate::{Error, Result};

/// Interpolates `[batch, channels, length]` or `[batch, channels, height, width]` to another size.
///
/// `Upsample::config()` with either the setter `size` or `scale_factor`, each one number for all axes or
/// `(height, width)`, and with `mode` ([`Interpolation`]: `"nearest"`, `"linear"`, `"bilinear"`, …),
/// `align_corners` and `recompute_scale_factor`. A size smaller than the input's makes it smaller.
/// `interpolate(x, Upsample::config().scale_factor(2))` is the same as a function.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let up = Upsample::config().scale_factor(2).mode("bilinear").align_corners(true).init(&Device::Cpu)?;
/// let x = Tensor::new(&[[[[0f32, 3.]]]], &Device::Cpu)?;
/// let y = up.call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.dims(), [1, 1, 2, 4]);
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0., 1., 2., 3., 0., 1., 2., 3.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Upsample {
    size: Option<Pair>,
    scale_factor: Option<ScaleFactor>,
    mode: Interpolation,
    align_corners: Option<bool>,
    recompute_scale_factor: bool,
}

impl Upsample {
    pub fn config() -> Self {
        Self::default()
    }

    /// The output's size.
    pub fn size(mut self, size: impl Into<Pair>) -> Self {
        self.size = Some(size.into());
        self
    }

    /// The output's size as a multiple of the input's, rounded down. Coordinates follow the factor itself.
    pub fn scale_factor(mut self, factor: impl Into<ScaleFactor>) -> Self {
        self.scale_factor = Some(factor.into());
        self
    }

    pub fn mode(mut self, mode: impl Into<Interpolation>) -> Self {
        self.mode = mode.into();
        self
    }

    /// Whether the centres of the corner pixels stay where they are, instead of the image's outer edges.
    pub fn align_corners(mut self, align: impl Into<Option<bool>>) -> Self {
        self.align_corners = align.into();
        self
    }

    /// Whether coordinates follow the ratio of the sizes instead of the scale factor.
    pub fn recompute_scale_factor(mut self, recompute: bool) -> Self {
        self.recompute_scale_factor = recompute;
        self
    }

    fn checked(self) -> Result<Self> {
        self.check().map_err(|error| error.in_layer("Upsample"))?;
        Ok(self)
    }

    /// What is wrong with the settings whatever the input.
    fn check(&self) -> Result<()> {
        if let Interpolation::Unknown(word) = self.mode {
            return Err(Error::msg(format!(
                "mode = {word:?}: expected \"nearest\", \"nearest-exact\", \"linear\", \"bilinear\", \
                 \"bicubic\" or \"area\""
            )));
        }
        let interpolates =
            matches!(self.mode, Interpolation::Linear | Interpolation::Bilinear | Interpolation::Bicubic);
        if self.align_corners.is_some() && !interpolates {
            let mode = self.mode.name();
            return Err(Error::msg(format!("align_corners means nothing to mode = {mode:?}")));
        }
        match (self.size, self.scale_factor) {
            (Some(_), None) if self.recompute_scale_factor => {
                Err(Error::msg("recompute_scale_factor needs a scale_factor, got a size"))
            }
            (Some(Pair(size)), None) if size.contains(&0) => {
                Err(Error::msg(format!("expected a size of 1 or more on each axis, got {size:?}")))
            }
            (None, Some(ScaleFactor(factor))) if factor.iter().any(|f| !f.is_finite() || *f <= 0.) => {
                Err(Error::msg(format!("expected a scale_factor greater than 0, got {factor:?}")))
            }
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (size, _) => {
                let given = if size.is_some() { "both" } else { "neither" };
                Err(Error::msg(format!("expected either size or scale_factor, got {given}")))
            }
        }
    }

    /// The output's extents, and the scales that its coordinates follow.
    fn targets<const AXES: usize>(
        &self,
        input: [usize; AXES],
    ) -> Result<([usize; AXES], [Option<f64>; AXES])> {
        let differ = match (self.size, self.scale_factor) {
            (Some(Pair([a, b])), _) => a != b,
            (_, Some(ScaleFactor([a, b]))) => a != b,
            _ => false,
        };
        if AXES == 1 && differ {
            return Err(Error::msg("a sequence has one size and one scale_factor, got two that differ"));
        }
        let Some(ScaleFactor(factor)) = self.scale_factor else {
            let Pair(size) = self.size.unwrap_or(Pair([0; 2]));
            return Ok((std::array::from_fn(|axis| size[axis]), [None; AXES]));
        };
        let output = std::array::from_fn(|axis| (input[axis] as f64 * factor[axis]).floor() as usize);
        let scale = std::array::from_fn(|axis| Some(factor[axis]));
        Ok((output, if self.recompute_scale_factor { [None; AXES] } else { scale }))
    }

    fn run(&self, x: &Tensor) -> Result<Tensor> {
        self.check()?;
        let align_corners = self.align_corners == Some(true);
        match (x.dims(), self.mode) {
            (&[_, _, length], mode) if !matches!(mode, Interpolation::Bilinear | Interpolation::Bicubic) => {
                let (output, scale) = self.targets([length])?;
                Ok(match mode.filter() {
                    Some(filter) => resample1d(x, &Resampling { filter, output, scale, align_corners })?,
                    None => adaptive_avg_pool1d(x, output[0])?,
                })
            }
            (&[_, _, height, width], mode) if mode != Interpolation::Linear => {
                let (output, scale) = self.targets([height, width])?;
                Ok(match mode.filter() {
                    Some(filter) => resample2d(x, &Resampling { filter, output, scale, align_corners })?,
                    None => adaptive_avg_pool2d(x, output.map(Some))?,
                })
            }
            (_, mode) => Err(Error::msg(format!(
                "interpolate: expected {} for mode = {:?}, got {:?}",
                expected_input(mode),
                mode.name(),
                x.dims()
            ))),
        }
    }
}

fn expected_input(mode: Interpolation) -> &'static str {
    match mode {
        Interpolation::Linear => "an input [batch, channels, length]",
        Interpolation::Bilinear | Interpolation::Bicubic => "an input [batch, channels, height, width]",
        _ => "an input [batch, channels, length] or [batch, channels, height, width]",
    }
}

impl<T: Into<Pair>> From<T> for Upsample {
    /// By nearest neighbours to a size.
    fn from(size: T) -> Self {
        Self::config().size(size)
    }
}

stateless!(Upsample, "Upsample", |this| {
    let target = match (this.scale_factor, this.size) {
        (Some(ScaleFactor([height, width])), _) if height == width => {
            format!("scale_factor={}", python_float(height))
        }
        (Some(ScaleFactor([height, width])), _) => {
            format!("scale_factor=({}, {})", python_float(height), python_float(width))
        }
        (None, Some(Pair([height, width]))) if height == width => format!("size={height}"),
        (None, Some(size)) => format!("size={size}"),
        (None, None) => "size=None".to_string(),
    };
    format!("{target}, mode='{}'", this.mode.name())
});
own_config!(Upsample);

impl Forward for Upsample {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        x.apply("interpolate", |x| self.run(&x))
    }
}
