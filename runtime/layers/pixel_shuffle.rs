//! Pixels for channels, and back.

use super::{own_config, stateless};
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;
use crate::{Error, Result};

macro_rules! shuffles {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident($factor:ident);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $layer {
            $factor: usize,
        }

        impl $layer {
            pub fn config($factor: usize) -> Self {
                Self { $factor }
            }

            fn checked(self) -> Result<Self> {
                match self.$factor {
                    0 => Err(Error::msg(concat!("expected a ", stringify!($factor), " of 1 or more, got 0"))
                        .in_layer($kind)),
                    _ => Ok(self),
                }
            }
        }

        stateless!($layer, $kind, |this| format!("{}={}", stringify!($factor), this.$factor));
        own_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn call(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x, self.$factor)
            }
        }
    )*};
}

shuffles! {
    /// `[…, channels · r², height, width]` to `[…, channels, height · r, width · r]`: r² channels become
    /// the pixels of a square. Shi et al. 2016, the end of a sub-pixel convolution.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros((8, 12, 5, 7), DType::F32, &Device::Cpu)?;
    /// let y = PixelShuffle::config(2).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.dims(), [8, 3, 10, 14]);
    /// # Ok(())
    /// # }
    /// ```
    PixelShuffle "PixelShuffle" pixel_shuffle(upscale_factor);
    /// `[…, channels, height · r, width · r]` to `[…, channels · r², height, width]`: the inverse of
    /// [`PixelShuffle`].
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros((8, 3, 10, 14), DType::F32, &Device::Cpu)?;
    /// let y = PixelUnshuffle::config(2).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.dims(), [8, 12, 5, 7]);
    /// # Ok(())
    /// # }
    /// ```
    PixelUnshuffle "PixelUnshuffle" pixel_unshuffle(downscale_factor);
}
