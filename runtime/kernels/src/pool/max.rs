//! Max pooling. NaN wins over every number, and of equal maxima the first of the window gets the
//! gradient, as in PyTorch.

use super::cuda::{self, Kind};
use super::fours;
use super::geometry::{Taps, adaptive_ranges, adaptive_size};
use super::neighbours::Neighbours;
use super::{PoolGeometry, composed};
use crate::cuda::runs_on;
use crate::element::{Element, elements, in_single, with_element, with_elements};
use crate::float::Float;
use crate::operation::{CpuOperand, Operation};
use crate::planes::{check_room, input_size, map_planes, with_size};
use crate::relay;
use crate::simd::{Isa, Kernel, Simd, dispatch_loops, isa};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, WithDType};

const NAME: &str = "max_pool2d";

/// Returns the largest element of each window of an image.
///
/// - `x`: `[batch, channels, height, width]` or `[channels, height, width]`
/// - returns `x` with the height and width of [`PoolGeometry::output_size`]
///
/// Takes f32, f64, f16 and bf16. A NaN in a window is its largest element. Differentiable in `x`: the
/// gradient goes to the first of equal maxima.
///
/// # Errors
/// `x` has another rank, or [`PoolGeometry::output_size`] fails.
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
        return cuda::pool(x, [input, output], Some(*geometry), Kind::Max);
    }
    largest(x, MaxPool::new(geometry, [input, output], isa()))
}

/// Computes `max_pool2d` with windows of 2×2 and its gradient with the instruction set `isa`, for f32 on the
/// CPU. Returns `[output, gradient of x]`.
///
/// # Errors
/// As [`max_pool2d`].
#[cfg(any(test, feature = "testing"))]
pub fn max_pool2d_with(isa: Isa, x: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
    let (geometry, input) = (PoolGeometry::new([2, 2]), input_size(NAME, x)?);
    let output = geometry.output_size(input)?;
    let pool = MaxPool::new(&geometry, [input, output], isa);
    let y = with_elements(x, |x| fours::largest(isa, &pool, x))?;
    let y = Tensor::from_vec(y, with_size(x.dims(), output), x.device())?;
    let dx = pool.gradient_of_fours(isa, [x, &y, grad])?;
    Ok([y, dx])
}

/// Whether windows of two by two elements lie side by side, and whole.
fn of_fours(geometry: &PoolGeometry, input: [usize; 2], output: [usize; 2]) -> bool {
    let PoolGeometry { kernel, stride, padding, dilation, .. } = *geometry;
    [kernel, stride, padding, dilation] == [[2; 2], [2; 2], [0; 2], [1; 2]]
        && (0..2).all(|axis| 2 * output[axis] <= input[axis])
}

/// Returns the largest elements of an image in a grid of windows that are as equal in size as possible.
///
/// - `x`: `[batch, channels, height, width]` or `[channels, height, width]`
/// - `size`: the `[height, width]` of the output; `None` keeps the input's
///
/// Takes f32, f64, f16 and bf16. Differentiable in `x`.
///
/// # Errors
/// `x` has another rank, or a size is 0.
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
        return cuda::pool(x, [input, output], None, Kind::Max);
    }
    check_room(NAME, x.dims(), output)?;
    let [rows, columns] = [0, 1].map(|axis| -> Vec<Taps> {
        adaptive_ranges(input[axis], output[axis]).map(|range| range.step_by(1)).collect()
    });
    largest(x, MaxPool { rows, columns, input, across: None, down: None, fours: None })
}

fn largest(x: &Tensor, pool: MaxPool) -> Result<Tensor> {
    if x.device().is_cpu() {
        in_single(x, |x| relay::apply([&x.contiguous()?], pool))
    } else {
        composed::max(x, [&pool.rows, &pool.columns])
    }
}

pub(super) struct MaxPool {
    /// What each row of the output sees of the rows of the input.
    pub rows: Vec<Taps>,
    pub columns: Vec<Taps>,
    pub input: [usize; 2],
    /// The same as `columns`, where a loop of its own is worth while.
    across: Option<Across>,
    /// The same as `rows`, where windows are small and leave no gap.
    down: Option<Across>,
    /// What to run the kernels for windows of two by two on, where these are such.
    fours: Option<Isa>,
}

/// Windows of neighbouring columns, or rows, each a stride from the last.
#[derive(Clone, Copy, Default)]
pub(super) struct Across {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Across {
    fn of(geometry: &PoolGeometry, axis: usize) -> Option<Self> {
        let PoolGeometry { kernel, stride, padding, dilation, .. } = geometry;
        let windows = Self { kernel: kernel[axis], stride: stride[axis], padding: padding[axis] };
        (dilation[axis] == 1 && windows.kernel <= 8 && windows.stride <= windows.kernel).then_some(windows)
    }

    /// Whether these are windows that networks use most.
    fn is_common(&self) -> bool {
        matches!((self.kernel, self.stride), (2, 2) | (3, 2) | (3, 1))
    }
}

impl MaxPool {
    fn new(geometry: &PoolGeometry, [input, output]: [[usize; 2]; 2], isa: Isa) -> Self {
        let [rows, columns] = [0, 1].map(|axis| geometry.taps(axis, input[axis], output[axis]));
        let [down, across] = [0, 1].map(|axis| Across::of(geometry, axis));
        let across = across.filter(Across::is_common);
        let fours = of_fours(geometry, input, output).then_some(isa);
        Self { rows, columns, input, across, down, fours }
    }

    pub(super) fn output(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    fn gradient<E: Element>(&self, x: &[E], y: &[E], grad: &[E]) -> Vec<E> {
        let [from, to] = [self.input, self.output()].map(|[h, w]| h * w);
        map_planes(x, from, from, |first, x, dx| {
            let range = first * to..first * to + x.len() / from * to;
            let (y, grad) = (&y[range.clone()], &grad[range]);
            if let (Some(down), Some(across)) = (self.down, self.across) {
                return dispatch_loops(Neighbours { pool: self, windows: [down, across], x, y, grad, dx });
            }
            let outputs = y.chunks(to).zip(grad.chunks(to));
            for ((x, dx), (y, grad)) in x.chunks(from).zip(dx.chunks_mut(from)).zip(outputs) {
                self.scatter(x, y, grad, dx);
            }
        })
    }

    fn gradient_of_fours(&self, isa: Isa, [x, y, grad]: [&Tensor; 3]) -> Result<Tensor> {
        let dx = with_elements(x, |x| {
            with_elements(y, |y| with_elements(grad, |grad| fours::gradient(isa, self, [x, y, grad])))
        })???;
        Tensor::from_vec(dx, x.shape(), x.device())
    }

    /// Adds each output's gradient to that of the element that was its window's maximum.
    pub(super) fn scatter<E: Element>(&self, x: &[E], y: &[E], grad: &[E], dx: &mut [E]) {
        let columns: Vec<Option<Run>> = self.columns.iter().map(Run::of).collect();
        let outputs = y.chunks(columns.len()).zip(grad.chunks(columns.len()));
        for (rows, (y, grad)) in self.rows.iter().zip(outputs) {
            let rows = Run::of(rows);
            for (columns, (y, grad)) in columns.iter().zip(y.iter().zip(grad)) {
                // A window without an element has no maximum.
                let (Some(rows), Some(columns)) = (rows, *columns) else { continue };
                dx[self.place_of(*y, x, rows, columns)] += *grad;
            }
        }
    }

    /// Where in a window its maximum lies: the first that equals it, or the last NaN. Every tap is looked at
    /// and none is branched on, since nobody could predict the branch.
    #[inline(always)]
    fn place_of<E: Element>(&self, max: E, x: &[E], rows: Run, columns: Run) -> usize {
        let width = self.input[1];
        let mut place = rows.first * width + columns.first;
        for row in (0..rows.count).rev() {
            let start = (rows.first + row * rows.step) * width + columns.first;
            let x = &x[start..][..(columns.count - 1) * columns.step + 1];
            for column in (0..columns.count).rev() {
                let at = column * columns.step;
                place = if x[at] == max { start + at } else { place };
            }
        }
        if max.is_nan() { self.last_nan(x, rows, columns).unwrap_or(place) } else { place }
    }

    #[cold]
    fn last_nan<E: Element>(&self, x: &[E], rows: Run, columns: Run) -> Option<usize> {
        let places = rows.positions().flat_map(|row| columns.positions().map(move |column| (row, column)));
        places.map(|(row, column)| row * self.input[1] + column).filter(|place| x[*place].is_nan()).last()
    }
}

/// The taps of a window along one axis, at least one.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    step: usize,
    count: usize,
}

impl Run {
    fn of(taps: &Taps) -> Option<Self> {
        let (first, second) = (taps.clone().next()?, taps.clone().nth(1));
        Some(Self { first, step: second.map_or(1, |second| second - first), count: taps.len() })
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
        let [from, to] = [self.input, self.output()].map(|[h, w]| h * w);
        let shape = with_size(layout.dims(), self.output()).into();
        if let (Some(isa), CpuStorage::F32(_)) = (self.fours, x) {
            return Ok((CpuStorage::F32(fours::largest(isa, self, elements(x, layout)?)), shape));
        }
        with_element!(NAME, x.dtype(), E => {
            let x = elements::<E>(x, layout)?;
            let y = map_planes(x, from, to, |_, x, y| dispatch_loops(Forward { pool: self, x, y }));
            Ok((E::to_cpu_storage_owned(y), shape))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        if let (Some(isa), DType::F32) = (self.fours, x.dtype()) {
            return Ok([Some(self.gradient_of_fours(isa, [x, y, grad])?)]);
        }
        with_element!(NAME, x.dtype(), E => {
            let dx = with_elements(x, |x| {
                with_elements(y, |y| with_elements(grad, |grad| self.gradient::<E>(x, y, grad)))
            })???;
            Tensor::from_vec(dx, x.shape(), x.device()).map(|dx| [Some(dx)])
        })
    }
}

/// The larger; NaN where either is NaN.
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

    /// For each output row, first the maximum down its rows, one vector of columns after another, then
    /// across: the strided part is one row long.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let MaxPool { rows, columns, input: [h, w], across: regular, .. } = self.pool;
        let Across { kernel, stride, padding } = regular.unwrap_or_default();
        // The columns that windows reach, padding included: what no element fills stays -∞.
        let reach = (columns.len() - 1) * stride + kernel;
        let mut padded = vec![E::NEG_INFINITY; reach.max(padding + w)];
        for (x, y) in self.x.chunks_exact(h * w).zip(self.y.chunks_exact_mut(rows.len() * columns.len())) {
            for (taps, y) in rows.iter().zip(y.chunks_exact_mut(columns.len())) {
                let down = &mut padded[padding..padding + w];
                down.fill(E::NEG_INFINITY);
                for tap in taps.clone() {
                    for (max, x) in down.iter_mut().zip(&x[tap * w..(tap + 1) * w]) {
                        *max = larger(*max, *x);
                    }
                }
                match (kernel, stride) {
                    (2, 2) => across::<E, 2, 2>(&padded, y),
                    (3, 2) => across::<E, 3, 2>(&padded, y),
                    (3, 1) => across::<E, 3, 1>(&padded, y),
                    _ => across_any(down, columns, y),
                }
            }
        }
    }
}

/// The maximum of each `KERNEL` columns, `STRIDE` apart.
#[inline(always)]
fn across<E: Element, const KERNEL: usize, const STRIDE: usize>(down: &[E], y: &mut [E]) {
    let reach = (y.len() - 1) * STRIDE + KERNEL;
    let down = &down[..reach];
    for (column, y) in y.iter_mut().enumerate() {
        let window = &down[column * STRIDE..column * STRIDE + KERNEL];
        *y = window[1..].iter().fold(window[0], |max, value| larger(max, *value));
    }
}

#[inline(always)]
fn across_any<E: Element>(down: &[E], columns: &[Taps], y: &mut [E]) {
    for (taps, y) in columns.iter().zip(y) {
        let window = taps.clone().map(|column| down[column]);
        *y = window.fold(E::NEG_INFINITY, larger);
    }
}
