//! Resampling to another size: every output is a weighted sum of a few inputs along each axis.

mod composed;
mod taps;

use super::element::{Element, elements, in_single, with_element, with_elements};
use super::float::Float;
use super::planes::{as_row, check_room, check_size, input_length, input_size, map_planes, with_size};
use super::relay;
use super::simd::{Kernel, Simd, dispatch_loops};
use crate::operation::{CpuOperand, Operation};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, WithDType, bail};
use taps::{Axis, Taps};

const NAME: &str = "resample";

/// How an output element is computed from the input around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The input at the first edge of the output, rounded down: OpenCV's `INTER_NEAREST`.
    Nearest,
    /// The input nearest to the center of the output.
    NearestExact,
    /// Linear interpolation between two inputs along each axis.
    Linear,
    /// Cubic interpolation of four inputs along each axis.
    Cubic,
}

/// The settings of a resampling, per axis: `[height, width]`, or `[length]` for sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resampling<const AXES: usize = 2> {
    /// How an output element is computed.
    pub filter: Filter,
    /// The size of the output.
    pub output: [usize; AXES],
    /// The number of outputs per input that positions are computed with; the ratio of the sizes if `None`.
    pub scale: [Option<f64>; AXES],
    /// Align the centers of the first and last pixels of input and output instead of their outer edges. The
    /// nearest filters ignore it.
    pub align_corners: bool,
}

impl<const AXES: usize> Resampling<AXES> {
    /// Returns a resampling to the given size, with aligned edges.
    pub const fn to(output: [usize; AXES], filter: Filter) -> Self {
        Self { filter, output, scale: [None; AXES], align_corners: false }
    }

    /// Sets [`align_corners`](Self::align_corners).
    pub const fn with_align_corners(self, align_corners: bool) -> Self {
        Self { align_corners, ..self }
    }
}

impl<const AXES: usize> Resampling<AXES> {
    fn check(&self) -> Result<()> {
        if self.output.contains(&0) {
            bail!("{NAME}: expected an output of 1 or more on each axis, got {:?}", self.output);
        }
        if self.scale.iter().flatten().any(|scale| !scale.is_finite() || *scale <= 0.0) {
            bail!("{NAME}: expected a scale greater than 0 on each axis, got {:?}", self.scale);
        }
        Ok(())
    }
}

/// Resizes an image.
///
/// - `x`: `[batch, channels, height, width]` or `[channels, height, width]`
/// - returns `x` with the height and width of [`Resampling::output`]
///
/// The definitions are those of PyTorch's `interpolate`. Takes f32, f64, f16 and bf16. Differentiable in `x`.
///
/// # Errors
/// `x` has another rank, a size of the output is 0, or a scale is not greater than 0.
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
        check_room(NAME, x.dims(), resampling.output)?;
    }
    let Resampling { filter, output, scale, align_corners } = *resampling;
    let [rows, columns] = [0, 1].map(|axis| {
        let axis = Axis { input: input[axis], output: output[axis], scale: scale[axis], align_corners };
        axis.taps(filter, x.dtype() != DType::F64)
    });
    let op = Resample { rows, columns, input, output };
    match x.device().is_cpu() {
        true => in_single(x, |x| relay::apply([&x.contiguous()?], op)),
        false => composed::resample(x, &op),
    }
}

/// Resizes a sequence, `[batch, channels, length]` or `[channels, length]`.
///
/// # Errors
/// As [`resample2d`].
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
        let [from, to] = [self.input, self.output].map(|[h, w]| h * w);
        with_element!(NAME, x.dtype(), E => {
            let x = elements::<E>(x, layout)?;
            let y = map_planes(x, from, to, |_, x, y| dispatch_loops(Forward { op: self, x, y }));
            Ok((E::to_cpu_storage_owned(y), with_size(layout.dims(), self.output).into()))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let [from, to] = [self.input, self.output].map(|[h, w]| h * w);
        with_element!(NAME, x.dtype(), E => {
            let dx = with_elements::<E, _>(grad, |grad| {
                map_planes(grad, to, from, |_, grad, dx| dispatch_loops(Backward { op: self, grad, dx }))
            })?;
            Tensor::from_vec(dx, x.shape(), x.device()).map(|dx| [Some(dx)])
        })
    }
}

/// The taps with their weights in the precision that the elements are computed in.
fn weighted<T: Float>(taps: &Taps) -> Vec<(usize, T)> {
    taps.list.iter().map(|(position, weight)| (*position, T::from_f64(*weight))).collect()
}

struct Forward<'a, E> {
    op: &'a Resample,
    x: &'a [E],
    y: &'a mut [E],
}

impl<E: Element> Kernel for Forward<'_, E> {
    type Output = ();

    /// For each output row, first the sum down its rows, one vector of columns after another, then
    /// across.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Resample { rows, columns, input: [h, w], output: [to_h, to_w] } = self.op;
        let (down_taps, across_taps) = (weighted::<E>(rows), weighted::<E>(columns));
        let mut down = vec![E::ZERO; *w];
        for (x, y) in self.x.chunks_exact(h * w).zip(self.y.chunks_exact_mut(to_h * to_w)) {
            for (taps, y) in down_taps.chunks_exact(rows.count).zip(y.chunks_exact_mut(*to_w)) {
                down.fill(Float::ZERO);
                for (row, weight) in taps {
                    for (sum, x) in down.iter_mut().zip(&x[row * w..][..*w]) {
                        *sum += *x * *weight;
                    }
                }
                for (taps, y) in across_taps.chunks_exact(columns.count).zip(y) {
                    let parts = taps.iter().map(|(column, weight)| down[*column] * *weight);
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

    /// The forward pass backwards: each output row's gradients are spread across, then added to its rows.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Resample { rows, columns, input: [h, w], output: [to_h, to_w] } = self.op;
        let (down_taps, across_taps) = (weighted::<E>(rows), weighted::<E>(columns));
        let mut across = vec![E::ZERO; *w];
        for (grad, dx) in self.grad.chunks_exact(to_h * to_w).zip(self.dx.chunks_exact_mut(h * w)) {
            for (taps, grad) in down_taps.chunks_exact(rows.count).zip(grad.chunks_exact(*to_w)) {
                across.fill(Float::ZERO);
                for (taps, grad) in across_taps.chunks_exact(columns.count).zip(grad) {
                    taps.iter().for_each(|(column, weight)| across[*column] += *grad * *weight);
                }
                for (row, weight) in taps {
                    let sums = dx[row * w..][..*w].iter_mut();
                    sums.zip(&across).for_each(|(sum, part)| *sum += *part * *weight);
                }
            }
        }
    }
}
