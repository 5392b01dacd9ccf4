//! Activations: layers that apply a function to each element, or along one dimension.

mod gelu;
mod prelu;
mod rrelu;
mod settings;
mod shrink;
mod softmax2d;
mod threshold;

pub use gelu::Gelu;
pub use prelu::{PRelu, PReluConfig};
pub use rrelu::RRelu;
pub use settings::{Celu, Elu, Hardtanh, LeakyRelu, Softplus};
pub use shrink::{Hardshrink, Softshrink};
pub use softmax2d::Softmax2d;
pub use threshold::Threshold;

use crate::Result;
use crate::kernels::for_each_activation;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

use super::{self_config, stateless, without_settings};

/// Defines layers that apply a function without settings.
macro_rules! activations {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident;)*) => {$(
        without_settings! { $(#[$doc])* $layer $kind }

        impl Forward for $layer {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x)
            }
        }
    )*};
}

/// Defines a layer for each fusable activation with a PyTorch name, which is in the brackets. An activation with
/// settings has empty brackets, so `$field` is not used here.
macro_rules! fused {
    ($($(#[$doc:meta])* $layer:ident $({ $($field:ident),+ })? = $function:ident [$($kind:literal)?];)*) => {
        $(fused! { @ [$($kind)?] $(#[$doc])* $layer $function })*
    };
    // An activation with empty brackets has no layer, or a layer that is defined separately.
    (@ [] $($layer:tt)*) => {};
    (@ [$kind:literal] $(#[$doc:meta])* $layer:ident $function:ident) => {
        activations! {
            $(#[$doc])*
            ///
            #[doc = concat!("- Config: `", stringify!($layer), "`")]
            /// - Input, output: any shape
            ///
            /// ```
            /// use sconce::prelude::*;
            /// # fn main() -> Result<()> {
            /// let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
            #[doc = concat!("let y = ", stringify!($layer), ".call(x.into(), Mode::Eval).into_tensor()?;")]
            /// assert_eq!(y.dims(), [2, 3]);
            /// # Ok(())
            /// # }
            /// ```
            $layer $kind $function;
        }
    };
}

for_each_activation!(fused);

activations! {
    /// Computes `relu6(x + 3) / 6`.
    ///
    /// - Config: `Hardsigmoid`
    /// - Input, output: any shape
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
    /// Computes `ln σ(x)` without overflow or loss of precision.
    ///
    /// - Config: `LogSigmoid`
    /// - Input, output: any shape
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
    /// Computes `x tanh(ln(1 + eˣ))` (Misra 2019).
    ///
    /// - Config: `Mish`
    /// - Input, output: any shape
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
    /// Computes ELU with constants that preserve mean 0 and variance 1 from layer to layer (Klambauer et al. 2017).
    ///
    /// - Config: `Selu`
    /// - Input, output: any shape
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
    #[doc(alias = "SELU")]
    Selu "SELU" selu;
    /// Computes `x − tanh x`.
    ///
    /// - Config: `Tanhshrink`
    /// - Input, output: any shape
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, 100.], &Device::Cpu)?;
    /// let y = Tanhshrink.call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [0., 99.]);
    /// # Ok(())
    /// # }
    /// ```
    Tanhshrink "Tanhshrink" tanhshrink;
    /// Computes `x / (1 + |x|)`.
    ///
    /// - Config: `Softsign`
    /// - Input, output: any shape
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-1f32, 0., 3.], &Device::Cpu)?;
    /// let y = Softsign.call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [-0.5, 0., 0.75]);
    /// # Ok(())
    /// # }
    /// ```
    Softsign "Softsign" softsign;
}

/// Defines layers that apply a function along one dimension.
macro_rules! over_dimension {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $layer {
            dim: isize,
        }

        impl $layer {
            /// Creates the layer, which is its own config. A negative `dim` counts from the end.
            pub fn config(dim: isize) -> Self {
                Self { dim }
            }

            // `self_config!` calls this method. The function checks `dim` on each call.
            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind, |this| format!("dim={}", this.dim));
        self_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
                ops::$function(x, self.dim)
            }
        }
    )*};
}

over_dimension! {
    /// Computes `eˣ / Σ eˣ` along one dimension.
    ///
    /// - Config: `Softmax::config(dim)`; a negative `dim` counts from the end
    /// - Input, output: any shape
    /// - Fails if `dim` is out of range for the input
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[[0f32, 0.], [0., 1000.]], &Device::Cpu)?;
    /// let y = Softmax::config(1).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[0.5, 0.5], [0., 1.]]);
    /// # Ok(())
    /// # }
    /// ```
    Softmax "Softmax" softmax;
    /// Computes `x − ln Σ eˣ` along one dimension.
    ///
    /// - Config: `LogSoftmax::config(dim)`; a negative `dim` counts from the end
    /// - Input, output: any shape
    /// - Fails if `dim` is out of range for the input
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, 1000.], &Device::Cpu)?;
    /// let y = LogSoftmax::config(0).call(x.into(), Mode::Eval).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [-1000., 0.]);
    /// # Ok(())
    /// # }
    /// ```
    LogSoftmax "LogSoftmax" log_softmax;
    /// Computes the softmax of `−x` along one dimension.
    ///
    /// - Config: `Softmin::config(dim)`; a negative `dim` counts from the end
    /// - Input, output: any shape
    /// - Fails if `dim` is out of range for the input
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
    /// Computes the gated linear unit `a · σ(b)`, where a and b are the halves of the input along one dimension
    /// (Dauphin et al. 2016).
    ///
    /// - Config: `Glu::config(dim)`, or `Glu::default()` for the last dimension; a negative `dim` counts from the end
    /// - Input: `[…, 2 · size, …]`
    /// - Output: `[…, size, …]`
    /// - Fails if `dim` is out of range for the input, or if the size of that dimension is odd
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
    #[doc(alias = "GLU")]
    Glu "GLU" glu;
}

impl Default for Glu {
    /// Splits the last dimension.
    fn default() -> Self {
        Self { dim: -1 }
    }
}
