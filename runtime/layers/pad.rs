//! Padding of images.

use super::{own_config, stateless};
use crate::Result;
use crate::kernels::pad::PadMode;
use crate::module::{Forward, Mode};
use crate::ops::{self, Sides};
use crate::signal::Signal;

macro_rules! padding {
    ($($(#[$doc:meta])* $layer:ident $mode:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $layer {
            padding: Sides,
        }

        impl $layer {
            pub fn config(padding: impl Into<Sides>) -> Self {
                Self { padding: padding.into() }
            }

            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, stringify!($layer), |this| this.padding.to_string());
        own_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn call(&self, x: Signal, _: Mode) -> Signal {
                ops::pad(x, self.padding, $mode)
            }
        }
    )*};
}

padding! {
    /// Surrounds `[batch, channels, height, width]` with zeros: `ZeroPad2d::config(1)` on every side, or
    /// `(left, right, top, bottom)`; a negative number takes rows or columns away.
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
    /// Surrounds `[batch, channels, height, width]` with its own reflection, the edge not repeated; the
    /// padding is smaller than the input. Sides as for [`ZeroPad2d`].
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
    /// Surrounds `[batch, channels, height, width]` with copies of its edges. Sides as for [`ZeroPad2d`].
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
    /// Surrounds `[batch, channels, height, width]` with what stands at its other end; the padding is at
    /// most the input. Sides as for [`ZeroPad2d`].
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
