//! Activations, and the softmax.

use candle_core::Tensor;

use super::axis;
use crate::Result;
use crate::kernels::activation::{self, Activation};
use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::softmax as softmax_kernels;
use crate::signal::{Signal, Step};

/// Runs an activation, inside the deferred operation before it where there is one.
fn activate(activation: Activation, x: Signal) -> Signal {
    x.fuse(Step::Activation(activation)).unwrap_or_else(|(x, _)| {
        let on_image = |x: &Image| blocked::activated(x, activation);
        x.apply_either(activation.name(), false, on_image, |x| activation::apply(activation, &x))
    })
}

macro_rules! activations {
    ($($(#[$doc:meta])* $function:ident $activation:ident;)*) => {$(
        $(#[$doc])*
        pub fn $function(x: impl Into<Signal>) -> Signal {
            activate(Activation::$activation, x.into())
        }
    )*};
}

activations! {
    /// `max(x, 0)`
    relu Relu;
    /// `min(max(x, 0), 6)`
    relu6 Relu6;
    /// `x Φ(x)`, exact.
    gelu Gelu;
    /// `x σ(x)`
    silu Silu;
    /// `1 / (1 + e⁻ˣ)`
    sigmoid Sigmoid;
    tanh Tanh;
    /// `x · relu6(x + 3) / 6`
    hardswish Hardswish;
}

/// `x` where it is positive, else `negative_slope · x`.
pub fn leaky_relu(x: impl Into<Signal>, negative_slope: f64) -> Signal {
    activate(Activation::LeakyRelu { negative_slope }, x.into())
}

/// `eˣ / Σ eˣ` over one dimension, counted from the end where it is negative.
pub fn softmax(x: impl Into<Signal>, dim: isize) -> Signal {
    x.into()
        .apply("softmax", |x| -> Result<Tensor> { Ok(softmax_kernels::softmax(&x, axis(dim, x.rank())?)?) })
}

/// `x − log Σ eˣ` over one dimension, counted from the end where it is negative.
pub fn log_softmax(x: impl Into<Signal>, dim: isize) -> Signal {
    x.into().apply("log_softmax", |x| -> Result<Tensor> {
        Ok(softmax_kernels::log_softmax(&x, axis(dim, x.rank())?)?)
    })
}
