//! Windows of images as the columns of a matrix ([`unfold`]), and the sum of such columns ([`fold`]).

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::{Element, elements, in_f32, with_element, with_elements};
use crate::memory::can_allocate;
use crate::operation::{CpuOperand, Operation};
use crate::planes::{fits, map_planes};
use crate::relay::{self, reshape};

/// The settings of the windows of an image, per axis `[height, width]`.
///
/// ```
/// use sconce_kernels::WindowGeometry;
///
/// let geometry = WindowGeometry { padding: [1, 1], ..WindowGeometry::new([3, 3]) };
/// assert_eq!(geometry.count([32, 48]), Some([32, 48]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowGeometry {
    /// The size of a window.
    pub kernel: [usize; 2],
    /// The distance between neighboring windows.
    pub stride: [usize; 2],
    /// Zeros on both sides of the image.
    pub padding: [usize; 2],
    /// The distance between neighboring elements of a window.
    pub dilation: [usize; 2],
}

impl WindowGeometry {
    /// Returns a geometry with stride 1, without padding, and with dilation 1.
    pub const fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1; 2], padding: [0; 2], dilation: [1; 2] }
    }

    /// Returns the number of windows along each axis of an image of the given size, or `None` if a kernel size, stride
    /// or dilation is 0, or if the padded image is smaller than a window.
    pub fn count(&self, image: [usize; 2]) -> Option<[usize; 2]> {
        let axis = |i: usize| {
            let extent = self.dilation[i].checked_mul(self.kernel[i].checked_sub(1)?)?.checked_add(1)?;
            let padded = image[i].checked_add(self.padding[i].checked_mul(2)?)?;
            let free = padded.checked_sub(extent).filter(|_| self.dilation[i] > 0)?;
            Some(free.checked_div(self.stride[i])? + 1)
        };
        Some([axis(0)?, axis(1)?])
    }

    /// Returns the number of elements of a window.
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}

/// Returns the windows of images as columns.
///
/// - `x`: `[batch, channels, height, width]` or `[channels, height, width]`
/// - returns `[batch, channels · kernel_height · kernel_width, windows]`, or the same without `batch`; the windows are
///   in row-major order
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`; the gradient is the [`fold`] of the output's gradient.
///
/// # Errors
/// Fails if `x` has a rank other than 3 or 4, if its height or width is 0, if a kernel size, stride or dilation is 0,
/// if the padded image is smaller than a window, or if the output does not fit in memory.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{WindowGeometry, unfold};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 2., 3.], [4., 5., 6.]]], &Device::Cpu)?;
/// let columns = unfold(&x, WindowGeometry::new([2, 2]))?;
/// assert_eq!(columns.t()?.to_vec2::<f32>()?, [[1., 2., 4., 5.], [2., 3., 5., 6.]]);
/// # Ok(())
/// # }
/// ```
pub fn unfold(x: &Tensor, geometry: WindowGeometry) -> Result<Tensor> {
    let (batch, channels, image) = match *x.dims() {
        [batch, channels, height, width] => (Some(batch), channels, [height, width]),
        [channels, height, width] => (None, channels, [height, width]),
        ref dims => bail!(
            "unfold: expected an input [batch, channels, height, width] or [channels, height, width], found {dims:?}"
        ),
    };
    let windows = Windows::new("unfold", image, geometry)?;
    let rows = channels.saturating_mul(geometry.taps());
    check_memory("unfold", &[batch.unwrap_or(1), rows, windows.columns()])?;
    let dims: Vec<usize> = batch.into_iter().chain([rows, windows.columns()]).collect();
    if has_cpu_kernels(x) {
        Ok(reshape(&run(x, windows, Direction::Unfold)?, dims)?.into_tensor())
    } else {
        windows.unfold_composed(x)?.reshape(dims)
    }
}

/// Sums columns into images. This is the adjoint of [`unfold`]: each element of an image is the sum of the elements of
/// the columns that belong to its position.
///
/// - `x`: `[batch, channels · kernel_height · kernel_width, windows]`, or the same without `batch`
/// - `image`: the `[height, width]` of the output
/// - returns `[batch, channels, height, width]` or `[channels, height, width]`
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`; the gradient is the [`unfold`] of the output's gradient.
///
/// # Errors
/// Fails if `x` has another rank, if its number of rows is not a multiple of the size of a window, if its number of
/// columns is not the number of windows of the image, if the settings are invalid as in [`unfold`], or if the output
/// does not fit in memory.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::{WindowGeometry, fold};
///
/// # fn main() -> Result<()> {
/// let ones = Tensor::ones((4, 2), DType::F32, &Device::Cpu)?;
/// let counts = fold(&ones, [2, 3], WindowGeometry::new([2, 2]))?;
/// assert_eq!(counts.to_vec3::<f32>()?, [[[1., 2., 1.], [1., 2., 1.]]]);
/// # Ok(())
/// # }
/// ```
pub fn fold(x: &Tensor, image: [usize; 2], geometry: WindowGeometry) -> Result<Tensor> {
    let (batch, rows, columns) = match *x.dims() {
        [batch, rows, columns] => (Some(batch), rows, columns),
        [rows, columns] => (None, rows, columns),
        ref dims => {
            bail!("fold: expected an input [batch, rows, windows] or [rows, windows], found {dims:?}")
        }
    };
    let windows = Windows::new("fold", image, geometry)?;
    let taps = geometry.taps();
    if !rows.is_multiple_of(taps) || columns != windows.columns() {
        bail!(
            "fold: expected a multiple of {taps} rows and {} columns, one for each window of an image {image:?}, found \
             {rows} and {columns}",
            windows.columns()
        );
    }
    let channels = rows / taps;
    check_memory("fold", &[batch.unwrap_or(1), channels, image[0], image[1]])?;
    let dims: Vec<usize> = batch.into_iter().chain([channels, image[0], image[1]]).collect();
    if has_cpu_kernels(x) {
        Ok(reshape(&run(x, windows, Direction::Fold)?, dims)?.into_tensor())
    } else {
        windows.fold_composed(x)?.reshape(dims)
    }
}

fn run(x: &Tensor, windows: Windows, direction: Direction) -> Result<Tensor> {
    in_f32(x, |x| relay::apply([&x.contiguous()?], WindowOperation { windows, direction }))
}

fn check_memory(name: &str, dims: &[usize]) -> Result<()> {
    if fits(dims) && can_allocate::<f64>(dims) {
        Ok(())
    } else {
        bail!("{name}: not enough memory for an output of {dims:?}")
    }
}

/// The windows of an image of a known size.
#[derive(Clone, Copy)]
struct Windows {
    geometry: WindowGeometry,
    image: [usize; 2],
    /// The number of windows along each axis.
    count: [usize; 2],
}

impl Windows {
    fn new(name: &str, image: [usize; 2], geometry: WindowGeometry) -> Result<Self> {
        let WindowGeometry { kernel, stride, dilation, padding } = geometry;
        for (setting, sizes) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
            if sizes.contains(&0) {
                bail!("{name}: expected a {setting} of 1 or more on each axis, found {sizes:?}");
            }
        }
        if image.contains(&0) {
            bail!("{name}: expected an image with at least one pixel, found the size {image:?}");
        }
        let Some(count) = geometry.count(image) else {
            bail!(
                "{name}: expected a padded image of at least one window, found the size {image:?}, the padding \
                 {padding:?}, the kernel {kernel:?} and the dilation {dilation:?}"
            );
        };
        // The numbers of elements of a plane before and after the operation, which must not overflow.
        let sizes = [&image[..], &[kernel[0], kernel[1], count[0], count[1]]];
        if !sizes.iter().all(|sizes| fits(sizes)) {
            bail!("{name}: {count:?} windows of {kernel:?} elements of an image {image:?} are too large");
        }
        Ok(Self { geometry, image, count })
    }

    fn columns(&self) -> usize {
        self.count[0] * self.count[1]
    }

    /// Returns the number of elements of an image plane, and of the rows that its windows become.
    fn plane_lens(&self) -> (usize, usize) {
        (self.image[0] * self.image[1], self.geometry.taps() * self.columns())
    }

    /// Returns the windows along `axis` whose element `tap` is inside of the image, and the position of this element in
    /// the first of them. From one window to the next, the position grows by the stride.
    fn inside(&self, axis: usize, tap: usize) -> (Range<usize>, usize) {
        let stride = self.geometry.stride[axis];
        let at = tap * self.geometry.dilation[axis];
        let padding = self.geometry.padding[axis];
        let start = padding.saturating_sub(at).div_ceil(stride);
        let end = (self.image[axis] + padding).saturating_sub(at).div_ceil(stride).min(self.count[axis]);
        if start >= end {
            return (0..0, 0);
        }
        (start..end, start * stride + at - padding)
    }

    /// Calls `visit` with each run of columns whose elements are in one row of the image: with the positions of the run
    /// in the rows of a plane, and with the index of its first element in the image. The runs are not empty.
    fn for_each_run(&self, mut visit: impl FnMut(Range<usize>, usize)) {
        let [kernel_height, kernel_width] = self.geometry.kernel;
        let mut tap_start = 0;
        for tap_y in 0..kernel_height {
            let (rows, first_y) = self.inside(0, tap_y);
            for tap_x in 0..kernel_width {
                let (columns, first_x) = self.inside(1, tap_x);
                let rows = if columns.is_empty() { 0..0 } else { rows.clone() };
                for (step, row) in rows.enumerate() {
                    let y = first_y + step * self.geometry.stride[0];
                    let start = tap_start + row * self.count[1];
                    visit(start + columns.start..start + columns.end, y * self.image[1] + first_x);
                }
                tap_start += self.columns();
            }
        }
    }

    /// Copies the windows of a plane to its rows, which are filled with zeros.
    fn unfold<E: Element>(&self, image: &[E], rows: &mut [E]) {
        let stride = self.geometry.stride[1];
        self.for_each_run(|run, first| {
            let run = &mut rows[run];
            if stride == 1 {
                run.copy_from_slice(&image[first..][..run.len()]);
            } else {
                run.iter_mut().zip(image[first..].iter().step_by(stride)).for_each(|(y, x)| *y = *x);
            }
        });
    }

    /// Adds the rows of a plane to its windows.
    fn fold<E: Element>(&self, rows: &[E], image: &mut [E]) {
        let stride = self.geometry.stride[1];
        self.for_each_run(|run, first| {
            image[first..].iter_mut().step_by(stride).zip(&rows[run]).for_each(|(y, x)| *y += *x);
        });
    }

    fn unfold_planes<E: Element>(&self, x: &[E]) -> Vec<E> {
        let (image, rows) = self.plane_lens();
        map_planes(x, image, rows, |_, x, y| {
            x.chunks_exact(image).zip(y.chunks_exact_mut(rows)).for_each(|(x, y)| self.unfold(x, y));
        })
    }

    fn fold_planes<E: Element>(&self, x: &[E]) -> Vec<E> {
        let (image, rows) = self.plane_lens();
        map_planes(x, rows, image, |_, x, y| {
            x.chunks_exact(rows).zip(y.chunks_exact_mut(image)).for_each(|(x, y)| self.fold(x, y));
        })
    }

    /// Returns the position, in the padded image, of each element of the windows along `axis`, element by element.
    fn positions(&self, axis: usize, like: &Tensor) -> Result<Tensor> {
        let WindowGeometry { kernel, stride, dilation, .. } = self.geometry;
        let position = |tap: usize, window: usize| (tap * dilation[axis] + window * stride[axis]) as u32;
        let taps = (0..kernel[axis]).flat_map(|tap| (0..self.count[axis]).map(move |i| position(tap, i)));
        Tensor::from_iter(taps.collect::<Vec<_>>(), like.device())
    }

    /// The composed path of [`unfold`]. Returns `[planes, kernel height, kernel width, rows, columns]`.
    fn unfold_composed(&self, x: &Tensor) -> Result<Tensor> {
        let [height, width] = self.image;
        let [pad_y, pad_x] = self.geometry.padding;
        let planes = x.elem_count() / (height * width);
        let x = x
            .reshape((planes, height, width))?
            .pad_with_zeros(1, pad_y, pad_y)?
            .pad_with_zeros(2, pad_x, pad_x)?;
        let x = x.contiguous()?.index_select(&self.positions(0, &x)?, 1)?;
        let x = x.contiguous()?.index_select(&self.positions(1, &x)?, 2)?;
        let [kernel_height, kernel_width] = self.geometry.kernel;
        let [rows, columns] = self.count;
        x.reshape((planes, kernel_height, rows, kernel_width, columns))?
            .permute((0, 1, 3, 2, 4))?
            .contiguous()
    }

    /// The composed path of [`fold`]. Returns `[planes, height, width]`.
    fn fold_composed(&self, x: &Tensor) -> Result<Tensor> {
        let [height, width] = self.image;
        let [pad_y, pad_x] = self.geometry.padding;
        let [kernel_height, kernel_width] = self.geometry.kernel;
        let [rows, columns] = self.count;
        let planes = x.elem_count() / self.plane_lens().1;
        let x = x.reshape((planes, kernel_height, kernel_width, rows, columns))?.permute((0, 1, 3, 2, 4))?;
        let x = x.reshape((planes, kernel_height * rows, kernel_width * columns))?;
        let zeros =
            |height: usize, width: usize| Tensor::zeros((planes, height, width), x.dtype(), x.device());
        let lines =
            zeros(kernel_height * rows, width + 2 * pad_x)?.index_add(&self.positions(1, &x)?, &x, 2)?;
        let padded =
            zeros(height + 2 * pad_y, width + 2 * pad_x)?.index_add(&self.positions(0, &x)?, &lines, 1)?;
        padded.narrow(1, pad_y, height)?.narrow(2, pad_x, width)?.contiguous()
    }
}

/// The two operations on windows. Each computes the gradient of the other.
#[derive(Clone, Copy)]
enum Direction {
    Unfold,
    Fold,
}

/// The operation on the windows of all planes, a node of candle's graph.
struct WindowOperation {
    windows: Windows,
    direction: Direction,
}

impl WindowOperation {
    fn run<E: Element>(&self, direction: Direction, x: &[E]) -> Vec<E> {
        match direction {
            Direction::Unfold => self.windows.unfold_planes(x),
            Direction::Fold => self.windows.fold_planes(x),
        }
    }

    /// Returns the shape of an output plane.
    fn plane(&self) -> [usize; 2] {
        match self.direction {
            Direction::Unfold => [self.windows.geometry.taps(), self.windows.columns()],
            Direction::Fold => self.windows.image,
        }
    }
}

impl Operation<1> for WindowOperation {
    fn name(&self) -> &'static str {
        match self.direction {
            Direction::Unfold => "unfold",
            Direction::Fold => "fold",
        }
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        with_element!(self.name(), x.dtype(), E => {
            let y = self.run(self.direction, elements::<E>(x, layout)?);
            let [rows, columns] = self.plane();
            let planes = y.len() / (rows * columns);
            Ok((E::to_cpu_storage_owned(y), Shape::from((planes, rows, columns))))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let opposite = match self.direction {
            Direction::Unfold => Direction::Fold,
            Direction::Fold => Direction::Unfold,
        };
        with_element!(self.name(), x.dtype(), E => {
            let dx = with_elements::<E, _>(grad, |grad| self.run(opposite, grad))?;
            Tensor::from_vec(dx, x.shape(), x.device()).map(|dx| [Some(dx)])
        })
    }
}
