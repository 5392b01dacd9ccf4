//! Pooling over windows of the image.

use super::pair::Pair;
use super::{own_config, stateless};
use crate::Result;
use crate::display::python_bool;
use crate::functional;
use crate::kernels::pool::{self, PoolGeometry};
use crate::module::{Forward, Mode};
use crate::signal::Signal;

/// The largest value of each window of `[batch, channels, height, width]`.
///
/// `MaxPool2d::config(kernel_size)` with the setters `stride` (the kernel size), `padding`, `dilation`
/// and `ceil_mode`. `max_pool2d(x, 2)` is the same as a function.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d {
    geometry: PoolGeometry,
}

/// The average of each window of `[batch, channels, height, width]`.
///
/// `AvgPool2d::config(kernel_size)` with the setters `stride` (the kernel size), `padding`, `ceil_mode`,
/// `count_include_pad` and `divisor_override`. `avg_pool2d(x, 2)` is the same as a function.
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2d {
    geometry: PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<usize>,
}

fn geometry(kernel: Pair) -> PoolGeometry {
    let Pair(kernel) = kernel;
    PoolGeometry { kernel, stride: kernel, padding: [0; 2], dilation: [1; 2], ceil_mode: false }
}

impl MaxPool2d {
    pub fn config(kernel_size: impl Into<Pair>) -> Self {
        Self { geometry: geometry(kernel_size.into()) }
    }

    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.geometry.dilation = dilation.into().0;
        self
    }
}

impl AvgPool2d {
    pub fn config(kernel_size: impl Into<Pair>) -> Self {
        Self { geometry: geometry(kernel_size.into()), count_include_pad: true, divisor_override: None }
    }

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

macro_rules! window {
    ($($layer:ident)*) => {$(
        impl $layer {
            pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
                self.geometry.stride = stride.into().0;
                self
            }

            pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
                self.geometry.padding = padding.into().0;
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

        impl<T: Into<Pair>> From<T> for $layer {
            fn from(kernel_size: T) -> Self {
                Self::config(kernel_size)
            }
        }

        own_config!($layer);
    )*};
}

window! { MaxPool2d AvgPool2d }

/// The window as PyTorch prints it: one number where both axes agree.
fn shown([height, width]: [usize; 2]) -> String {
    if height == width { height.to_string() } else { format!("({height}, {width})") }
}

stateless!(MaxPool2d, "MaxPool2d", |this| {
    let PoolGeometry { kernel, stride, padding, dilation, ceil_mode } = this.geometry;
    let (kernel, stride, padding) = (shown(kernel), shown(stride), shown(padding));
    let (dilation, ceil) = (shown(dilation), python_bool(ceil_mode));
    format!("kernel_size={kernel}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={ceil}")
});

stateless!(AvgPool2d, "AvgPool2d", |this| {
    let PoolGeometry { kernel, stride, padding, .. } = this.geometry;
    format!("kernel_size={}, stride={}, padding={}", shown(kernel), shown(stride), shown(padding))
});

impl Forward for MaxPool2d {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        x.apply("max_pool2d", |x| pool::max_pool2d(&x, &self.geometry))
    }
}

impl Forward for AvgPool2d {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        x.apply("avg_pool2d", |x| {
            pool::avg_pool2d(&x, &self.geometry, self.count_include_pad, self.divisor_override)
        })
    }
}

/// Rows and columns of an adaptive pooling's output; `None` keeps the input's size of that axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputSize(pub [Option<usize>; 2]);

impl From<usize> for OutputSize {
    fn from(both: usize) -> Self {
        Self([Some(both); 2])
    }
}

impl From<(usize, usize)> for OutputSize {
    fn from((height, width): (usize, usize)) -> Self {
        Self([Some(height), Some(width)])
    }
}

impl From<(Option<usize>, Option<usize>)> for OutputSize {
    fn from((height, width): (Option<usize>, Option<usize>)) -> Self {
        Self([height, width])
    }
}

/// Averages `[batch, channels, height, width]` to a fixed height and width.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAvgPool2d {
    output_size: OutputSize,
}

impl AdaptiveAvgPool2d {
    pub fn config(output_size: impl Into<OutputSize>) -> Self {
        Self { output_size: output_size.into() }
    }

    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

stateless!(AdaptiveAvgPool2d, "AdaptiveAvgPool2d", |this| {
    let show = |size: Option<usize>| size.map_or("None".to_string(), |size| size.to_string());
    let OutputSize([height, width]) = this.output_size;
    match height == width {
        true => format!("output_size={}", show(height)),
        false => format!("output_size=({}, {})", show(height), show(width)),
    }
});
own_config!(AdaptiveAvgPool2d);

impl Forward for AdaptiveAvgPool2d {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        functional::adaptive_avg_pool2d(x, self.output_size)
    }
}
