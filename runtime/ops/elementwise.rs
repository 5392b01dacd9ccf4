//! Activations that no kernel's epilogue applies: each is a pass of its own.

use candle_core::Tensor;

use super::{axis, softmax};
use crate::kernels::activation::{self, Activation};
use crate::signal::Signal;
use crate::{Error, Result};

macro_rules! functions {
    ($($(#[$doc:meta])* $function:ident($($setting:ident),*);)*) => {$(
        $(#[$doc])*
        pub fn $function(x: impl Into<Signal>, $($setting: f64),*) -> Signal {
            x.into().apply(stringify!($function), |x| activation::$function(&x, $($setting),*))
        }
    )*};
}

functions! {
    /// `x` where it is positive, else `alpha (eˣ − 1)`.
    elu(alpha);
    /// An ELU with the constants of self-normalising networks.
    selu();
    /// `ln(1 + e^(beta x)) / beta`; `x` itself where `beta x` exceeds `threshold`.
    softplus(beta, threshold);
    /// `x tanh(ln(1 + eˣ))`
    mish();
    /// `relu6(x + 3) / 6`
    hardsigmoid();
    /// `ln σ(x)`, without σ's loss of digits.
    logsigmoid();
    /// `x Φ(x)` with Φ approximated by a hyperbolic tangent: PyTorch's `gelu(x, approximate="tanh")`.
    gelu_tanh();
}

/// `x` where it is positive, else `alpha (e^(x / alpha) − 1)`.
pub fn celu(x: impl Into<Signal>, alpha: f64) -> Signal {
    x.into().apply("celu", |x| -> Result<Tensor> {
        match alpha == 0. {
            true => Err(Error::msg("celu: expected an alpha other than 0, got 0")),
            false => Ok(activation::celu(&x, alpha)?),
        }
    })
}

/// `min(max(x, min_val), max_val)`
pub fn hardtanh(x: impl Into<Signal>, min_val: f64, max_val: f64) -> Signal {
    x.into().apply("hardtanh", |x| -> Result<Tensor> {
        match min_val <= max_val {
            true => Ok(activation::hardtanh(&x, min_val, max_val)?),
            false => Err(Error::msg(format!(
                "hardtanh: expected a min_val of at most max_val, got {min_val} and {max_val}"
            ))),
        }
    })
}

/// The softmax of `−x` over one dimension, counted from the end where it is negative.
pub fn softmin(x: impl Into<Signal>, dim: isize) -> Signal {
    softmax(-x.into(), dim)
}

/// The first half of a dimension times σ of the second.
pub fn glu(x: impl Into<Signal>, dim: isize) -> Signal {
    x.into().apply("glu", |x| -> Result<Tensor> {
        let dim = axis(dim, x.rank())?;
        let size = x.dims()[dim];
        if size % 2 != 0 {
            return Err(Error::msg(format!(
                "glu: expected an even size to halve, got {size} (dimension {dim} of {:?})",
                x.dims()
            )));
        }
        let [values, gates] = [0, size / 2].map(|start| x.narrow(dim, start, size / 2));
        Ok(values?.mul(&activation::apply(Activation::Sigmoid, &gates?)?)?)
    })
}
