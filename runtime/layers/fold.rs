//! The layers `Unfold` and `Fold`.

use crate::Result;
use crate::graph::Op;
use crate::kernels::fold::{self, WindowGeometry};
use crate::module::{Forward, Mode};
use crate::ops::Pair;
use crate::signal::{OptionalBatch, Signal};

use super::pool::format_sizes;
use super::{self_config, stateless};

/// Returns the windows of images as columns (im2col).
///
/// - Config: `Unfold::config(kernel_size)`; setters `dilation` (1), `padding` (0), `stride` (1)
/// - Input: `[batch, channels, height, width]` or `[channels, height, width]`
/// - Output: `[batch, channels · kernel_height · kernel_width, windows]`; the windows are in row-major order
/// - Fails if `kernel_size`, `dilation` or `stride` is 0, or if the input has the wrong rank or no pixels, or with its
///   padding is smaller than a window
///
/// Sizes are one number for both axes, or `(height, width)`. The corresponding function is
/// [`unfold`](crate::functional::unfold).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((8, 3, 10, 12), DType::F32, &Device::Cpu)?;
/// let columns = Unfold::config((2, 3)).call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(columns.dims(), [8, 18, 90]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Unfold {
    geometry: WindowGeometry,
}

/// Adds columns to the windows of images (col2im). Where windows overlap, their elements are added.
///
/// - Config: `Fold::config(output_size, kernel_size)`; setters `dilation` (1), `padding` (0), `stride` (1)
/// - Input: `[batch, channels · kernel_height · kernel_width, windows]`, or the same without `batch`
/// - Output: `[batch, channels, height, width]` with `output_size = (height, width)`
/// - Fails if `kernel_size`, `dilation` or `stride` is 0, if the output is smaller than a window, or if the input has
///   the wrong rank, another number of windows, or a number of rows that is not a multiple of the size of a window
///
/// Sizes are one number for both axes, or `(height, width)`. The corresponding function is
/// [`fold`](crate::functional::fold).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((1, 4, 2), DType::F32, &Device::Cpu)?;
/// let y = Fold::config((2, 3), 2).call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 2., 1., 1., 2., 1.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Fold {
    output_size: [usize; 2],
    geometry: WindowGeometry,
}

impl Unfold {
    /// Creates the layer with PyTorch's defaults.
    pub fn config(kernel_size: impl Into<Pair>) -> Self {
        Self { geometry: WindowGeometry::new(kernel_size.into().0) }
    }
}

impl Fold {
    /// Creates the layer with PyTorch's defaults.
    pub fn config(output_size: impl Into<Pair>, kernel_size: impl Into<Pair>) -> Self {
        Self { output_size: output_size.into().0, geometry: WindowGeometry::new(kernel_size.into().0) }
    }
}

/// Defines the setters of the windows, which both layers have.
macro_rules! windows {
    ($($layer:ident)*) => {$(
        impl $layer {
            /// Sets the distance between neighboring elements of a window. Default: 1.
            pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
                self.geometry.dilation = dilation.into().0;
                self
            }

            /// Sets the number of zeros on each side of the image. Default: 0.
            pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
                self.geometry.padding = padding.into().0;
                self
            }

            /// Sets the distance between neighboring windows. Default: 1.
            pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
                self.geometry.stride = stride.into().0;
                self
            }

            // `self_config!` calls this method. The function checks the settings on each call.
            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        self_config!($layer);
    )*};
}

windows! { Unfold Fold }

impl<T: Into<Pair>> From<T> for Unfold {
    fn from(kernel_size: T) -> Self {
        Self::config(kernel_size)
    }
}

fn extra(geometry: &WindowGeometry) -> String {
    let WindowGeometry { kernel, stride, padding, dilation } = geometry;
    let [kernel, dilation, padding, stride] =
        [kernel, dilation, padding, stride].map(|sizes| format_sizes(*sizes));
    format!("kernel_size={kernel}, dilation={dilation}, padding={padding}, stride={stride}")
}

stateless!(Unfold, "Unfold", |this| extra(&this.geometry));
stateless!(Fold, "Fold", |this| {
    format!("output_size={}, {}", format_sizes(this.output_size), extra(&this.geometry))
});

impl Forward for Unfold {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        x.apply(("unfold", Op::Unfold(self.geometry)), OptionalBatch(4), |x| fold::unfold(&x, self.geometry))
    }
}

impl Forward for Fold {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        x.apply(("fold", Op::Fold(self.geometry)), OptionalBatch(3), |x| {
            fold::fold(&x, self.output_size, self.geometry)
        })
    }
}
