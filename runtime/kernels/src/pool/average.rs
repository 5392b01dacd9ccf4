//! Average pooling and adaptive average pooling.

use std::ops::Range;

use candle_core::{CpuStorage, Result, Shape, Tensor, bail};

use crate::composed_path::has_cpu_kernels;
use crate::cuda::runs_on;
use crate::operation::{CpuOperand, Operation};
use crate::planes::{check_memory, input_size};
use crate::relay;
use crate::separable::{AxisMap, Divisors, SeparableMap};

use super::cuda::{self, Divisor, Reduction};
use super::geometry::{adaptive_ranges, adaptive_size};
use super::{PoolGeometry, composed};

const NAME: &str = "avg_pool2d";

/// Returns the mean of each window of an image.
///
/// - `x`: `[batch, channels, height, width]` or `[channels, height, width]`
/// - `count_include_pad`: whether the padding counts as elements of a window
/// - `divisor_override`: the number by which the sum of a window is divided, instead of the number of its elements
/// - returns a tensor of the shape of `x`, but with the height and width of [`PoolGeometry::output_size`]
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`.
///
/// # Errors
/// Fails if the rank of `x` is not 3 or 4, [`PoolGeometry::output_size`] fails, the dilation is not 1, or the divisor
/// is 0.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{PoolGeometry, avg_pool2d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 16., &Device::Cpu)?.reshape((1, 1, 4, 4))?;
/// let y = avg_pool2d(&x, &PoolGeometry::new([2, 2]), true, None)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2.5, 4.5, 10.5, 12.5]);
/// # Ok(())
/// # }
/// ```
pub fn avg_pool2d(
    x: &Tensor,
    geometry: &PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<usize>,
) -> Result<Tensor> {
    let input = input_size(NAME, x)?;
    if runs_on(x.device()) {
        let divisor = match (divisor_override, count_include_pad) {
            (Some(divisor), _) => Divisor::Fixed(divisor),
            (None, true) => Divisor::ElementsAndPadding,
            (None, false) => Divisor::Elements,
        };
        let output = geometry.output_size(input)?;
        return cuda::pool(x, [input, output], Some(*geometry), Reduction::Average(divisor));
    }
    average(x, windows(geometry, input, count_include_pad, divisor_override)?)
}

/// Returns the windows of average pooling. See [`avg_pool2d`] for the arguments.
pub(crate) fn windows(
    geometry: &PoolGeometry,
    input: [usize; 2],
    count_include_pad: bool,
    divisor: Option<usize>,
) -> Result<Windows> {
    let output = geometry.output_size(input)?;
    if geometry.dilation != [1; 2] {
        bail!("{NAME}: expected a dilation of 1, found {:?}", geometry.dilation);
    }
    if divisor == Some(0) {
        bail!("{NAME}: expected a divisor other than 0, found 0");
    }
    let axis_windows = |axis: usize| -> Vec<Window> {
        let (kernel, padding) = (geometry.kernel[axis], geometry.padding[axis]);
        let window = |output: usize| {
            // `start` and `end` count from the start of the padding; the positions in `inside` count from the start of
            // the input.
            let start = output * geometry.stride[axis];
            let end = start.saturating_add(kernel).min(input[axis] + 2 * padding);
            let inside = start.saturating_sub(padding)..(end - padding).min(input[axis]);
            let count = if count_include_pad { end - start } else { inside.len() };
            Window { inside, count }
        };
        (0..output[axis]).map(window).collect()
    };
    Ok(Windows { rows: axis_windows(0), columns: axis_windows(1), input, divisor })
}

/// Applies adaptive average pooling: the output has the given size, and the sizes of the windows follow from it, as in
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
/// use sconce_kernels::adaptive_avg_pool2d;
///
/// # fn main() -> Result<()> {
/// // Global average pooling.
/// let x = Tensor::ones((2, 3, 7, 7), candle_core::DType::F32, &Device::Cpu)?;
/// let y = adaptive_avg_pool2d(&x, [Some(1), Some(1)])?;
/// assert_eq!(y.dims(), [2, 3, 1, 1]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_avg_pool2d(x: &Tensor, size: [Option<usize>; 2]) -> Result<Tensor> {
    const NAME: &str = "adaptive_avg_pool2d";
    let input = input_size(NAME, x)?;
    let output = adaptive_size(NAME, x.dims(), input, size)?;
    if runs_on(x.device()) {
        return cuda::pool(x, [input, output], None, Reduction::Average(Divisor::Elements));
    }
    check_memory(NAME, x.dims(), output)?;
    average(x, adaptive_windows(input, output))
}

/// Returns the windows of adaptive average pooling.
pub(crate) fn adaptive_windows(input: [usize; 2], output: [usize; 2]) -> Windows {
    let [rows, columns] = [0, 1].map(|axis| -> Vec<Window> {
        adaptive_ranges(input[axis], output[axis])
            .map(|inside| Window { count: inside.len(), inside })
            .collect()
    });
    Windows { rows, columns, input, divisor: None }
}

/// The window of one output along one axis.
pub(crate) struct Window {
    /// The input positions in the window.
    pub inside: Range<usize>,
    /// The number of positions that the divisor counts: those in the input and, if the padding counts,
    /// those in the padding.
    pub count: usize,
}

/// The windows of all output rows and columns.
pub(crate) struct Windows {
    pub rows: Vec<Window>,
    pub columns: Vec<Window>,
    /// The `[height, width]` of the input.
    pub input: [usize; 2],
    /// The divisor of all windows. `None` divides by the number of positions that count.
    pub divisor: Option<usize>,
}

impl Windows {
    /// Returns the `[height, width]` of the output.
    pub fn output(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    /// Returns average pooling over these windows as a linear map.
    fn to_map(&self) -> SeparableMap {
        let axis = |windows: &[Window], sources: usize| {
            let ranges = windows.iter().map(|window| window.inside.clone()).collect();
            AxisMap { sources, ranges, weights: None }
        };
        let counts = |windows: &[Window]| windows.iter().map(|window| window.count).collect();
        let divisors = match self.divisor {
            Some(divisor) => {
                let (rows, columns) = (vec![divisor; self.rows.len()], vec![1; self.columns.len()]);
                Divisors { frames: vec![1], rows, columns }
            }
            None => Divisors { frames: vec![1], rows: counts(&self.rows), columns: counts(&self.columns) },
        };
        SeparableMap {
            frames: None,
            rows: axis(&self.rows, self.input[0]),
            columns: axis(&self.columns, self.input[1]),
            source_divisors: None,
            target_divisors: Some(divisors),
        }
    }

    /// Returns average pooling of videos as a linear map. `depth` has the windows of frames as those of rows.
    fn to_video_map(&self, depth: &Self) -> SeparableMap {
        let (frame, depth) = (self.to_map(), depth.to_map());
        let divisors = frame.target_divisors.zip(depth.target_divisors);
        let target_divisors = divisors.map(|(frame, depth)| Divisors { frames: depth.rows, ..frame });
        SeparableMap { frames: Some(depth.rows), target_divisors, ..frame }
    }

    /// Returns the divisor of the sum of one window.
    #[inline(always)]
    pub fn divisor(&self, row: &Window, column: &Window) -> usize {
        self.divisor.unwrap_or(row.count * column.count)
    }
}

fn average(x: &Tensor, windows: Windows) -> Result<Tensor> {
    if has_cpu_kernels(x) {
        relay::apply([&x.contiguous()?], AveragePool(windows.to_map()))
    } else {
        composed::average(x, &windows)
    }
}

/// Returns the mean of each window of `[.., depth, height, width]` on the CPU.
///
/// - `frame`: the windows of the planes `[height, width]`
/// - `depth`: the windows of the planes `[depth, pixels]`, of one pixel each
pub(super) fn average_videos(x: &Tensor, frame: &Windows, depth: &Windows) -> Result<Tensor> {
    relay::apply([&x.contiguous()?], AveragePool(frame.to_video_map(depth)))
}

/// Average pooling as a linear map.
struct AveragePool(SeparableMap);

impl Operation<1> for AveragePool {
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
