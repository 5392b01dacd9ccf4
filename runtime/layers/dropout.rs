//! Dropout, of single elements and of whole channels.

use super::{own_config, stateless};
use crate::display::python_float;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;
use crate::{Error, Result};

macro_rules! dropouts {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $layer {
            p: f64,
        }

        impl Default for $layer {
            /// `p = 0.5`
            fn default() -> Self {
                Self { p: 0.5 }
            }
        }

        impl $layer {
            pub fn config(p: f64) -> Self {
                Self { p }
            }

            fn checked(self) -> Result<Self> {
                if (0. ..=1.).contains(&self.p) {
                    return Ok(self);
                }
                let error = format!("expected a probability between 0 and 1, got {}", self.p);
                Err(Error::msg(error).in_layer($kind))
            }
        }

        stateless!($layer, $kind, |this| format!("p={}, inplace=False", python_float(this.p)));
        own_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn call(&self, x: Signal, mode: Mode) -> Signal {
                ops::$function(x, self.p, mode)
            }
        }
    )*};
}

dropouts! {
    /// In training, sets each element to zero with probability `p` and scales the others by `1 / (1 − p)`;
    /// in evaluation, the identity. Srivastava et al. 2014.
    ///
    /// [`manual_seed`](crate::manual_seed) makes the choice reproducible.
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
    /// The same for whole channels of `[batch, channels, length]` or `[channels, length]`: neighbours in a
    /// channel say much the same, so that single ones are not missed. Tompson et al. 2015.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?;
    /// let y = Dropout1d::config(0.5).call(x.into(), Mode::Train).into_tensor()?;
    /// for sum in y.sum(2)?.flatten_all()?.to_vec1::<f32>()? {
    ///     assert!(sum == 0. || sum == 8.); // All of a channel, or nothing.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Dropout1d "Dropout1d" dropout1d;
    /// The same for whole channels of `[batch, channels, height, width]`. As in PyTorch, an input of three
    /// dimensions is `[batch, channels, length]`. Tompson et al. 2015.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones((2, 3, 2, 2), DType::F32, &Device::Cpu)?;
    /// let y = Dropout2d::config(0.5).call(x.into(), Mode::Train).into_tensor()?;
    /// for sum in y.sum((2, 3))?.flatten_all()?.to_vec1::<f32>()? {
    ///     assert!(sum == 0. || sum == 8.); // All of a channel, or nothing.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Dropout2d "Dropout2d" dropout2d;
}
