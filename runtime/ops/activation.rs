//! Activations and softmax.

use candle_core::Tensor;

use crate::Result;
use crate::kernels::activation::{self, Activation};
use crate::kernels::for_each_activation;
use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::softmax as softmax_kernels;
use crate::signal::{EpilogueOp, Layout, Signal};

use super::axis;

/// Runs an activation. Fuses it into the deferred operation before it if possible.
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

/// Computes `eˣ / Σ eˣ` over one dimension. A negative `dim` counts from the end.
pub fn softmax(x: impl Into<Signal>, dim: isize) -> Signal {
    x.into()
        .apply("softmax", |x| -> Result<Tensor> { Ok(softmax_kernels::softmax(&x, axis(dim, x.rank())?)?) })
}

/// Computes `x − log Σ eˣ` over one dimension. A negative `dim` counts from the end.
pub fn log_softmax(x: impl Into<Signal>, dim: isize) -> Signal {
    x.into().apply("log_softmax", |x| -> Result<Tensor> {
        Ok(softmax_kernels::log_softmax(&x, axis(dim, x.rank())?)?)
    })
}
