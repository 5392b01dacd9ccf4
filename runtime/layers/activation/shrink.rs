//! Activations that shrink small inputs to zero.

use crate::Result;
use crate::display::python_float;
use crate::layers::{self_config, stateless};
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

/// Defines layers with the setting `lambd`, which PyTorch prints without its name.
macro_rules! shrinkages {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $layer {
            lambd: f64,
        }

        impl Default for $layer {
            fn default() -> Self {
                Self { lambd: 0.5 }
            }
        }

        impl $layer {
            /// Creates the layer with PyTorch's defaults.
            pub fn config() -> Self {
                Self::default()
            }

            /// Sets `lambd`. The function is 0 between `−lambd` and `lambd`.
            pub fn lambd(mut self, lambd: f64) -> Self {
                self.lambd = lambd;
                self
            }

            // `self_config!` calls this method. The function checks `lambd` on each call.
            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind, |this| python_float(this.lambd));
        self_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x, self.lambd)
            }
        }
    )*};
}

shrinkages! {
    /// Computes `x − lambd` if `x > lambd`, `x + lambd` if `x < −lambd`, and 0 otherwise.
    ///
    /// - Config: `Softshrink::config()`; setter `lambd` (0.5)
    /// - Input, output: any shape
    /// - Fails if `lambd` is negative
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-4f32, 0.5, 4.], &Device::Cpu)?;
    /// let y = Softshrink::config().lambd(1.).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [-3., 0., 3.]);
    /// # Ok(())
    /// # }
    /// ```
    Softshrink "Softshrink" softshrink;
    /// Computes 0 if `|x| ≤ lambd`, and `x` otherwise.
    ///
    /// - Config: `Hardshrink::config()`; setter `lambd` (0.5)
    /// - Input, output: any shape
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-4f32, 0.5, 4.], &Device::Cpu)?;
    /// let y = Hardshrink::config().lambd(1.).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [-4., 0., 4.]);
    /// # Ok(())
    /// # }
    /// ```
    Hardshrink "Hardshrink" hardshrink;
}
