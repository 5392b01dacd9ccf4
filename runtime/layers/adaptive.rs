//! Pooling to a fixed size: as many windows as the output has elements, as even as can be.

use super::{own_config, stateless};
use crate::Result;
use crate::module::{Forward, Mode};
use crate::ops::{self, OutputSize};
use crate::signal::Signal;

macro_rules! adaptive {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident($argument:ty => $size:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $layer {
            output_size: $size,
        }

        impl $layer {
            pub fn config(output_size: $argument) -> Self {
                Self { output_size: output_size.into() }
            }

            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind, |this| format!("output_size={}", this.output_size));
        own_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn call(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x, self.output_size)
            }
        }
    )*};
}

adaptive! {
    /// Averages `[batch, channels, length]` to a fixed length.
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
    /// Averages `[batch, channels, height, width]` to a fixed height and width: one number for both,
    /// `(height, width)`, or `(None, Some(width))` to keep the input's height.
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
    /// The largest values of `[batch, channels, length]`, in a fixed number of windows.
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
    /// The largest values of `[batch, channels, height, width]`, in a grid of windows of fixed height and
    /// width: one number for both, `(height, width)`, or `(None, Some(width))` to keep the input's height.
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
}
