//! Activations: layers that apply one function to each element, or to one dimension.

mod gelu;
mod prelu;
mod settings;

pub use gelu::Gelu;
pub use prelu::{PRelu, PReluConfig};
pub use settings::{Celu, Elu, Hardtanh, LeakyRelu, Softplus};

use super::{own_config, stateless};
use crate::Result;
use crate::kernels::for_each_activation;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

/// A layer that is one function without settings.
macro_rules! activations {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $layer;

        impl $layer {
            pub fn config() -> Self {
                Self
            }

            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind);
        own_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn call(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x)
            }
        }
    )*};
}

/// The layers of the activations that kernels fuse, but for those with settings.
macro_rules! fused {
    ($($(#[$doc:meta])* $layer:ident $({ $($field:ident),+ })? = $function:ident [$($kind:literal)?];)*) => {
        $(fused! { @ [$($kind)?] $(#[$doc])* $layer $function })*
    };
    (@ [] $($layer:tt)*) => {};
    (@ [$kind:literal] $(#[$doc:meta])* $layer:ident $function:ident) => {
        activations! { $(#[$doc])* $layer $kind $function; }
    };
}

for_each_activation!(fused);

activations! {
    /// `relu6(x + 3) / 6`
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-4f32, 0., 1.5, 4.], &Device::Cpu)?;
    /// let y = Hardsigmoid.call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [0., 0.5, 0.75, 1.]);
    /// # Ok(())
    /// # }
    /// ```
    Hardsigmoid "Hardsigmoid" hardsigmoid;
    /// `ln σ(x)`, without σ's loss of digits.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-1000f32, 1000.], &Device::Cpu)?;
    /// let y = LogSigmoid.call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [-1000., 0.]);
    /// # Ok(())
    /// # }
    /// ```
    LogSigmoid "LogSigmoid" logsigmoid;
    /// `x tanh(ln(1 + eˣ))`: Misra 2019.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, 100.], &Device::Cpu)?;
    /// let y = Mish.call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [0., 100.]);
    /// # Ok(())
    /// # }
    /// ```
    Mish "Mish" mish;
    /// An [`Elu`] whose two constants keep mean 0 and variance 1 from layer to layer: Klambauer et al. 2017.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, 2.], &Device::Cpu)?;
    /// let y = Selu.call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [0., 2.101402]);
    /// # Ok(())
    /// # }
    /// ```
    Selu "SELU" selu;
}

/// A function over one dimension, counted from the end where it is negative.
macro_rules! over_dimension {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $layer {
            dim: isize,
        }

        impl $layer {
            /// `dim` counts from the end where it is negative.
            pub fn config(dim: isize) -> Self {
                Self { dim }
            }

            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind, |this| format!("dim={}", this.dim));
        own_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn call(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x, self.dim)
            }
        }
    )*};
}

over_dimension! {
    /// `eˣ / Σ eˣ` over one dimension.
    Softmax "Softmax" softmax;
    /// `x − log Σ eˣ` over one dimension.
    LogSoftmax "LogSoftmax" log_softmax;
    /// The softmax of `−x`: the least element has the greatest share.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, 1000.], &Device::Cpu)?;
    /// let y = Softmin::config(0).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [1., 0.]);
    /// # Ok(())
    /// # }
    /// ```
    Softmin "Softmin" softmin;
    /// The first half of a dimension times σ of the second, which opens and shuts it: Dauphin et al. 2016.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[[1f32, 2., 0., 1000.]], &Device::Cpu)?;
    /// let y = Glu::default().call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[0.5, 2.]]);
    /// # Ok(())
    /// # }
    /// ```
    Glu "GLU" glu;
}

impl Default for Glu {
    /// The last dimension.
    fn default() -> Self {
        Self { dim: -1 }
    }
}
