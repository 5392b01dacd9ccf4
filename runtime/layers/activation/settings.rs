//! Activations with settings.

use crate::Result;
use crate::display::python_float;
use crate::layers::{self_config, stateless};
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

/// Defines layers that apply a function whose settings have defaults.
macro_rules! activations {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident {
        $($(#[$set:meta])* $field:ident = $default:expr;)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $layer {
            $($field: f64,)*
        }

        impl Default for $layer {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $layer {
            /// Creates the layer with PyTorch's defaults.
            pub fn config() -> Self {
                Self::default()
            }

            $($(#[$set])*
            pub fn $field(mut self, $field: f64) -> Self {
                self.$field = $field;
                self
            })*

            // `self_config!` calls this method. A function that rejects some settings checks them on each call.
            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind, |this| {
            [$(format!("{}={}", stringify!($field), python_float(this.$field))),*].join(", ")
        });
        self_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x, $(self.$field),*)
            }
        }
    )*};
}

activations! {
    /// Computes `x` if `x > 0`, else `negative_slope · x`.
    ///
    /// - Config: `LeakyRelu::config()`; setter `negative_slope` (0.01)
    /// - Input, output: any shape
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-4f32, 4.], &Device::Cpu)?;
    /// let y = LeakyRelu::config().negative_slope(0.5).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [-2., 4.]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "LeakyReLU")]
    LeakyRelu "LeakyReLU" leaky_relu {
        /// Sets the slope for negative inputs.
        negative_slope = 0.01;
    }
    /// Computes `x` if `x > 0`, else `alpha (eˣ − 1)` (Clevert et al. 2015).
    ///
    /// - Config: `Elu::config()`; setter `alpha` (1)
    /// - Input, output: any shape
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-1000f32, 0., 2.], &Device::Cpu)?;
    /// let y = Elu::config().alpha(3.).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [-3., 0., 2.]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "ELU")]
    Elu "ELU" elu {
        /// Sets `alpha`. The function approaches `−alpha` at −∞.
        alpha = 1.;
    }
    /// Computes `x` if `x > 0`, else `alpha (e^(x / alpha) − 1)`. The derivative is continuous (Barron 2017).
    ///
    /// - Config: `Celu::config()`; setter `alpha` (1)
    /// - Input, output: any shape
    /// - Fails if `alpha` is 0
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-1000f32, 0., 2.], &Device::Cpu)?;
    /// let y = Celu::config().alpha(3.).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [-3., 0., 2.]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "CELU")]
    Celu "CELU" celu {
        /// Sets `alpha`. The function approaches `−alpha` at −∞.
        alpha = 1.;
    }
    /// Computes a smooth approximation of ReLU: `ln(1 + e^(beta x)) / beta`, or `x` if `beta x > threshold`.
    ///
    /// - Config: `Softplus::config()`; setters `beta` (1), `threshold` (20)
    /// - Input, output: any shape
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-1000f32, 1000.], &Device::Cpu)?;
    /// let y = Softplus::config().beta(2.).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [0., 1000.]);
    /// # Ok(())
    /// # }
    /// ```
    Softplus "Softplus" softplus {
        /// Sets `beta`. The function approaches ReLU as `beta` grows.
        beta = 1.;
        /// Sets the value of `beta x` above which the function returns `x`.
        threshold = 20.;
    }
    /// Computes `min(max(x, min_val), max_val)`.
    ///
    /// - Config: `Hardtanh::config()`; setters `min_val` (−1), `max_val` (1)
    /// - Input, output: any shape
    /// - Fails if `min_val` is greater than `max_val`
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-4f32, 0.5, 4.], &Device::Cpu)?;
    /// let y = Hardtanh::config().max_val(2.).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [-1., 0.5, 2.]);
    /// # Ok(())
    /// # }
    /// ```
    Hardtanh "Hardtanh" hardtanh {
        /// Sets the lower bound.
        min_val = -1.;
        /// Sets the upper bound.
        max_val = 1.;
    }
}
