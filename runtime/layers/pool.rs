//! Pooling over windows of a sequence or an image.

use super::{own_config, stateless};
use crate::Result;
use crate::display::python_bool;
use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::pool::{self, PoolGeometry};
use crate::module::{Forward, Mode};
use crate::ops::Pair;
use crate::signal::{Layout, Signal};

/// The largest value of each window of `[batch, channels, length]`.
///
/// `MaxPool1d::config(kernel_size)` with the setters `stride` (the kernel size), `padding`, `dilation`
/// and `ceil_mode`. `max_pool1d(x, 2)` is the same as a function. An input `[channels, length]` stands for
/// a batch of one.
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
#[derive(Clone, Copy, Debug)]
pub struct MaxPool1d {
    geometry: PoolGeometry<1>,
}

/// The largest value of each window of `[batch, channels, height, width]`.
///
/// `MaxPool2d::config(kernel_size)` with the setters `stride` (the kernel size), `padding`, `dilation`
/// and `ceil_mode`. `max_pool2d(x, 2)` is the same as a function. An input `[channels, height, width]`
/// stands for a batch of one.
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
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d {
    geometry: PoolGeometry,
}

/// The average of each window of `[batch, channels, length]`.
///
/// `AvgPool1d::config(kernel_size)` with the setters `stride` (the kernel size), `padding`, `ceil_mode` and
/// `count_include_pad`. `avg_pool1d(x, 2)` is the same as a function. An input `[channels, length]` stands
/// for a batch of one.
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
#[derive(Clone, Copy, Debug)]
pub struct AvgPool1d {
    geometry: PoolGeometry<1>,
    count_include_pad: bool,
}

/// The average of each window of `[batch, channels, height, width]`.
///
/// `AvgPool2d::config(kernel_size)` with the setters `stride` (the kernel size), `padding`, `ceil_mode`,
/// `count_include_pad` and `divisor_override`. `avg_pool2d(x, 2)` is the same as a function. An input
/// `[channels, height, width]` stands for a batch of one.
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
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2d {
    geometry: PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<usize>,
}

/// What every pooling layer has: its windows, of sizes given as `$argument`.
macro_rules! windows {
    ($($layer:ident($argument:ty => $sizes:expr) { $($field:ident: $default:expr),* })*) => {$(
        impl $layer {
            pub fn config(kernel_size: $argument) -> Self {
                Self { geometry: PoolGeometry::new($sizes(kernel_size)), $($field: $default),* }
            }

            pub fn stride(mut self, stride: $argument) -> Self {
                self.geometry.stride = $sizes(stride);
                self
            }

            /// What surrounds the input on each side, at most half the kernel: for a maximum −∞, for an
            /// average zeros.
            pub fn padding(mut self, padding: $argument) -> Self {
                self.geometry.padding = $sizes(padding);
                self
            }

            /// Rounds the output's size up, so that a last, partial window counts.
            pub fn ceil_mode(mut self, ceil: bool) -> Self {
                self.geometry.ceil_mode = ceil;
                self
            }

            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        own_config!($layer);
    )*};
}

fn one(size: usize) -> [usize; 1] {
    [size]
}

fn two(sizes: impl Into<Pair>) -> [usize; 2] {
    sizes.into().0
}

windows! {
    MaxPool1d(usize => one) {}
    MaxPool2d(impl Into<Pair> => two) {}
    AvgPool1d(usize => one) { count_include_pad: true }
    AvgPool2d(impl Into<Pair> => two) { count_include_pad: true, divisor_override: None }
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

impl MaxPool1d {
    /// From one element of a window to the next.
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.geometry.dilation = [dilation];
        self
    }
}

impl MaxPool2d {
    /// From one element of a window to the next.
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.geometry.dilation = two(dilation);
        self
    }
}

impl AvgPool1d {
    /// Whether the padding's zeros count in the average.
    pub fn count_include_pad(mut self, count: bool) -> Self {
        self.count_include_pad = count;
        self
    }
}

impl AvgPool2d {
    /// Whether the padding's zeros count in the average.
    pub fn count_include_pad(mut self, count: bool) -> Self {
        self.count_include_pad = count;
        self
    }

    /// Divides every window's sum by this instead of the number of its elements.
    pub fn divisor_override(mut self, divisor: impl Into<Option<usize>>) -> Self {
        self.divisor_override = divisor.into();
        self
    }
}

/// The window as PyTorch prints it: one number where all axes agree.
fn shown<const AXES: usize>(sizes: [usize; AXES]) -> String {
    let same = sizes.windows(2).all(|pair| pair[0] == pair[1]);
    let sizes = sizes.map(|size| size.to_string());
    if same { sizes[0].clone() } else { format!("({})", sizes.join(", ")) }
}

fn max_text<const AXES: usize>(geometry: &PoolGeometry<AXES>) -> String {
    let PoolGeometry { kernel, stride, padding, dilation, ceil_mode } = *geometry;
    let (kernel, stride, padding) = (shown(kernel), shown(stride), shown(padding));
    let (dilation, ceil) = (shown(dilation), python_bool(ceil_mode));
    format!("kernel_size={kernel}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={ceil}")
}

stateless!(MaxPool1d, "MaxPool1d", |this| max_text(&this.geometry));

stateless!(MaxPool2d, "MaxPool2d", |this| max_text(&this.geometry));

stateless!(AvgPool1d, "AvgPool1d", |this| {
    let PoolGeometry { kernel: [kernel], stride: [stride], padding: [padding], .. } = this.geometry;
    format!("kernel_size=({kernel},), stride=({stride},), padding=({padding},)")
});

stateless!(AvgPool2d, "AvgPool2d", |this| {
    let PoolGeometry { kernel, stride, padding, .. } = this.geometry;
    format!("kernel_size={}, stride={}, padding={}", shown(kernel), shown(stride), shown(padding))
});

impl Forward for MaxPool1d {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        x.apply("max_pool1d", |x| pool::max_pool1d(&x, &self.geometry))
    }
}

impl Forward for MaxPool2d {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        let on_image = |x: &Image| blocked::max_pool2d(x, &self.geometry);
        x.fuse_max_pool(self.geometry).or_run(|x, geometry| {
            x.apply_either("max_pool2d", Layout::Nchwc, on_image, |x| pool::max_pool2d(&x, &geometry))
        })
    }
}

impl Forward for AvgPool1d {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        x.apply("avg_pool1d", |x| pool::avg_pool1d(&x, &self.geometry, self.count_include_pad))
    }
}

impl Forward for AvgPool2d {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        let Self { geometry, count_include_pad, divisor_override } = self;
        x.apply_either(
            "avg_pool2d",
            Layout::Nchwc,
            |x| blocked::avg_pool2d(x, geometry, *count_include_pad, *divisor_override),
            |x| pool::avg_pool2d(&x, geometry, *count_include_pad, *divisor_override),
        )
    }
}
