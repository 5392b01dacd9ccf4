//! Adaptive pooling layers, whose output has a fixed size.

use crate::Result;
use crate::module::{Forward, Mode};
use crate::ops::{self, OutputSize};
use crate::signal::Signal;

use super::{self_config, stateless};

/// Defines layers whose `config` takes an output size of type `$argument` and stores it as a `$size`.
macro_rules! adaptive {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident($argument:ty => $size:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $layer {
            output_size: $size,
        }

        impl $layer {
            /// Creates the layer, which is its own config.
            pub fn config(output_size: $argument) -> Self {
                Self { output_size: output_size.into() }
            }

            // `self_config!` calls this method. The function checks the output size on each call.
            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind, |this| format!("output_size={}", this.output_size));
        self_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x, self.output_size)
            }
        }
    )*};
}

adaptive! {
    /// Pools a sequence to a fixed length: each output is the average of a window.
    ///
    /// - Config: `AdaptiveAvgPool1d::config(output_size)`
    /// - Input: `[batch, channels, length]` or `[channels, length]`
    /// - Output: `[batch, channels, output_size]`
    /// - Fails if `output_size` is 0, or if the input has the wrong rank or no elements
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[[[1f32, 3., 5., 7.]]], &Device::Cpu)?;
    /// let y = AdaptiveAvgPool1d::config(2).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2., 6.]);
    /// # Ok(())
    /// # }
    /// ```
    AdaptiveAvgPool1d "AdaptiveAvgPool1d" adaptive_avg_pool1d(usize => usize);
    /// Pools an image to a fixed height and width: each output is the average of a window.
    ///
    /// - Config: `AdaptiveAvgPool2d::config(output_size)`: one number for both axes, or `(height, width)`; `None`
    ///   keeps the size of the input, as in `(None, Some(width))`
    /// - Input: `[batch, channels, height, width]` or `[channels, height, width]`
    /// - Output: `[batch, channels, output_height, output_width]`
    /// - Fails if an output size is 0, or if the input has the wrong rank or no elements
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros((2, 3, 31, 17), DType::F32, &Device::Cpu)?;
    /// let y = AdaptiveAvgPool2d::config((None, Some(4))).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.dims(), [2, 3, 31, 4]);
    /// # Ok(())
    /// # }
    /// ```
    AdaptiveAvgPool2d "AdaptiveAvgPool2d" adaptive_avg_pool2d(impl Into<OutputSize> => OutputSize);
    /// Pools a video to a fixed depth, height and width: each output is the average of a window.
    ///
    /// - Config: `AdaptiveAvgPool3d::config(output_size)`: one number for all axes, or `(depth, height, width)`;
    ///   `None` keeps the size of the input, as in `(None, Some(1), Some(1))`
    /// - Input: `[batch, channels, depth, height, width]` or `[channels, depth, height, width]`
    /// - Output: `[batch, channels, output_depth, output_height, output_width]`
    /// - Fails if an output size is 0, or if the input has the wrong rank or no elements
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros((2, 3, 8, 31, 17), DType::F32, &Device::Cpu)?;
    /// let y = AdaptiveAvgPool3d::config((None, Some(1), Some(4))).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.dims(), [2, 3, 8, 1, 4]);
    /// # Ok(())
    /// # }
    /// ```
    AdaptiveAvgPool3d "AdaptiveAvgPool3d" adaptive_avg_pool3d(impl Into<OutputSize<3>> => OutputSize<3>);
    /// Pools a sequence to a fixed length: each output is the maximum of a window.
    ///
    /// - Config: `AdaptiveMaxPool1d::config(output_size)`
    /// - Input: `[batch, channels, length]` or `[channels, length]`
    /// - Output: `[batch, channels, output_size]`
    /// - Fails if `output_size` is 0, or if the input has the wrong rank or no elements
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[[[1f32, 3., 5., 7.]]], &Device::Cpu)?;
    /// let y = AdaptiveMaxPool1d::config(2).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3., 7.]);
    /// # Ok(())
    /// # }
    /// ```
    AdaptiveMaxPool1d "AdaptiveMaxPool1d" adaptive_max_pool1d(usize => usize);
    /// Pools an image to a fixed height and width: each output is the maximum of a window.
    ///
    /// - Config: `AdaptiveMaxPool2d::config(output_size)`, with `output_size` as for [`AdaptiveAvgPool2d`]
    /// - Input: `[batch, channels, height, width]` or `[channels, height, width]`
    /// - Output: `[batch, channels, output_height, output_width]`
    /// - Fails if an output size is 0, or if the input has the wrong rank or no elements
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros((2, 3, 31, 17), DType::F32, &Device::Cpu)?;
    /// let y = AdaptiveMaxPool2d::config(7).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.dims(), [2, 3, 7, 7]);
    /// # Ok(())
    /// # }
    /// ```
    AdaptiveMaxPool2d "AdaptiveMaxPool2d" adaptive_max_pool2d(impl Into<OutputSize> => OutputSize);
    /// Pools a video to a fixed depth, height and width: each output is the maximum of a window.
    ///
    /// - Config: `AdaptiveMaxPool3d::config(output_size)`, with `output_size` as for [`AdaptiveAvgPool3d`]
    /// - Input: `[batch, channels, depth, height, width]` or `[channels, depth, height, width]`
    /// - Output: `[batch, channels, output_depth, output_height, output_width]`
    /// - Fails if an output size is 0, or if the input has the wrong rank or no elements
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros((2, 3, 8, 31, 17), DType::F32, &Device::Cpu)?;
    /// let y = AdaptiveMaxPool3d::config(7).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.dims(), [2, 3, 7, 7, 7]);
    /// # Ok(())
    /// # }
    /// ```
    AdaptiveMaxPool3d "AdaptiveMaxPool3d" adaptive_max_pool3d(impl Into<OutputSize<3>> => OutputSize<3>);
}
