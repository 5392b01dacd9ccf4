//! Rearrangement of channels into pixels and back, and of channels between groups.

use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;
use crate::{Error, Result};

use super::{self_config, stateless};

macro_rules! shuffles {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident($factor:ident);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $layer {
            $factor: usize,
        }

        impl $layer {
            /// Creates the layer, which is its own config.
            pub fn config($factor: usize) -> Self {
                Self { $factor }
            }

            fn checked(self) -> Result<Self> {
                match self.$factor {
                    0 => Err(Error::msg(concat!("expected ", stringify!($factor), " ≥ 1, found 0")).in_layer($kind)),
                    _ => Ok(self),
                }
            }
        }

        stateless!($layer, $kind, |this| format!("{}={}", stringify!($factor), this.$factor));
        self_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x, self.$factor)
            }
        }
    )*};
}

shuffles! {
    /// Rearranges r² channels into squares of r × r pixels (sub-pixel convolution; Shi et al. 2016).
    ///
    /// - Config: `PixelShuffle::config(upscale_factor)`, the factor r
    /// - Input: `[…, channels · r², height, width]`
    /// - Output: `[…, channels, height · r, width · r]`
    /// - Fails if r is 0, or if r² does not divide the number of input channels
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
    /// Rearranges squares of r × r pixels into r² channels. This is the inverse of [`PixelShuffle`].
    ///
    /// - Config: `PixelUnshuffle::config(downscale_factor)`, the factor r
    /// - Input: `[…, channels, height · r, width · r]`
    /// - Output: `[…, channels · r², height, width]`
    /// - Fails if r is 0, or if r does not divide the height and width of the input
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
    /// Divides the channels into groups and interleaves the groups, so that a following grouped convolution reads
    /// channels of every group (ShuffleNet; Zhang et al. 2017).
    ///
    /// - Config: `ChannelShuffle::config(groups)`
    /// - Input, output: `[batch, channels, …]` with at least three dimensions
    /// - Fails if `groups` is 0 or does not divide the number of channels, or if the input has fewer dimensions
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[[[1f32], [2.], [3.], [4.]]], &Device::Cpu)?; // channels 1 and 2, 3 and 4
    /// let y = ChannelShuffle::config(2).forward(&x)?;
    /// assert_eq!(y.to_vec3::<f32>()?, [[[1.], [3.], [2.], [4.]]]);
    /// # Ok(())
    /// # }
    /// ```
    ChannelShuffle "ChannelShuffle" channel_shuffle(groups);
}
