//! Activations that cannot be fused into an epilogue. Each runs as a separate launch.

use candle_core::Tensor;

use crate::kernels::activation::{self, Activation};
use crate::signal::Signal;
use crate::{Error, Result};

use super::{axis, softmax};

macro_rules! functions {
    ($($(#[$doc:meta])* $function:ident($($setting:ident),*);)*) => {$(
        $(#[$doc])*
        pub fn $function(x: impl Into<Signal>, $($setting: f64),*) -> Signal {
            x.into().apply(stringify!($function), |x| activation::$function(&x, $($setting),*))
        }
    )*};
}

functions! {
    /// Computes `x` if `x` is positive, and `alpha (eˣ − 1)` otherwise.
    elu(alpha);
    /// Computes a scaled ELU with the constants of self-normalizing networks.
    selu();
    /// Computes `ln(1 + e^(beta x)) / beta`, or `x` if `beta x` exceeds `threshold`.
    softplus(beta, threshold);
    /// Computes `x tanh(ln(1 + eˣ))`.
    mish();
    /// Computes `relu6(x + 3) / 6`.
    hardsigmoid();
    /// Computes `ln σ(x)`, more precisely than the logarithm of the sigmoid does.
    logsigmoid();
    /// Computes `x Φ(x)` with the tanh approximation of Φ: PyTorch's `gelu(x, approximate="tanh")`.
    gelu_tanh();
}

/// Computes `x` if `x` is positive, and `alpha (e^(x / alpha) − 1)` otherwise.
pub fn celu(x: impl Into<Signal>, alpha: f64) -> Signal {
    x.into().apply("celu", |x| -> Result<Tensor> {
        if alpha == 0. {
            return Err(Error::msg("celu: expected a nonzero alpha, found 0"));
        }
        Ok(activation::celu(&x, alpha)?)
    })
}

/// Computes `min(max(x, min_val), max_val)`.
pub fn hardtanh(x: impl Into<Signal>, min_val: f64, max_val: f64) -> Signal {
    x.into().apply("hardtanh", |x| -> Result<Tensor> {
        if min_val <= max_val {
            Ok(activation::hardtanh(&x, min_val, max_val)?)
        } else {
            Err(Error::msg(format!("hardtanh: expected min_val ≤ max_val, found {min_val} and {max_val}")))
        }
    })
}

/// Computes the softmax of `−x` over one dimension. A negative `dim` counts from the end.
pub fn softmin(x: impl Into<Signal>, dim: isize) -> Signal {
    softmax(-x.into(), dim)
}

/// Splits a dimension in half and multiplies the first half by the sigmoid of the second. A negative `dim` counts
/// from the end.
pub fn glu(x: impl Into<Signal>, dim: isize) -> Signal {
    x.into().apply("glu", |x| -> Result<Tensor> {
        let dim = axis(dim, x.rank())?;
        let size = x.dims()[dim];
        if size % 2 != 0 {
            return Err(Error::msg(format!(
                "glu: expected an even size, found {size} (dimension {dim} of {:?})",
                x.dims()
            )));
        }
        let [values, gates] = [0, size / 2].map(|start| x.narrow(dim, start, size / 2));
        Ok(values?.mul(&activation::apply(Activation::Sigmoid, &gates?)?)?)
    })
}
