//! Activations, and the softmax.

use candle_core::Tensor;

use super::axis;
use crate::Result;
use crate::kernels::activation::{self, Activation};
use crate::kernels::for_each_activation;
use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::softmax as softmax_kernels;
use crate::signal::{EpilogueOp, Layout, Signal};

/// Runs an activation, fused into the deferred operation before it if there is one.
fn activate(activation: Activation, x: Signal) -> Signal {
    x.fuse(EpilogueOp::Activation(activation)).or_run(|x, _| {
        let on_image = |x: &Image| blocked::activated(x, activation);
        x.apply_either(activation.name(), Layout::Nchw, on_image, |x| activation::apply(activation, &x))
    })
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident $({ $($field:ident),+ })? = $function:ident [$($kind:literal)?];)*) => {$(
        $(#[$doc])*
        pub fn $function(x: impl Into<Signal> $(, $($field: f64),+)?) -> Signal {
            activate(Activation::$name $({ $($field),+ })?, x.into())
        }
    )*};
}

for_each_activation!(functions);

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
