//! Activations with numbers to set.

use crate::Result;
use crate::display::python_float;
use crate::layers::{own_config, stateless};
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

/// A layer that is a function of the input and of some numbers with defaults.
macro_rules! activations {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident {
        $($(#[$set:meta])* $field:ident = $default:expr;)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $layer {
            $($field: f64,)*
        }

        impl Default for $layer {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $layer {
            pub fn config() -> Self {
                Self::default()
            }

            $($(#[$set])*
            pub fn $field(mut self, $field: f64) -> Self {
                self.$field = $field;
                self
            })*

            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind, |this| {
            [$(format!("{}={}", stringify!($field), python_float(this.$field))),*].join(", ")
        });
        own_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn call(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x, $(self.$field),*)
            }
        }
    )*};
}

activations! {
    /// `x` where it is positive, else `negative_slope · x`.
    LeakyRelu "LeakyReLU" leaky_relu {
        /// 0.01
        negative_slope = 0.01;
    }
    /// `x` where it is positive, else `alpha (eˣ − 1)`: Clevert et al. 2015.
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
    Elu "ELU" elu {
        /// 1
        alpha = 1.;
    }
    /// `x` where it is positive, else `alpha (e^(x / alpha) − 1)`, whose slope has no jump: Barron 2017.
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
    Celu "CELU" celu {
        /// 1; not 0.
        alpha = 1.;
    }
    /// `ln(1 + e^(beta x)) / beta`, a smooth ReLU; `x` itself where `beta x` exceeds `threshold`.
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
        /// 1
        beta = 1.;
        /// 20
        threshold = 20.;
    }
    /// `min(max(x, min_val), max_val)`
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
        /// −1
        min_val = -1.;
        /// 1; not less than `min_val`.
        max_val = 1.;
    }
}
