//! Resampling to a different size. Each output is a weighted sum of a few inputs along each axis.

mod composed;
mod taps;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, WithDType, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::{Element, elements, in_f32, with_element, with_elements};
use crate::float::Float;
use crate::operation::{CpuOperand, Operation};
use crate::planes::{as_row, check_memory, check_size, input_length, input_size, map_planes, with_size};
use crate::relay;
use crate::simd::{Kernel, Simd, dispatch_loops};

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
    let op = Resample { rows, columns, input, output };
    if has_cpu_kernels(x) {
        in_f32(x, |x| relay::apply([&x.contiguous()?], op))
    } else {
        composed::resample(x, &op)
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

struct Resample {
    rows: Taps,
    columns: Taps,
    input: [usize; 2],
    output: [usize; 2],
}

impl Operation<1> for Resample {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let [input_len, output_len] = [self.input, self.output].map(|[h, w]| h * w);
        with_element!(NAME, x.dtype(), E => {
            let x = elements::<E>(x, layout)?;
            let y = map_planes(x, input_len, output_len, |_, x, y| {
                dispatch_loops(Forward { op: self, x, y });
            });
            Ok((E::to_cpu_storage_owned(y), with_size(layout.dims(), self.output).into()))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let [input_len, output_len] = [self.input, self.output].map(|[h, w]| h * w);
        with_element!(NAME, x.dtype(), E => {
            let dx = with_elements::<E, _>(grad, |grad| {
                map_planes(grad, output_len, input_len, |_, grad, dx| {
                    dispatch_loops(Backward { op: self, grad, dx });
                })
            })?;
            Tensor::from_vec(dx, x.shape(), x.device()).map(|dx| [Some(dx)])
        })
    }
}

/// Returns the taps with weights of type `T`.
fn taps_as<T: Float>(taps: &Taps) -> Vec<(usize, T)> {
    taps.list.iter().map(|(position, weight)| (*position, T::from_f64(*weight))).collect()
}

struct Forward<'a, E> {
    op: &'a Resample,
    x: &'a [E],
    y: &'a mut [E],
}

impl<E: Element> Kernel for Forward<'_, E> {
    type Output = ();

    /// For each output row, first adds up the weighted input rows that contribute to it; this loop vectorizes. Then,
    /// for each output, adds up the weighted columns of this sum that contribute to the output.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Resample { rows, columns, input: [h, w], output: [output_h, output_w] } = self.op;
        let (row_taps, column_taps) = (taps_as::<E>(rows), taps_as::<E>(columns));
        let mut row_sums = vec![E::ZERO; *w];
        for (x, y) in self.x.chunks_exact(h * w).zip(self.y.chunks_exact_mut(output_h * output_w)) {
            for (taps, y) in row_taps.chunks_exact(rows.per_output).zip(y.chunks_exact_mut(*output_w)) {
                row_sums.fill(Float::ZERO);
                for (row, weight) in taps {
                    for (sum, x) in row_sums.iter_mut().zip(&x[row * w..][..*w]) {
                        *sum += *x * *weight;
                    }
                }
                for (taps, y) in column_taps.chunks_exact(columns.per_output).zip(y) {
                    let parts = taps.iter().map(|(column, weight)| row_sums[*column] * *weight);
                    *y = parts.fold(E::ZERO, |sum, part| sum + part);
                }
            }
        }
    }
}

struct Backward<'a, E> {
    op: &'a Resample,
    grad: &'a [E],
    dx: &'a mut [E],
}

impl<E: Element> Kernel for Backward<'_, E> {
    type Output = ();

    /// For each output row, first spreads the gradients over the input columns that contribute to the outputs. Then
    /// adds the weighted result to the input rows that contribute to the output row.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Resample { rows, columns, input: [h, w], output: [output_h, output_w] } = self.op;
        let (row_taps, column_taps) = (taps_as::<E>(rows), taps_as::<E>(columns));
        let mut column_sums = vec![E::ZERO; *w];
        for (grad, dx) in self.grad.chunks_exact(output_h * output_w).zip(self.dx.chunks_exact_mut(h * w)) {
            for (taps, grad) in row_taps.chunks_exact(rows.per_output).zip(grad.chunks_exact(*output_w)) {
                column_sums.fill(Float::ZERO);
                for (taps, grad) in column_taps.chunks_exact(columns.per_output).zip(grad) {
                    taps.iter().for_each(|(column, weight)| column_sums[*column] += *grad * *weight);
                }
                for (row, weight) in taps {
                    let sums = dx[row * w..][..*w].iter_mut();
                    sums.zip(&column_sums).for_each(|(sum, part)| *sum += *part * *weight);
                }
            }
        }
    }
}
