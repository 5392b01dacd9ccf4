//! Activations that cannot be fused into an epilogue. Each runs as a separate launch.

use candle_core::Tensor;

use crate::dim::Dim;
use crate::graph::Op;
use crate::kernels::activation::{self, Activation};
use crate::kernels::arithmetic::{Binary, Unary, binary};
use crate::signal::{SameShape, ShapeFrom, Signal};
use crate::{Error, Result};

use super::softmax;

macro_rules! functions {
    ($($(#[$doc:meta])* $function:ident($($setting:ident),*) = $op:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// `x` has any shape. The output is a failed signal if the dtype of `x` is not floating point.
        pub fn $function(x: impl Into<Signal>, $($setting: f64),*) -> Signal {
            x.into().apply((stringify!($function), $op), SameShape, |x| activation::$function(&x, $($setting),*))
        }
    )*};
}

functions! {
    /// Computes `x` if `x` is positive, and `alpha (eˣ − 1)` otherwise.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-1f32, 2.], &Device::Cpu)?;
    /// let y = elu(&x, 1.).into_tensor()?.to_vec1::<f32>()?;
    /// assert!((y[0] + 0.6321).abs() < 1e-4);
    /// assert_eq!(y[1], 2.);
    /// # Ok(())
    /// # }
    /// ```
    elu(alpha) = Op::Elu { alpha };
    /// Computes a scaled ELU with the constants of self-normalizing networks.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-1f32, 1.], &Device::Cpu)?;
    /// let y = selu(&x).into_tensor()?.to_vec1::<f32>()?;
    /// assert!((y[0] + 1.1113).abs() < 1e-4);
    /// assert!((y[1] - 1.0507).abs() < 1e-4);
    /// # Ok(())
    /// # }
    /// ```
    selu() = Op::Selu;
    /// Computes `ln(1 + e^(beta x)) / beta`, or `x` if `beta x` exceeds `threshold`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, 30.], &Device::Cpu)?;
    /// let y = softplus(&x, 1., 20.).into_tensor()?.to_vec1::<f32>()?;
    /// assert!((y[0] - 0.6931).abs() < 1e-4); // ln 2
    /// assert_eq!(y[1], 30.);
    /// # Ok(())
    /// # }
    /// ```
    softplus(beta, threshold) = Op::Softplus { beta, threshold };
    /// Computes `x tanh(ln(1 + eˣ))`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, 1.], &Device::Cpu)?;
    /// let y = mish(&x).into_tensor()?.to_vec1::<f32>()?;
    /// assert_eq!(y[0], 0.);
    /// assert!((y[1] - 0.8651).abs() < 1e-4);
    /// # Ok(())
    /// # }
    /// ```
    mish() = Op::Mish;
    /// Computes `relu6(x + 3) / 6`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-4f32, 0., 4.], &Device::Cpu)?;
    /// let y = hardsigmoid(&x).into_tensor()?.to_vec1::<f32>()?;
    /// assert_eq!(y, [0., 0.5, 1.]);
    /// # Ok(())
    /// # }
    /// ```
    hardsigmoid() = Op::HardSigmoid;
    /// Computes `ln σ(x)`, where σ is the sigmoid. Does not compute `σ(x)` first, which would lose precision.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, -100.], &Device::Cpu)?;
    /// let y = logsigmoid(&x).into_tensor()?.to_vec1::<f32>()?;
    /// assert!((y[0] + 0.6931).abs() < 1e-4); // −ln 2
    /// assert_eq!(y[1], -100.);
    /// # Ok(())
    /// # }
    /// ```
    logsigmoid() = Op::LogSigmoid;
    /// Computes `x Φ(x)` with the tanh approximation of Φ, the cumulative distribution function of the standard normal
    /// distribution: PyTorch's `gelu(x, approximate="tanh")`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, 1.], &Device::Cpu)?;
    /// let y = gelu_tanh(&x).into_tensor()?.to_vec1::<f32>()?;
    /// assert_eq!(y[0], 0.);
    /// assert!((y[1] - 0.8412).abs() < 1e-4);
    /// # Ok(())
    /// # }
    /// ```
    gelu_tanh() = Op::GeluTanh;
    /// Computes `value` if `x ≤ threshold`, and `x` otherwise.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-2f32, 1., 2.], &Device::Cpu)?;
    /// let y = threshold(&x, 1., -5.).into_tensor()?.to_vec1::<f32>()?;
    /// assert_eq!(y, [-5., -5., 2.]);
    /// # Ok(())
    /// # }
    /// ```
    threshold(threshold, value) = Op::Threshold { threshold, value };
    /// Computes 0 if `|x| ≤ lambd`, and `x` otherwise.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-2f32, 0.5, 2.], &Device::Cpu)?;
    /// let y = hardshrink(&x, 0.5).into_tensor()?.to_vec1::<f32>()?;
    /// assert_eq!(y, [-2., 0., 2.]);
    /// # Ok(())
    /// # }
    /// ```
    hardshrink(lambd) = Op::HardShrink { lambd };
    /// Computes `x − tanh x`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[0f32, 1.], &Device::Cpu)?;
    /// let y = tanhshrink(&x).into_tensor()?.to_vec1::<f32>()?;
    /// assert_eq!(y[0], 0.);
    /// assert!((y[1] - 0.2384).abs() < 1e-4);
    /// # Ok(())
    /// # }
    /// ```
    tanhshrink() = Op::TanhShrink;
    /// Computes `x / (1 + |x|)`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[-1f32, 3.], &Device::Cpu)?;
    /// let y = softsign(&x).into_tensor()?.to_vec1::<f32>()?;
    /// assert_eq!(y, [-0.5, 0.75]);
    /// # Ok(())
    /// # }
    /// ```
    softsign() = Op::SoftSign;
}

/// Computes `x` if `x` is positive, and `alpha (e^(x / alpha) − 1)` otherwise.
///
/// `x` has any shape. The output is a failed signal if `alpha` is 0.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-1f32, 2.], &Device::Cpu)?;
/// let y = celu(&x, 2.).into_tensor()?.to_vec1::<f32>()?;
/// assert!((y[0] + 0.7869).abs() < 1e-4);
/// assert_eq!(y[1], 2.);
/// # Ok(())
/// # }
/// ```
pub fn celu(x: impl Into<Signal>, alpha: f64) -> Signal {
    x.into().apply(("celu", Op::Celu { alpha }), SameShape, |x| -> Result<Tensor> {
        if alpha == 0. {
            return Err(Error::msg("celu: expected a nonzero alpha, found 0"));
        }
        Ok(activation::celu(&x, alpha)?)
    })
}

/// Computes `min(max(x, min_val), max_val)`.
///
/// `x` has any shape. The output is a failed signal if `min_val` is greater than `max_val`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-2f32, 0.5, 3.], &Device::Cpu)?;
/// let y = hardtanh(&x, -1., 1.).into_tensor()?.to_vec1::<f32>()?;
/// assert_eq!(y, [-1., 0.5, 1.]);
/// # Ok(())
/// # }
/// ```
pub fn hardtanh(x: impl Into<Signal>, min_val: f64, max_val: f64) -> Signal {
    let op = Op::Unary(Unary::Clamp { min: min_val, max: max_val });
    x.into().apply(("hardtanh", op), SameShape, |x| -> Result<Tensor> {
        if min_val <= max_val {
            Ok(activation::hardtanh(&x, min_val, max_val)?)
        } else {
            Err(Error::msg(format!("hardtanh: expected min_val ≤ max_val, found {min_val} and {max_val}")))
        }
    })
}

/// Computes `x − lambd` if `x > lambd`, `x + lambd` if `x < −lambd`, and 0 otherwise.
///
/// `x` has any shape. The output is a failed signal if `lambd` is negative, or if the dtype of `x` is not floating
/// point.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-2f32, 0.5, 2.], &Device::Cpu)?;
/// let y = softshrink(&x, 0.5).into_tensor()?.to_vec1::<f32>()?;
/// assert_eq!(y, [-1.5, 0., 1.5]);
/// # Ok(())
/// # }
/// ```
pub fn softshrink(x: impl Into<Signal>, lambd: f64) -> Signal {
    x.into().apply(("softshrink", Op::SoftShrink { lambd }), SameShape, |x| -> Result<Tensor> {
        if lambd >= 0. {
            Ok(activation::softshrink(&x, lambd)?)
        } else {
            Err(Error::msg(format!("softshrink: expected a lambd of at least 0, found {lambd}")))
        }
    })
}

/// Computes the softmax of `−x` over one dimension. A negative `dim` counts from the end.
///
/// `x` has any shape. The output is a failed signal if `dim` is out of range.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 1., 1e4], &Device::Cpu)?;
/// let y = softmin(&x, -1).into_tensor()?.to_vec1::<f32>()?;
/// assert_eq!(y, [0.5, 0.5, 0.]);
/// # Ok(())
/// # }
/// ```
pub fn softmin(x: impl Into<Signal>, dim: impl Dim) -> Signal {
    softmax(-x.into(), dim)
}

/// Splits a dimension in half and multiplies the first half by the sigmoid of the second. A negative `dim` counts
/// from the end.
///
/// `x` is `[…, 2 · size, …]`, and the output is `[…, size, …]`. The output is a failed signal if `dim` is out of range
/// or the dimension has an odd size.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[4f32, 6., 0., 100.], &Device::Cpu)?;
/// let y = glu(&x, 0).into_tensor()?.to_vec1::<f32>()?;
/// assert_eq!(y, [2., 6.]); // 4 · σ(0) and 6 · σ(100)
/// # Ok(())
/// # }
/// ```
pub fn glu(x: impl Into<Signal>, dim: impl Dim) -> Signal {
    let halved = |dims: &[usize]| {
        let dim = dim.index(dims.len())?;
        let size = dims[dim];
        if !size.is_multiple_of(2) {
            return Err(Error::msg(format!(
                "glu: expected an even size, found {size} (dimension {dim} of {dims:?})"
            )));
        }
        Ok((dim, size / 2))
    };
    let new_dims = |dims: &[usize]| {
        let (dim, half) = halved(dims)?;
        let mut dims = dims.to_vec();
        dims[dim] = half;
        Ok(dims)
    };
    let x = x.into();
    let Ok(dims) = x.dims() else { return x };
    let op = match halved(dims) {
        Ok((dim, _)) => Op::Glu { dim },
        Err(error) => return Signal::fail(error),
    };
    x.apply(("glu", op), ShapeFrom(new_dims), |x| -> Result<Tensor> {
        let (dim, half) = halved(x.dims())?;
        let [values, gates] = [0, half].map(|start| x.narrow(dim, start, half));
        Ok(binary(Binary::Mul, &values?, &activation::apply(Activation::Sigmoid, &gates?)?)?)
    })
}
