//! Resizing by interpolation.

use candle_core::Tensor;

use crate::display::python_float;
use crate::graph::{Description, Op};
use crate::kernels::pool::{adaptive_avg_pool1d, adaptive_avg_pool2d};
use crate::kernels::resample::{Resampling, resample1d, resample2d};
use crate::module::{Forward, Mode};
use crate::ops::Pair;
use crate::signal::{Batch, Signal};
use crate::{Error, Result};

use super::interpolation::{Interpolation, ScaleFactor};
use super::{self_config, stateless};

/// Resizes its input by interpolation.
///
/// - Config: `Upsample::config()`; setters `size` or `scale_factor`, `mode` (`"nearest"`; see [`Interpolation`]),
///   `align_corners` (`None`), `recompute_scale_factor` (false)
/// - Input: `[batch, channels, length]` or `[batch, channels, height, width]`
/// - Output: `[batch, channels, length']` or `[batch, channels, height', width']`
/// - Fails if both or neither of `size` and `scale_factor` are set; if a size is 0 or a factor is not positive; if
///   `mode` is unknown or does not support the rank of the input; if `align_corners` is set and the mode is not
///   `"linear"`, `"bilinear"` or `"bicubic"`; or if both `recompute_scale_factor` and `size` are set
///
/// A size or factor is one number for all axes, or `(height, width)`. The output may be smaller than the input. The
/// corresponding function is [`interpolate`](crate::functional::interpolate).
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
#[derive(Clone, Copy, Default)]
pub struct Upsample {
    size: Option<Pair>,
    scale_factor: Option<ScaleFactor>,
    mode: Interpolation,
    align_corners: Option<bool>,
    recompute_scale_factor: bool,
}

impl Upsample {
    /// Creates the layer with PyTorch's defaults.
    pub fn config() -> Self {
        Self::default()
    }

    /// Sets the size of the output.
    pub fn size(mut self, size: impl Into<Pair>) -> Self {
        self.size = Some(size.into());
        self
    }

    /// Sets the ratio of output size to input size. The output size is rounded down. Positions in the input are
    /// computed with this factor unless `recompute_scale_factor` is set.
    pub fn scale_factor(mut self, factor: impl Into<ScaleFactor>) -> Self {
        self.scale_factor = Some(factor.into());
        self
    }

    /// Sets the interpolation mode.
    pub fn mode(mut self, mode: impl Into<Interpolation>) -> Self {
        self.mode = mode.into();
        self
    }

    /// Sets whether the centers of the input's corner pixels coincide with the centers of the output's corner pixels.
    /// With `false` or `None` (the default), the outer edges of these pixels coincide instead.
    pub fn align_corners(mut self, align: impl Into<Option<bool>>) -> Self {
        self.align_corners = align.into();
        self
    }

    /// Sets whether to compute positions in the input with the ratio of the output size to the input size instead of
    /// `scale_factor`. The two differ if the output size was rounded down. Default: `false`.
    pub fn recompute_scale_factor(mut self, recompute: bool) -> Self {
        self.recompute_scale_factor = recompute;
        self
    }

    fn checked(self) -> Result<Self> {
        self.check().map_err(|error| error.in_layer("Upsample"))?;
        Ok(self)
    }

    /// Checks the settings for errors that do not depend on the input.
    fn check(&self) -> Result<()> {
        if let Interpolation::Unknown(word) = self.mode {
            return Err(Error::msg(format!(
                "expected mode \"nearest\", \"nearest-exact\", \"linear\", \"bilinear\", \"bicubic\" or \
                 \"area\", found {word:?}"
            )));
        }
        let supports_align_corners =
            matches!(self.mode, Interpolation::Linear | Interpolation::Bilinear | Interpolation::Bicubic);
        if self.align_corners.is_some() && !supports_align_corners {
            let mode = self.mode.name();
            return Err(Error::msg(format!(
                "align_corners requires mode \"linear\", \"bilinear\" or \"bicubic\", found {mode:?}"
            )));
        }
        match (self.size, self.scale_factor) {
            (Some(_), None) if self.recompute_scale_factor => {
                Err(Error::msg("recompute_scale_factor requires a scale_factor, found a size"))
            }
            (Some(Pair(size)), None) if size.contains(&0) => {
                Err(Error::msg(format!("expected a size of at least 1 on each axis, found {size:?}")))
            }
            (None, Some(ScaleFactor(factor))) if factor.iter().any(|f| !f.is_finite() || *f <= 0.) => {
                Err(Error::msg(format!("expected a scale_factor greater than 0, found {factor:?}")))
            }
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (size, _) => {
                let found = if size.is_some() { "both" } else { "neither" };
                Err(Error::msg(format!("expected either size or scale_factor, found {found}")))
            }
        }
    }

    /// Returns the output size, and the scale with which positions in the input are computed. A scale of `None` means
    /// the ratio of the output size to the input size.
    fn output_size_and_scale<const AXES: usize>(
        &self,
        input: [usize; AXES],
    ) -> Result<([usize; AXES], [Option<f64>; AXES])> {
        let sizes_differ = match (self.size, self.scale_factor) {
            (Some(Pair([height, width])), _) => height != width,
            (_, Some(ScaleFactor([height, width]))) => height != width,
            _ => false,
        };
        if AXES == 1 && sizes_differ {
            return Err(Error::msg(
                "expected one size or scale_factor for a sequence, found two different values",
            ));
        }
        let Some(ScaleFactor(factor)) = self.scale_factor else {
            let Pair(size) = self.size.unwrap_or(Pair([0; 2]));
            return Ok((std::array::from_fn(|axis| size[axis]), [None; AXES]));
        };
        let output = std::array::from_fn(|axis| (input[axis] as f64 * factor[axis]).floor() as usize);
        let scale = std::array::from_fn(|axis| Some(factor[axis]));
        Ok((output, if self.recompute_scale_factor { [None; AXES] } else { scale }))
    }

    /// Describes the operation for images. Sequences use the factor of the last axis.
    fn describe(&self) -> Description<'static> {
        let scale = self.scale_factor.filter(|_| !self.recompute_scale_factor);
        let op = Op::Resample {
            filter: self.mode.filter(),
            scale: scale.map(|ScaleFactor(factor)| factor),
            align_corners: self.align_corners == Some(true),
        };
        ("interpolate", op).into()
    }

    fn run(&self, x: &Tensor) -> Result<Tensor> {
        self.check()?;
        let align_corners = self.align_corners == Some(true);
        match (x.dims(), self.mode) {
            (&[_, _, length], mode) if !matches!(mode, Interpolation::Bilinear | Interpolation::Bicubic) => {
                let (output, scale) = self.output_size_and_scale([length])?;
                Ok(match mode.filter() {
                    Some(filter) => resample1d(x, &Resampling { filter, output, scale, align_corners })?,
                    None => adaptive_avg_pool1d(x, output[0])?,
                })
            }
            (&[_, _, height, width], mode) if mode != Interpolation::Linear => {
                let (output, scale) = self.output_size_and_scale([height, width])?;
                Ok(match mode.filter() {
                    Some(filter) => resample2d(x, &Resampling { filter, output, scale, align_corners })?,
                    None => adaptive_avg_pool2d(x, output.map(Some))?,
                })
            }
            (_, mode) => Err(Error::msg(format!(
                "interpolate: expected {} for mode = {:?}, found {:?}",
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
    /// Resizes to this size with nearest-neighbor interpolation.
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
self_config!(Upsample);

impl Forward for Upsample {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        x.apply(self.describe(), Batch, |x| self.run(&x))
    }
}
