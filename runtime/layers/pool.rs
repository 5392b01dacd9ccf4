//! Max and average pooling.

use crate::Result;
use crate::display::python_bool;
use crate::graph::Op;
use crate::kernels::internal::Axes;
use crate::kernels::internal::blocked::{self, BlockedTensor};
use crate::kernels::pool::{self, PoolGeometry};
use crate::module::{Forward, Mode};
use crate::ops::{Pair, Triple};
use crate::signal::{Layout, OptionalBatch, Recording, Signal};

use super::{self_config, stateless};

/// Returns the maximum of each window of a sequence.
///
/// - Config: `MaxPool1d::config(kernel_size)`; setters `stride` (`kernel_size`), `padding` (0), `dilation` (1),
///   `ceil_mode` (false)
/// - Input: `[batch, channels, length]` or `[channels, length]`
/// - Output: `[batch, channels, length']`
/// - Fails if `kernel_size`, `stride` or `dilation` is 0, if the padding is more than half the kernel size, or if the
///   input has the wrong rank or is smaller than the kernel
///
/// The corresponding function is [`max_pool1d`](crate::functional::max_pool1d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let pool = MaxPool1d::config(3).stride(2).padding(1).init(&Device::Cpu)?;
/// let x = Tensor::zeros((8, 4, 31), DType::F32, &Device::Cpu)?;
/// assert_eq!(pool.call(x.into(), Mode::Eval).into_tensor()?.dims(), [8, 4, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct MaxPool1d {
    geometry: PoolGeometry<1>,
}

/// Returns the maximum of each window of an image.
///
/// - Config: `MaxPool2d::config(kernel_size)`; setters `stride` (`kernel_size`), `padding` (0), `dilation` (1),
///   `ceil_mode` (false)
/// - Input: `[batch, channels, height, width]` or `[channels, height, width]`
/// - Output: `[batch, channels, height', width']`
/// - Fails if `kernel_size`, `stride` or `dilation` is 0, if the padding is more than half the kernel size, or if the
///   input has the wrong rank or is smaller than the kernel
///
/// Sizes are one number for both axes, or `(height, width)`. The corresponding function is
/// [`max_pool2d`](crate::functional::max_pool2d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let pool = MaxPool2d::config((3, 2)).stride(2).padding((1, 0)).init(&Device::Cpu)?;
/// let x = Tensor::zeros((8, 4, 31, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(pool.call(x.into(), Mode::Eval).into_tensor()?.dims(), [8, 4, 16, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct MaxPool2d {
    geometry: PoolGeometry,
}

/// Returns the maximum of each window of a video.
///
/// - Config: `MaxPool3d::config(kernel_size)`; setters `stride` (`kernel_size`), `padding` (0), `dilation` (1),
///   `ceil_mode` (false)
/// - Input: `[batch, channels, depth, height, width]` or `[channels, depth, height, width]`
/// - Output: `[batch, channels, depth', height', width']`
/// - Fails if `kernel_size`, `stride` or `dilation` is 0, if the padding is more than half the kernel size, or if the
///   input has the wrong rank or is smaller than the kernel
///
/// Sizes are one number for all axes, or `(depth, height, width)`. The corresponding function is
/// [`max_pool3d`](crate::functional::max_pool3d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let pool = MaxPool3d::config((1, 3, 2)).stride((1, 2, 2)).padding((0, 1, 0)).init(&Device::Cpu)?;
/// let x = Tensor::zeros((2, 4, 8, 31, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(pool.call(x.into(), Mode::Eval).into_tensor()?.dims(), [2, 4, 8, 16, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct MaxPool3d {
    geometry: PoolGeometry<3>,
}

/// Returns the average of each window of a sequence.
///
/// - Config: `AvgPool1d::config(kernel_size)`; setters `stride` (`kernel_size`), `padding` (0), `ceil_mode` (false),
///   `count_include_pad` (true)
/// - Input: `[batch, channels, length]` or `[channels, length]`
/// - Output: `[batch, channels, length']`
/// - Fails if `kernel_size` or `stride` is 0, if the padding is more than half the kernel size, or if the input has
///   the wrong rank or is smaller than the kernel
///
/// The corresponding function is [`avg_pool1d`](crate::functional::avg_pool1d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 3., 5., 7., 9.]]], &Device::Cpu)?;
/// let y = avg_pool1d(x, AvgPool1d::config(2).ceil_mode(true)).into_tensor()?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2., 6., 9.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct AvgPool1d {
    geometry: PoolGeometry<1>,
    count_include_pad: bool,
}

/// Returns the average of each window of an image.
///
/// - Config: `AvgPool2d::config(kernel_size)`; setters `stride` (`kernel_size`), `padding` (0), `ceil_mode` (false),
///   `count_include_pad` (true), `divisor_override` (`None`)
/// - Input: `[batch, channels, height, width]` or `[channels, height, width]`
/// - Output: `[batch, channels, height', width']`
/// - Fails if `kernel_size`, `stride` or `divisor_override` is 0, if the padding is more than half the kernel size, or
///   if the input has the wrong rank or is smaller than the kernel
///
/// Sizes are one number for both axes, or `(height, width)`. The corresponding function is
/// [`avg_pool2d`](crate::functional::avg_pool2d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let pool = AvgPool2d::config(3).stride(1).padding(1).init(&Device::Cpu)?;
/// let x = Tensor::zeros((8, 4, 31, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(pool.call(x.into(), Mode::Eval).into_tensor()?.dims(), [8, 4, 31, 32]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct AvgPool2d {
    geometry: PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<usize>,
}

/// Returns the average of each window of a video.
///
/// - Config: `AvgPool3d::config(kernel_size)`; setters `stride` (`kernel_size`), `padding` (0), `ceil_mode` (false),
///   `count_include_pad` (true), `divisor_override` (`None`)
/// - Input: `[batch, channels, depth, height, width]` or `[channels, depth, height, width]`
/// - Output: `[batch, channels, depth', height', width']`
/// - Fails if `kernel_size`, `stride` or `divisor_override` is 0, if the padding is more than half the kernel size, or
///   if the input has the wrong rank or is smaller than the kernel
///
/// Sizes are one number for all axes, or `(depth, height, width)`. The corresponding function is
/// [`avg_pool3d`](crate::functional::avg_pool3d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let pool = AvgPool3d::config(3).stride(1).padding(1).init(&Device::Cpu)?;
/// let x = Tensor::zeros((2, 4, 8, 31, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(pool.call(x.into(), Mode::Eval).into_tensor()?.dims(), [2, 4, 8, 31, 32]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct AvgPool3d {
    geometry: PoolGeometry<3>,
    count_include_pad: bool,
    divisor_override: Option<usize>,
}

/// Implements `config` and the setters that all pooling layers share, with sizes of type `$argument`. The function
/// `$sizes` converts them to an array.
macro_rules! pool_layers {
    ($($layer:ident($argument:ty => $sizes:expr) { $($field:ident: $default:expr),* })*) => {$(
        impl $layer {
            /// Creates the layer with PyTorch's defaults.
            pub fn config(kernel_size: $argument) -> Self {
                Self { geometry: PoolGeometry::new($sizes(kernel_size)), $($field: $default),* }
            }

            /// Sets the step between windows.
            pub fn stride(mut self, stride: $argument) -> Self {
                self.geometry.stride = $sizes(stride);
                self
            }

            /// Sets the number of elements added on each side of each axis, at most half the kernel size. Max pooling
            /// adds −∞, average pooling adds zeros.
            pub fn padding(mut self, padding: $argument) -> Self {
                self.geometry.padding = $sizes(padding);
                self
            }

            /// Sets whether to round the output size up, so that the last, incomplete window is kept. Default: `false`.
            pub fn ceil_mode(mut self, ceil: bool) -> Self {
                self.geometry.ceil_mode = ceil;
                self
            }

            // `self_config!` calls this method. The pooling function checks the settings on each call.
            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        self_config!($layer);
    )*};
}

fn single(size: usize) -> [usize; 1] {
    [size]
}

fn pair(sizes: impl Into<Pair>) -> [usize; 2] {
    sizes.into().0
}

fn triple(sizes: impl Into<Triple>) -> [usize; 3] {
    sizes.into().0
}

pool_layers! {
    MaxPool1d(usize => single) {}
    MaxPool2d(impl Into<Pair> => pair) {}
    MaxPool3d(impl Into<Triple> => triple) {}
    AvgPool1d(usize => single) { count_include_pad: true }
    AvgPool2d(impl Into<Pair> => pair) { count_include_pad: true, divisor_override: None }
    AvgPool3d(impl Into<Triple> => triple) { count_include_pad: true, divisor_override: None }
}

impl From<usize> for MaxPool1d {
    fn from(kernel_size: usize) -> Self {
        Self::config(kernel_size)
    }
}

impl From<usize> for AvgPool1d {
    fn from(kernel_size: usize) -> Self {
        Self::config(kernel_size)
    }
}

impl<T: Into<Pair>> From<T> for MaxPool2d {
    fn from(kernel_size: T) -> Self {
        Self::config(kernel_size)
    }
}

impl<T: Into<Pair>> From<T> for AvgPool2d {
    fn from(kernel_size: T) -> Self {
        Self::config(kernel_size)
    }
}

impl<T: Into<Triple>> From<T> for MaxPool3d {
    fn from(kernel_size: T) -> Self {
        Self::config(kernel_size)
    }
}

impl<T: Into<Triple>> From<T> for AvgPool3d {
    fn from(kernel_size: T) -> Self {
        Self::config(kernel_size)
    }
}

impl MaxPool1d {
    /// Sets the step between the elements of a window.
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.geometry.dilation = [dilation];
        self
    }
}

impl MaxPool2d {
    /// Sets the step between the elements of a window.
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.geometry.dilation = pair(dilation);
        self
    }
}

impl MaxPool3d {
    /// Sets the step between the elements of a window.
    pub fn dilation(mut self, dilation: impl Into<Triple>) -> Self {
        self.geometry.dilation = triple(dilation);
        self
    }
}

impl AvgPool1d {
    /// Sets whether averages include the zeros of the padding. Default: `true`.
    pub fn count_include_pad(mut self, count: bool) -> Self {
        self.count_include_pad = count;
        self
    }
}

/// Implements the setters that the average pooling of images and videos shares.
macro_rules! average_setters {
    ($($layer:ident)*) => {$(
        impl $layer {
            /// Sets whether averages include the zeros of the padding. Default: `true`.
            pub fn count_include_pad(mut self, count: bool) -> Self {
                self.count_include_pad = count;
                self
            }

            /// Sets the number by which the sum of each window is divided. With `None`, it is the number of averaged
            /// elements.
            pub fn divisor_override(mut self, divisor: impl Into<Option<usize>>) -> Self {
                self.divisor_override = divisor.into();
                self
            }
        }
    )*};
}

average_setters! { AvgPool2d AvgPool3d }

/// Formats sizes like PyTorch: as one number if they are equal on all axes.
pub(super) fn format_sizes<const AXES: usize>(sizes: [usize; AXES]) -> String {
    let same = sizes.windows(2).all(|pair| pair[0] == pair[1]);
    let sizes = sizes.map(|size| size.to_string());
    if same { sizes[0].clone() } else { format!("({})", sizes.join(", ")) }
}

fn max_pool_extra<const AXES: usize>(geometry: &PoolGeometry<AXES>) -> String {
    let PoolGeometry { kernel, stride, padding, dilation, ceil_mode } = *geometry;
    let kernel = format_sizes(kernel);
    let stride = format_sizes(stride);
    let padding = format_sizes(padding);
    let dilation = format_sizes(dilation);
    let ceil = python_bool(ceil_mode);
    format!("kernel_size={kernel}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={ceil}")
}

stateless!(MaxPool1d, "MaxPool1d", |this| max_pool_extra(&this.geometry));

stateless!(MaxPool2d, "MaxPool2d", |this| max_pool_extra(&this.geometry));

stateless!(MaxPool3d, "MaxPool3d", |this| max_pool_extra(&this.geometry));

stateless!(AvgPool1d, "AvgPool1d", |this| {
    let PoolGeometry { kernel: [kernel], stride: [stride], padding: [padding], .. } = this.geometry;
    format!("kernel_size=({kernel},), stride=({stride},), padding=({padding},)")
});

fn avg_pool_extra<const AXES: usize>(geometry: &PoolGeometry<AXES>) -> String {
    let PoolGeometry { kernel, stride, padding, .. } = *geometry;
    let [kernel, stride, padding] = [kernel, stride, padding].map(format_sizes);
    format!("kernel_size={kernel}, stride={stride}, padding={padding}")
}

stateless!(AvgPool2d, "AvgPool2d", |this| avg_pool_extra(&this.geometry));

stateless!(AvgPool3d, "AvgPool3d", |this| avg_pool_extra(&this.geometry));

impl Forward for MaxPool1d {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        x.apply(("max_pool1d", max_pool(&self.geometry)), OptionalBatch(3), |x| {
            pool::max_pool1d(&x, &self.geometry)
        })
    }
}

impl Forward for MaxPool2d {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        let on_blocked = |x: &BlockedTensor| blocked::max_pool2d(x, &self.geometry);
        let recording = Recording::start(&x);
        let output = x.fuse_max_pool(self.geometry).or_run(|x, geometry| {
            x.apply_either("max_pool2d", Layout::Nchwc, OptionalBatch(4), on_blocked, |x| {
                pool::max_pool2d(&x, &geometry)
            })
        });
        recording.finish(output, ("max_pool2d", max_pool(&self.geometry)))
    }
}

impl Forward for MaxPool3d {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        x.apply(("max_pool3d", max_pool(&self.geometry)), OptionalBatch(5), |x| {
            pool::max_pool3d(&x, &self.geometry)
        })
    }
}

impl Forward for AvgPool1d {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        let op = avg_pool(&self.geometry, self.count_include_pad, None);
        x.apply(("avg_pool1d", op), OptionalBatch(3), |x| {
            pool::avg_pool1d(&x, &self.geometry, self.count_include_pad)
        })
    }
}

impl Forward for AvgPool2d {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        let Self { geometry, count_include_pad, divisor_override } = self;
        x.apply_either(
            ("avg_pool2d", avg_pool(geometry, *count_include_pad, *divisor_override)),
            Layout::Nchwc,
            OptionalBatch(4),
            |x| blocked::avg_pool2d(x, geometry, *count_include_pad, *divisor_override),
            |x| pool::avg_pool2d(&x, geometry, *count_include_pad, *divisor_override),
        )
    }
}

impl Forward for AvgPool3d {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        let Self { geometry, count_include_pad, divisor_override } = self;
        let op = avg_pool(geometry, *count_include_pad, *divisor_override);
        x.apply(("avg_pool3d", op), OptionalBatch(5), |x| {
            pool::avg_pool3d(&x, geometry, *count_include_pad, *divisor_override)
        })
    }
}

fn max_pool<const AXES: usize>(geometry: &PoolGeometry<AXES>) -> Op {
    let (axes, geometry) = video_geometry(geometry);
    Op::MaxPool { axes, geometry }
}

fn avg_pool<const AXES: usize>(
    geometry: &PoolGeometry<AXES>,
    count_include_pad: bool,
    divisor: Option<usize>,
) -> Op {
    let (axes, geometry) = video_geometry(geometry);
    Op::AvgPool { axes, geometry, count_include_pad, divisor }
}

/// Returns the axes of a window, and the geometry with which the same pooling runs on videos.
fn video_geometry<const AXES: usize>(geometry: &PoolGeometry<AXES>) -> (Axes, PoolGeometry<3>) {
    let video = |sizes: [usize; AXES], unused: usize| {
        let skipped = 3 - AXES;
        std::array::from_fn(|axis| axis.checked_sub(skipped).map_or(unused, |axis| sizes[axis]))
    };
    let PoolGeometry { kernel, stride, padding, dilation, ceil_mode } = *geometry;
    let axes = match AXES {
        1 => Axes::One,
        2 => Axes::Two,
        _ => Axes::Three,
    };
    let geometry = PoolGeometry {
        kernel: video(kernel, 1),
        stride: video(stride, 1),
        padding: video(padding, 0),
        dilation: video(dilation, 1),
        ceil_mode,
    };
    (axes, geometry)
}
