//! Max pooling. As in PyTorch, the maximum of a window that contains NaN is NaN, and the first of several equal
//! maxima receives the gradient.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, WithDType};

use crate::composed_path::has_cpu_kernels;
use crate::cuda::runs_on;
use crate::element::{Element, elements, in_f32, with_element, with_elements};
use crate::float::Float;
use crate::operation::{CpuOperand, Operation};
use crate::planes::{check_memory, input_size, map_planes, with_size};
use crate::relay;
use crate::simd::{Isa, Kernel, Simd, dispatch_loops, isa};

use super::cuda::{self, Reduction};
use super::geometry::{WindowPositions, adaptive_ranges, adaptive_size};
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
    let output = geometry.output_size(input)?;
    if runs_on(x.device()) {
        return cuda::pool(x, [input, output], Some(*geometry), Reduction::Max);
    }
    max_pool(x, MaxPool::new(geometry, [input, output], isa()))
}

/// Computes 2×2 max pooling and its gradient with the instruction set `isa`, for f32 on the CPU. Returns
/// `[output, gradient of x]`.
///
/// # Errors
/// Fails under the same conditions as [`max_pool2d`].
#[cfg(any(test, feature = "testing"))]
pub fn max_pool2d_with(isa: Isa, x: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
    let geometry = PoolGeometry::new([2, 2]);
    let input = input_size(NAME, x)?;
    let output = geometry.output_size(input)?;
    let pool = MaxPool::new(&geometry, [input, output], isa);
    let y = with_elements(x, |x| max_pool_2x2::max_pool(isa, &pool, x))?;
    let y = Tensor::from_vec(y, with_size(x.dims(), output), x.device())?;
    let dx = pool.gradient_2x2(isa, [x, &y, grad])?;
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
    let [rows, columns] = [0, 1].map(|axis| -> Vec<WindowPositions> {
        adaptive_ranges(input[axis], output[axis]).map(|range| range.step_by(1)).collect()
    });
    max_pool(x, MaxPool { rows, columns, input, row_windows: None, column_windows: None, isa_2x2: None })
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
    /// The windows along the width, if a specialized loop exists for their size and stride.
    column_windows: Option<AxisWindows>,
    /// The instruction set for the 2×2 kernels, if they support this pooling.
    isa_2x2: Option<Isa>,
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

    /// Returns `true` if the forward pass has a specialized loop for this kernel size and stride.
    fn has_specialized_loop(&self) -> bool {
        matches!((self.kernel, self.stride), (1, 1) | (2, 2) | (3, 2) | (3, 1))
    }
}

impl MaxPool {
    fn new(geometry: &PoolGeometry, [input, output]: [[usize; 2]; 2], isa: Isa) -> Self {
        let [rows, columns] = [0, 1].map(|axis| geometry.positions(axis, input[axis], output[axis]));
        let [row_windows, column_windows] = [0, 1].map(|axis| AxisWindows::new(geometry, axis));
        let column_windows = column_windows.filter(AxisWindows::has_specialized_loop);
        let isa_2x2 = is_max_pool_2x2(geometry, input, output).then_some(isa);
        Self { rows, columns, input, row_windows, column_windows, isa_2x2 }
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

    /// Returns the gradient of `x`, computed by the 2×2 kernel.
    fn gradient_2x2(&self, isa: Isa, [x, y, grad]: [&Tensor; 3]) -> Result<Tensor> {
        let dx = with_elements(x, |x| {
            with_elements(y, |y| with_elements(grad, |grad| max_pool_2x2::gradient(isa, self, [x, y, grad])))
        })???;
        Tensor::from_vec(dx, x.shape(), x.device())
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
struct WindowRange {
    first: usize,
    step: usize,
    count: usize,
}

impl WindowRange {
    fn new(positions: &WindowPositions) -> Option<Self> {
        let (first, second) = (positions.clone().next()?, positions.clone().nth(1));
        Some(Self { first, step: second.map_or(1, |second| second - first), count: positions.len() })
    }

    fn positions(self) -> impl Iterator<Item = usize> + Clone {
        (0..self.count).map(move |i| self.first + i * self.step)
    }
}

impl Operation<1> for MaxPool {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let [input_len, output_len] = [self.input, self.output()].map(|[h, w]| h * w);
        let shape = with_size(layout.dims(), self.output()).into();
        if let (Some(isa), CpuStorage::F32(_)) = (self.isa_2x2, x) {
            return Ok((CpuStorage::F32(max_pool_2x2::max_pool(isa, self, elements(x, layout)?)), shape));
        }
        with_element!(NAME, x.dtype(), E => {
            let x = elements::<E>(x, layout)?;
            let y = map_planes(x, input_len, output_len, |_, x, y| dispatch_loops(Forward { pool: self, x, y }));
            Ok((E::to_cpu_storage_owned(y), shape))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        if let (Some(isa), DType::F32) = (self.isa_2x2, x.dtype()) {
            return Ok([Some(self.gradient_2x2(isa, [x, y, grad])?)]);
        }
        with_element!(NAME, x.dtype(), E => {
            let dx = with_elements(x, |x| {
                with_elements(y, |y| with_elements(grad, |grad| self.gradient::<E>(x, y, grad)))
            })???;
            Tensor::from_vec(dx, x.shape(), x.device()).map(|dx| [Some(dx)])
        })
    }
}

/// Returns the larger value, or NaN if either is NaN.
#[inline(always)]
fn larger<T: Float>(max: T, value: T) -> T {
    if value > max || value.is_nan() { value } else { max }
}

struct Forward<'a, E> {
    pool: &'a MaxPool,
    x: &'a [E],
    y: &'a mut [E],
}

impl<E: Element> Kernel for Forward<'_, E> {
    type Output = ();

    /// For each output row, first computes the maximum of each input column over the rows of the windows; this loop
    /// vectorizes. Then computes the maximum of these column maxima for each window, so that strided accesses touch a
    /// single row.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let MaxPool { rows, columns, input: [h, w], column_windows, .. } = self.pool;
        // Without `column_windows`, all three are 0: nothing is padded, and `max_columns_any` runs.
        let AxisWindows { kernel, stride, padding } = column_windows.unwrap_or_default();
        // `covered` is the number of columns that the windows cover, including the padding. Columns outside the input
        // stay -∞.
        let covered = (columns.len() - 1) * stride + kernel;
        let mut padded = vec![E::NEG_INFINITY; covered.max(padding + w)];
        for (x, y) in self.x.chunks_exact(h * w).zip(self.y.chunks_exact_mut(rows.len() * columns.len())) {
            for (positions, y) in rows.iter().zip(y.chunks_exact_mut(columns.len())) {
                let column_maxima = &mut padded[padding..padding + w];
                column_maxima.fill(E::NEG_INFINITY);
                for position in positions.clone() {
                    for (max, x) in column_maxima.iter_mut().zip(&x[position * w..(position + 1) * w]) {
                        *max = larger(*max, *x);
                    }
                }
                match (kernel, stride) {
                    (1, 1) => max_columns::<E, 1, 1>(&padded, y),
                    (2, 2) => max_columns::<E, 2, 2>(&padded, y),
                    (3, 2) => max_columns::<E, 3, 2>(&padded, y),
                    (3, 1) => max_columns::<E, 3, 1>(&padded, y),
                    _ => max_columns_any(column_maxima, columns, y),
                }
            }
        }
    }
}

/// Writes the maximum of each window of `KERNEL` columns, `STRIDE` apart.
#[inline(always)]
fn max_columns<E: Element, const KERNEL: usize, const STRIDE: usize>(x: &[E], y: &mut [E]) {
    let covered = (y.len() - 1) * STRIDE + KERNEL;
    let x = &x[..covered];
    for (column, y) in y.iter_mut().enumerate() {
        let window = &x[column * STRIDE..column * STRIDE + KERNEL];
        *y = window[1..].iter().fold(window[0], |max, value| larger(max, *value));
    }
}

/// Writes the maximum of each window of columns, for any windows.
#[inline(always)]
fn max_columns_any<E: Element>(x: &[E], columns: &[WindowPositions], y: &mut [E]) {
    for (positions, y) in columns.iter().zip(y) {
        let window = positions.clone().map(|column| x[column]);
        *y = window.fold(E::NEG_INFINITY, larger);
    }
}
