//! Resampling to a different size. Each output is a weighted sum of a few inputs along each axis.

mod composed;
mod taps;

use candle_core::{CpuStorage, DType, Result, Shape, Tensor, bail};

use crate::composed_path::has_cpu_kernels;
use crate::operation::{CpuOperand, Operation};
use crate::planes::{as_row, check_memory, check_size, input_length, input_size};
use crate::relay;
use crate::separable::SeparableMap;

use taps::{Axis, Taps};

const NAME: &str = "resample";

/// The way in which an output element is computed from the inputs near its position.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Filter, Resampling, resample1d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[0f32, 4.]]], &Device::Cpu)?;
/// let resample = |filter| resample1d(&x, &Resampling::to([4], filter))?.flatten_all()?.to_vec1::<f32>();
/// assert_eq!(resample(Filter::Nearest)?, [0., 0., 4., 4.]);
/// assert_eq!(resample(Filter::Linear)?, [0., 1., 3., 4.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The input that contains the first (left or top) edge of the output pixel, like OpenCV's `INTER_NEAREST`.
    Nearest,
    /// The input nearest to the center of the output pixel.
    NearestExact,
    /// Linear interpolation between two inputs along each axis.
    Linear,
    /// Cubic interpolation of four inputs along each axis.
    Cubic,
}

/// The settings of resampling, per axis: `[height, width]`, or `[length]` for sequences.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Filter, Resampling, resample1d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[0f32, 3.]]], &Device::Cpu)?;
/// let aligned = Resampling::to([4], Filter::Linear).with_align_corners(true);
/// assert_eq!(resample1d(&x, &aligned)?.flatten_all()?.to_vec1::<f32>()?, [0., 1., 2., 3.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resampling<const AXES: usize = 2> {
    /// The interpolation.
    pub filter: Filter,
    /// The size of the output.
    pub output: [usize; AXES],
    /// The scale factor from input positions to output positions. `None` uses the output size divided by the input
    /// size.
    pub scale: [Option<f64>; AXES],
    /// Whether the centers of the first and last pixels of input and output are aligned, instead of their outer edges.
    /// The nearest filters ignore this setting.
    pub align_corners: bool,
}

impl<const AXES: usize> Resampling<AXES> {
    /// Returns the settings for resampling to the given size with aligned edges.
    pub const fn to(output: [usize; AXES], filter: Filter) -> Self {
        Self { filter, output, scale: [None; AXES], align_corners: false }
    }

    /// Sets whether the centers of the corner pixels are aligned, instead of the outer edges. Default: `false`.
    pub const fn with_align_corners(self, align_corners: bool) -> Self {
        Self { align_corners, ..self }
    }
}

impl<const AXES: usize> Resampling<AXES> {
    /// Fails if an output size is 0, or a scale is not a finite number greater than 0.
    fn check(&self) -> Result<()> {
        if self.output.contains(&0) {
            bail!("{NAME}: expected an output of 1 or more on each axis, found {:?}", self.output);
        }
        if self.scale.iter().flatten().any(|scale| !scale.is_finite() || *scale <= 0.0) {
            bail!("{NAME}: expected a finite scale greater than 0 on each axis, found {:?}", self.scale);
        }
        Ok(())
    }
}

/// Resizes an image.
///
/// - `x`: `[batch, channels, height, width]` or `[channels, height, width]`
/// - returns a tensor of the shape of `x`, but with the height and width of [`Resampling::output`]
///
/// Equivalent to PyTorch's `interpolate`. Supports f32, f64, f16 and bf16. Differentiable in `x`.
///
/// # Errors
/// Fails if the rank of `x` is not 3 or 4, an output size is 0, or a scale is not a finite number greater than 0.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Filter, Resampling, resample2d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[0f32, 2.], [4., 6.]]], &Device::Cpu)?;
/// let y = resample2d(&x, &Resampling::to([3, 3], Filter::Linear).with_align_corners(true))?;
/// assert_eq!(y.to_vec3::<f32>()?[0], [[0., 1., 2.], [2., 3., 4.], [4., 5., 6.]]);
/// # Ok(())
/// # }
/// ```
pub fn resample2d(x: &Tensor, resampling: &Resampling) -> Result<Tensor> {
    let input = input_size(NAME, x)?;
    resampling.check()?;
    check_size(NAME, x.dims(), resampling.output)?;
    if x.device().is_cpu() {
        check_memory(NAME, x.dims(), resampling.output)?;
    }
    let Resampling { filter, output, scale, align_corners } = *resampling;
    let [rows, columns] = [0, 1].map(|axis| {
        let axis = Axis { input: input[axis], output: output[axis], scale: scale[axis], align_corners };
        axis.taps(filter, x.dtype() != DType::F64)
    });
    if has_cpu_kernels(x) {
        let [rows, columns] = [rows.to_map(input[0]), columns.to_map(input[1])];
        let map = SeparableMap { frames: None, rows, columns, source_divisors: None, target_divisors: None };
        relay::apply([&x.contiguous()?], Resample(map))
    } else {
        composed::resample(x, [&rows, &columns])
    }
}

/// Resizes a sequence, `[batch, channels, length]` or `[channels, length]`.
///
/// # Errors
/// Fails under the same conditions as [`resample2d`], with a rank of 2 or 3.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Filter, Resampling, resample1d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
/// let y = resample1d(&x, &Resampling::to([4], Filter::Nearest))?;
/// assert_eq!(y.to_vec2::<f32>()?, [[1., 1., 2., 2.]]);
/// # Ok(())
/// # }
/// ```
pub fn resample1d(x: &Tensor, resampling: &Resampling<1>) -> Result<Tensor> {
    input_length(NAME, x)?;
    resampling.check()?;
    let Resampling { filter, output: [output], scale: [scale], align_corners } = *resampling;
    let row = Resampling { filter, output: [1, output], scale: [None, scale], align_corners };
    as_row(x, |x| resample2d(x, &row))
}

struct Resample(SeparableMap);

impl Operation<1> for Resample {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [x]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        self.0.forward(NAME, x)
    }

    fn backward(&self, _: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(self.0.gradient(NAME, grad)?)])
    }
}
