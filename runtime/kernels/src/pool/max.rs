//! Max pooling. As in PyTorch, the maximum of a window that contains NaN is NaN, and the first of several equal
//! maxima receives the gradient.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, WithDType};

use crate::composed_path::has_cpu_kernels;
use crate::cuda::runs_on;
use crate::element::{Element, elements, in_f32, with_element, with_elements};
use crate::float::Float;
use crate::operation::{CpuOperand, Operation};
use crate::planes::{check_memory, input_size, map_planes, with_size, write_planes};
use crate::relay;
use crate::separable::Stored;
use crate::simd::{Isa, Real, dispatch_loops, isa};

use super::cuda::{self, Reduction};
use super::geometry::{WindowPositions, adaptive_ranges, adaptive_size};
use super::max_forward::ForwardWindows;
use super::max_pool_2x2;
use super::max_pool_gradient::MaxPoolGradient;
use super::{PoolGeometry, composed};

const NAME: &str = "max_pool2d";

/// Returns the largest element of each window of an image.
///
/// - `x`: `[batch, channels, height, width]` or `[channels, height, width]`
/// - returns a tensor of the shape of `x`, but with the height and width of [`PoolGeometry::output_size`]
///
/// Supports f32, f64, f16 and bf16. The maximum of a window that contains NaN is NaN. Differentiable in `x`: the
/// first of several equal maxima receives the gradient.
///
/// # Errors
/// Fails if the rank of `x` is not 3 or 4, or [`PoolGeometry::output_size`] fails.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{PoolGeometry, max_pool2d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 16., &Device::Cpu)?.reshape((1, 1, 4, 4))?;
/// let y = max_pool2d(&x, &PoolGeometry::new([2, 2]))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [5., 7., 13., 15.]);
/// # Ok(())
/// # }
/// ```
pub fn max_pool2d(x: &Tensor, geometry: &PoolGeometry) -> Result<Tensor> {
    let input = input_size(NAME, x)?;
    if runs_on(x.device()) {
        return cuda::pool(x, [input, geometry.output_size(input)?], Some(*geometry), Reduction::Max);
    }
    max_pool(x, MaxPool::new(geometry, input)?)
}

/// Computes [`max_pool2d`] and its gradient with the instruction set `isa`, for f32 on the CPU. Returns `[output,
/// gradient of x]`.
///
/// # Errors
/// Fails under the same conditions as [`max_pool2d`].
#[cfg(any(test, feature = "testing"))]
pub fn max_pool2d_with(isa: Isa, x: &Tensor, grad: &Tensor, geometry: &PoolGeometry) -> Result<[Tensor; 2]> {
    let pool = MaxPool { isa, ..MaxPool::new(geometry, input_size(NAME, x)?)? };
    let y = pool.tensor_of_maxima(x)?;
    let dx = pool.tensor_of_gradients([x, &y, grad])?;
    Ok([y, dx])
}

/// Returns `true` if this is 2×2 pooling with stride 2 whose windows lie entirely in the input.
fn is_max_pool_2x2(geometry: &PoolGeometry, input: [usize; 2], output: [usize; 2]) -> bool {
    let PoolGeometry { kernel, stride, padding, dilation, .. } = *geometry;
    [kernel, stride, padding, dilation] == [[2; 2], [2; 2], [0; 2], [1; 2]]
        && (0..2).all(|axis| 2 * output[axis] <= input[axis])
}

/// Applies adaptive max pooling: the output has the given size, and the sizes of the windows follow from it, as in
/// PyTorch. Neighboring windows may overlap.
///
/// - `x`: `[batch, channels, height, width]` or `[channels, height, width]`
/// - `size`: the `[height, width]` of the output; `None` keeps the size of the input
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`.
///
/// # Errors
/// Fails if the rank of `x` is not 3 or 4, or a size is 0.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::adaptive_max_pool2d;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(0f32, 1., (2, 3, 13, 9), &Device::Cpu)?;
/// assert_eq!(adaptive_max_pool2d(&x, [Some(4), None])?.dims(), [2, 3, 4, 9]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_max_pool2d(x: &Tensor, size: [Option<usize>; 2]) -> Result<Tensor> {
    const NAME: &str = "adaptive_max_pool2d";
    let input = input_size(NAME, x)?;
    let output = adaptive_size(NAME, x.dims(), input, size)?;
    if runs_on(x.device()) {
        return cuda::pool(x, [input, output], None, Reduction::Max);
    }
    check_memory(NAME, x.dims(), output)?;
    max_pool(x, MaxPool::adaptive([input, output]))
}

fn max_pool(x: &Tensor, pool: MaxPool) -> Result<Tensor> {
    if has_cpu_kernels(x) {
        in_f32(x, |x| relay::apply([&x.contiguous()?], pool))
    } else {
        composed::max(x, [&pool.rows, &pool.columns])
    }
}

/// Max pooling with fixed or adaptive windows.
pub(super) struct MaxPool {
    /// The input rows in the windows of each output row.
    pub rows: Vec<WindowPositions>,
    /// The input columns in the windows of each output column.
    pub columns: Vec<WindowPositions>,
    /// The `[height, width]` of the input.
    pub input: [usize; 2],
    /// The windows along the height, if they are small and leave no gaps.
    row_windows: Option<AxisWindows>,
    /// The windows along the width, if they are small, leave no gaps, and are one or two columns apart.
    pub column_windows: Option<AxisWindows>,
    /// Whether the kernel for the gradient of 2×2 windows supports this pooling.
    is_2x2: bool,
    pub isa: Isa,
}

/// Windows of contiguous positions along one axis, `stride` apart.
#[derive(Clone, Copy, Default)]
pub(super) struct AxisWindows {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl AxisWindows {
    fn new(geometry: &PoolGeometry, axis: usize) -> Option<Self> {
        let PoolGeometry { kernel, stride, padding, dilation, .. } = geometry;
        let windows = Self { kernel: kernel[axis], stride: stride[axis], padding: padding[axis] };
        (dilation[axis] == 1 && windows.kernel <= 8 && windows.stride <= windows.kernel).then_some(windows)
    }
}

impl MaxPool {
    /// Pooling of planes of the size `input` with fixed windows.
    pub(super) fn new(geometry: &PoolGeometry, input: [usize; 2]) -> Result<Self> {
        let output = geometry.output_size(input)?;
        let [rows, columns] = [0, 1].map(|axis| geometry.positions(axis, input[axis], output[axis]));
        let [row_windows, column_windows] = [0, 1].map(|axis| AxisWindows::new(geometry, axis));
        let column_windows = column_windows.filter(|windows| windows.stride <= 2);
        let is_2x2 = is_max_pool_2x2(geometry, input, output);
        Ok(Self { rows, columns, input, row_windows, column_windows, is_2x2, isa: isa() })
    }

    /// Adaptive pooling of planes with the sizes `[input, output]`.
    pub(super) fn adaptive([input, output]: [[usize; 2]; 2]) -> Self {
        let [rows, columns] = [0, 1].map(|axis| {
            adaptive_ranges(input[axis], output[axis]).map(|range| range.step_by(1)).collect::<Vec<_>>()
        });
        let (row_windows, column_windows) = (None, None);
        Self { rows, columns, input, row_windows, column_windows, is_2x2: false, isa: isa() }
    }

    /// Returns the maximum of each window of several planes.
    fn maxima<R: Real + Stored<Real = R>>(&self, x: &[R]) -> Vec<R> {
        let [input_len, output_len] = [self.input, self.output()].map(|[h, w]| h * w);
        let windows = ForwardWindows::new(self, self.isa);
        // SAFETY: `write_maxima` writes every element.
        unsafe { write_planes(x, input_len, output_len, |_, x, y| windows.write_maxima(x, y)) }
    }

    /// Returns the maximum of each window of a contiguous tensor on the CPU. Its last two dimensions are the planes.
    pub(super) fn tensor_of_maxima(&self, x: &Tensor) -> Result<Tensor> {
        with_element!(NAME, x.dtype(), E => {
            let y = with_elements::<E, _>(x, |x| self.maxima(x))?;
            Tensor::from_vec(y, with_size(x.dims(), self.output()), x.device())
        })
    }

    /// Returns the gradient of `x` from `[x, y, grad]`: the input, the output, and the gradient of the output.
    pub(super) fn tensor_of_gradients(&self, [x, y, grad]: [&Tensor; 3]) -> Result<Tensor> {
        fn slices<E: Element, R>([x, y, grad]: [&Tensor; 3], f: impl FnOnce([&[E]; 3]) -> R) -> Result<R> {
            with_elements(x, |x| with_elements(y, |y| with_elements(grad, |grad| f([x, y, grad]))))??
        }
        if self.is_2x2 && x.dtype() == DType::F32 {
            let dx = slices([x, y, grad], |tensors| max_pool_2x2::gradient(self.isa, self, tensors))?;
            return Tensor::from_vec(dx, x.shape(), x.device());
        }
        with_element!(NAME, x.dtype(), E => {
            let dx = slices::<E, _>([x, y, grad], |[x, y, grad]| self.gradient(x, y, grad))?;
            Tensor::from_vec(dx, x.shape(), x.device())
        })
    }

    /// Returns the `[height, width]` of the output.
    pub(super) fn output(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    /// Returns the gradient of `x`.
    fn gradient<E: Element>(&self, x: &[E], y: &[E], grad: &[E]) -> Vec<E> {
        let [input_len, output_len] = [self.input, self.output()].map(|[h, w]| h * w);
        map_planes(x, input_len, input_len, |first, x, dx| {
            let start = first * output_len;
            let range = start..start + x.len() / input_len * output_len;
            let (y, grad) = (&y[range.clone()], &grad[range]);
            if let (Some(rows), Some(columns)) = (self.row_windows, self.column_windows) {
                return dispatch_loops(MaxPoolGradient {
                    pool: self,
                    windows: [rows, columns],
                    x,
                    y,
                    grad,
                    dx,
                });
            }
            let inputs = x.chunks(input_len).zip(dx.chunks_mut(input_len));
            let outputs = y.chunks(output_len).zip(grad.chunks(output_len));
            for ((x, dx), (y, grad)) in inputs.zip(outputs) {
                self.scatter(x, y, grad, dx);
            }
        })
    }

    /// For each output, adds its gradient to the element of `dx` that belongs to the maximum of the output's window.
    pub(super) fn scatter<E: Element>(&self, x: &[E], y: &[E], grad: &[E], dx: &mut [E]) {
        let columns: Vec<Option<WindowRange>> = self.columns.iter().map(WindowRange::new).collect();
        let outputs = y.chunks(columns.len()).zip(grad.chunks(columns.len()));
        for (rows, (y, grad)) in self.rows.iter().zip(outputs) {
            let rows = WindowRange::new(rows);
            for (columns, (y, grad)) in columns.iter().zip(y.iter().zip(grad)) {
                // An empty window has no maximum.
                let (Some(rows), Some(columns)) = (rows, *columns) else { continue };
                dx[self.argmax(*y, x, rows, columns)] += *grad;
            }
        }
    }

    /// Returns the index in the plane of a window's maximum: the first element that equals `max`, or the last
    /// NaN. Visits every position without a branch, because the branch would be unpredictable.
    #[inline(always)]
    fn argmax<E: Element>(&self, max: E, x: &[E], rows: WindowRange, columns: WindowRange) -> usize {
        let width = self.input[1];
        let mut index = rows.first * width + columns.first;
        for row in (0..rows.count).rev() {
            let start = (rows.first + row * rows.step) * width + columns.first;
            let x = &x[start..][..(columns.count - 1) * columns.step + 1];
            for column in (0..columns.count).rev() {
                let at = column * columns.step;
                index = if x[at] == max { start + at } else { index };
            }
        }
        if max.is_nan() { self.last_nan(x, rows, columns).unwrap_or(index) } else { index }
    }

    /// Returns the index in the plane of the last NaN of a window.
    #[cold]
    fn last_nan<E: Element>(&self, x: &[E], rows: WindowRange, columns: WindowRange) -> Option<usize> {
        let positions = rows.positions().flat_map(|row| columns.positions().map(move |column| (row, column)));
        positions.map(|(row, column)| row * self.input[1] + column).filter(|index| x[*index].is_nan()).last()
    }
}

/// The positions of a window along one axis. There is at least one position.
#[derive(Clone, Copy)]
pub(super) struct WindowRange {
    pub first: usize,
    pub step: usize,
    pub count: usize,
}

impl WindowRange {
    /// Returns `None` if the window has no positions.
    pub fn new(positions: &WindowPositions) -> Option<Self> {
        let (first, second) = (positions.clone().next()?, positions.clone().nth(1));
        Some(Self { first, step: second.map_or(1, |second| second - first), count: positions.len() })
    }

    /// Returns the last position.
    pub fn last(self) -> usize {
        self.first + (self.count - 1) * self.step
    }

    pub fn positions(self) -> impl Iterator<Item = usize> + Clone {
        (0..self.count).map(move |i| self.first + i * self.step)
    }
}

impl Operation<1> for MaxPool {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let shape = with_size(layout.dims(), self.output()).into();
        with_element!(NAME, x.dtype(), E => {
            let y = self.maxima(elements::<E>(x, layout)?);
            Ok((E::to_cpu_storage_owned(y), shape))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(self.tensor_of_gradients([x, y, grad])?)])
    }
}

/// Returns the larger value, or NaN if either is NaN.
#[inline(always)]
pub(super) fn larger<T: Float>(max: T, value: T) -> T {
    if value > max || value.is_nan() { value } else { max }
}
