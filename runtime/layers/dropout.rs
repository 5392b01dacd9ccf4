//! Dropout of elements and of channels, to zero or to the limit of SELU.

use crate::display::python_float;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;
use crate::{Error, Result};

use super::{self_config, stateless};

macro_rules! dropouts {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $layer {
            p: f64,
            /// The mode to which the layer is pinned.
            pinned: Option<Mode>,
        }

        impl Default for $layer {
            /// Returns the layer with `p = 0.5`.
            fn default() -> Self {
                Self::config(0.5)
            }
        }

        impl $layer {
            /// Creates the layer, which is its own config.
            pub fn config(p: f64) -> Self {
                Self { p, pinned: None }
            }

            fn checked(self) -> Result<Self> {
                if (0. ..=1.).contains(&self.p) {
                    return Ok(self);
                }
                let error = format!("expected a probability between 0 and 1, found {}", self.p);
                Err(Error::msg(error).in_layer($kind))
            }
        }

        stateless!($layer, $kind, |this| format!("p={}, inplace=False", python_float(this.p)); pinned);
        self_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
                ops::$function(x, self.p, self.pinned.unwrap_or(mode))
            }
        }
    )*};
}

dropouts! {
    /// In training, zeroes each element with probability `p` and multiplies the rest by `1 / (1 − p)`.
    /// In evaluation, returns the input unchanged (Srivastava et al. 2014).
    ///
    /// - Config: `Dropout::config(p)`; `Dropout::default()` has `p = 0.5`
    /// - Input, output: any shape
    /// - Fails if `p` is not between 0 and 1
    ///
    /// [`manual_seed`](crate::manual_seed) makes the random choice of elements reproducible.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
    /// let y = Dropout::config(1.).call(x.into(), Mode::Train).into_tensor()?;
    /// assert_eq!(y.sum_all()?.to_scalar::<f32>()?, 0.);
    /// # Ok(())
    /// # }
    /// ```
    Dropout "Dropout" dropout;
    /// In training, zeroes each channel with probability `p` and multiplies the rest by `1 / (1 − p)`.
    /// In evaluation, returns the input unchanged (Tompson et al. 2015).
    ///
    /// - Config: `Dropout1d::config(p)`; `Dropout1d::default()` has `p = 0.5`
    /// - Input, output: `[batch, channels, length]` or `[channels, length]`
    /// - Fails if `p` is not between 0 and 1, or if the input has the wrong rank
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?;
    /// let y = Dropout1d::config(0.5).call(x.into(), Mode::Train).into_tensor()?;
    /// for sum in y.sum(2)?.flatten_all()?.to_vec1::<f32>()? {
    ///     assert!(sum == 0. || sum == 8.); // A channel is kept or dropped as a whole.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Dropout1d "Dropout1d" dropout1d;
    /// In training, zeroes each channel with probability `p` and multiplies the rest by `1 / (1 − p)`.
    /// In evaluation, returns the input unchanged (Tompson et al. 2015).
    ///
    /// - Config: `Dropout2d::config(p)`; `Dropout2d::default()` has `p = 0.5`
    /// - Input, output: `[batch, channels, height, width]` or, as in PyTorch, `[batch, channels, length]`
    /// - Fails if `p` is not between 0 and 1, or if the input has the wrong rank
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones((2, 3, 2, 2), DType::F32, &Device::Cpu)?;
    /// let y = Dropout2d::config(0.5).call(x.into(), Mode::Train).into_tensor()?;
    /// for sum in y.sum((2, 3))?.flatten_all()?.to_vec1::<f32>()? {
    ///     assert!(sum == 0. || sum == 8.); // A channel is kept or dropped as a whole.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Dropout2d "Dropout2d" dropout2d;
    /// In training, zeroes each channel with probability `p` and multiplies the rest by `1 / (1 − p)`.
    /// In evaluation, returns the input unchanged (Tompson et al. 2015).
    ///
    /// - Config: `Dropout3d::config(p)`; `Dropout3d::default()` has `p = 0.5`
    /// - Input, output: `[batch, channels, depth, height, width]` or `[channels, depth, height, width]`
    /// - Fails if `p` is not between 0 and 1, or if the input has the wrong rank
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones((2, 3, 2, 2, 2), DType::F32, &Device::Cpu)?;
    /// let y = Dropout3d::config(0.5).call(x.into(), Mode::Train).into_tensor()?;
    /// for sum in y.flatten_from(2)?.sum(2)?.flatten_all()?.to_vec1::<f32>()? {
    ///     assert!(sum == 0. || sum == 16.); // A channel is kept or dropped as a whole.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Dropout3d "Dropout3d" dropout3d;
    /// In training, sets each element to the limit of SELU at −∞ with probability `p`, and scales and shifts the result
    /// so that mean 0 and variance 1 are preserved. In evaluation, returns the input unchanged (Klambauer et al. 2017).
    ///
    /// - Config: `AlphaDropout::config(p)`; `AlphaDropout::default()` has `p = 0.5`
    /// - Input, output: any shape
    /// - Fails if `p` is not between 0 and 1
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::randn(0f32, 1., 100_000, &Device::Cpu)?;
    /// let y = AlphaDropout::config(0.3).call(x.into(), Mode::Train).into_tensor()?;
    /// assert!(y.mean_all()?.to_scalar::<f32>()?.abs() < 0.05);
    /// # Ok(())
    /// # }
    /// ```
    AlphaDropout "AlphaDropout" alpha_dropout;
    /// Like [`AlphaDropout`], but keeps or drops whole channels.
    ///
    /// - Config: `FeatureAlphaDropout::config(p)`; `FeatureAlphaDropout::default()` has `p = 0.5`
    /// - Input, output: `[batch, channels, …]`
    /// - Fails if `p` is not between 0 and 1, or if the input has fewer than two dimensions
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?;
    /// let y = FeatureAlphaDropout::config(0.5).call(x.into(), Mode::Train).into_tensor()?;
    /// assert_eq!(y.narrow(2, 0, 1)?.to_vec3::<f32>()?, y.narrow(2, 3, 1)?.to_vec3::<f32>()?);
    /// # Ok(())
    /// # }
    /// ```
    FeatureAlphaDropout "FeatureAlphaDropout" feature_alpha_dropout;
}
