//! Padding layers.

use crate::Result;
use crate::kernels::pad::PadMode;
use crate::module::{Forward, Mode};
use crate::ops::{self, Sides};
use crate::signal::Signal;

use super::{self_config, stateless};

macro_rules! padding {
    ($($(#[$doc:meta])* $layer:ident $mode:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $layer {
            padding: Sides,
        }

        impl $layer {
            /// Creates the layer, which is its own config.
            pub fn config(padding: impl Into<Sides>) -> Self {
                Self { padding: padding.into() }
            }

            // `self_config!` calls this method. `ops::pad` checks the padding on each call.
            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, stringify!($layer), |this| this.padding.to_string());
        self_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
                ops::pad(x, self.padding, $mode)
            }
        }
    )*};
}

padding! {
    /// Pads with zeros.
    ///
    /// - Config: `ZeroPad2d::config(padding)`: one number for all sides, or `(left, right, top, bottom)`; a
    ///   negative number removes rows or columns
    /// - Input: `[…, height, width]`
    /// - Output: `[…, top + height + bottom, left + width + right]`
    /// - Fails if the height or width of the input or the output is 0
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let pad = ZeroPad2d::config((1, 2, 0, 3)).init(&Device::Cpu)?;
    /// let x = Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
    /// assert_eq!(pad.call(x.into(), Mode::Eval).dims()?, [1, 3, 11, 11]);
    /// # Ok(())
    /// # }
    /// ```
    ZeroPad2d PadMode::ZEROS;
    /// Pads with the reflection of the input. The edge elements are not repeated.
    ///
    /// - Config: `ReflectionPad2d::config(padding)`, with `padding` as for [`ZeroPad2d`]
    /// - Input: `[…, height, width]`
    /// - Output: `[…, top + height + bottom, left + width + right]`
    /// - Fails if the padding is not smaller than the input after cropping, or if the height or width of the input or
    ///   the output is 0
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let pad = ReflectionPad2d::config(3).init(&Device::Cpu)?;
    /// let x = Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
    /// assert_eq!(pad.call(x.into(), Mode::Eval).dims()?, [1, 3, 14, 14]);
    /// # Ok(())
    /// # }
    /// ```
    ReflectionPad2d PadMode::Reflect;
    /// Pads with copies of the edges of the input.
    ///
    /// - Config: `ReplicationPad2d::config(padding)`, with `padding` as for [`ZeroPad2d`]
    /// - Input: `[…, height, width]`
    /// - Output: `[…, top + height + bottom, left + width + right]`
    /// - Fails if the height or width of the input or the output is 0
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let pad = ReplicationPad2d::config((1, 1, 2, 2)).init(&Device::Cpu)?;
    /// let x = Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
    /// assert_eq!(pad.call(x.into(), Mode::Eval).dims()?, [1, 3, 12, 10]);
    /// # Ok(())
    /// # }
    /// ```
    ReplicationPad2d PadMode::Replicate;
    /// Pads with elements from the opposite side of the input.
    ///
    /// - Config: `CircularPad2d::config(padding)`, with `padding` as for [`ZeroPad2d`]
    /// - Input: `[…, height, width]`
    /// - Output: `[…, top + height + bottom, left + width + right]`
    /// - Fails if the padding is larger than the input after cropping, or if the height or width of the input or the
    ///   output is 0
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let pad = CircularPad2d::config(8).init(&Device::Cpu)?;
    /// let x = Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
    /// assert_eq!(pad.call(x.into(), Mode::Eval).dims()?, [1, 3, 24, 24]);
    /// # Ok(())
    /// # }
    /// ```
    CircularPad2d PadMode::Circular;
}
