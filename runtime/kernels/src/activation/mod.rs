//! The activations: those that a kernel's epilogue can apply, and those that run as a separate pass.
//!
//! All of them are defined in the table in `definitions`.

pub(crate) mod definitions;
mod epilogue;
mod function;
mod prelu;
mod table;

use candle_core::{Result, Tensor};

use super::composed_path::has_cpu_kernels;
use super::elementwise;
use super::number::Number;
use definitions::*;

pub use definitions::Activation;
pub(crate) use definitions::{Relu, Sigmoid, Tanh, with_function};
pub(crate) use epilogue::{activate, activate_all, bounds, stages};
pub(crate) use function::Function;
pub use prelu::prelu;

impl Activation {
    /// Returns the function's name: `relu`, `leaky_relu`.
    pub fn name(self) -> &'static str {
        fn name_of<F: Function>(_: F) -> &'static str {
            F::NAME
        }
        with_function!(self, f => name_of(f))
    }

    /// Applies the activation to a number, or to each lane of a vector.
    #[inline(always)]
    pub fn value<N: Number>(self, x: N) -> N {
        with_function!(self, f => f.value(x))
    }

    /// Returns `true` if the output alone determines the slope, so that the backward pass does not need the input.
    #[inline(always)]
    pub fn saves_output(self) -> bool {
        with_function!(self, f => f.saves_output())
    }

    /// Returns the gradient of the input from the `gradient` of the output and the value that the forward pass `saved`:
    /// the output if [`saves_output`](Self::saves_output), else the input.
    ///
    /// In an interval on which the activation is constant, such as the negative numbers for ReLU, the result is 0 even
    /// for an infinite gradient.
    #[inline(always)]
    pub fn gradient<N: Number>(self, gradient: N, saved: N) -> N {
        with_function!(self, f => f.gradient(gradient, saved))
    }

    /// Returns the slope at the point with the output `y`, or `None` if the output does not determine the slope.
    #[inline(always)]
    pub fn slope_from_output<N: Number>(self, y: N) -> Option<N> {
        if self.saves_output() { Some(self.gradient(y.splat(1.), y)) } else { None }
    }

    /// Returns the slope at the input `x`.
    #[inline(always)]
    pub fn slope_from_input<N: Number>(self, x: N) -> N {
        let saved = if self.saves_output() { self.value(x) } else { x };
        self.gradient(x.splat(1.), saved)
    }
}

/// Applies `activation` to every element. On the CPU, the forward pass and the backward pass run one kernel each.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Activation, activate};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-1f32, 0., 2.], &Device::Cpu)?;
/// assert_eq!(activate(Activation::Relu, &x)?.to_vec1::<f32>()?, [0., 0., 2.]);
/// # Ok(())
/// # }
/// ```
pub fn apply(activation: Activation, x: &Tensor) -> Result<Tensor> {
    if activation == Activation::Identity && has_cpu_kernels(x) {
        return Ok(x.clone());
    }
    with_function!(activation, f => apply_function(f, x))
}

/// Returns the gradient of the input of an activation for which [`Activation::saves_output`] is `true`, on the CPU.
pub(super) fn gradient(activation: Activation, grad: &Tensor, output: &Tensor) -> Result<Tensor> {
    if activation == Activation::Identity {
        return Ok(grad.clone());
    }
    with_function!(activation, f => elementwise::gradient(f, grad, output))
}

/// Applies a function to every element: with a kernel on the CPU, with candle's operations on other devices.
fn apply_function<F: Function>(function: F, x: &Tensor) -> Result<Tensor> {
    if has_cpu_kernels(x) { elementwise::apply(function, x) } else { function.composed(x) }
}

/// Applies ELU: `x` if `x > 0`, else `alpha (e^x - 1)`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::elu;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-1f32, 2.], &Device::Cpu)?;
/// let y = elu(&x, 1.)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-0.63212f32, 2.]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn elu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    apply_function(Elu { alpha, scale: 1., input_scale: 1. }, x)
}

/// Applies CELU: `x` if `x > 0`, else `alpha (e^(x / alpha) - 1)`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::celu;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-2f32, 2.], &Device::Cpu)?;
/// let y = celu(&x, 2.)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-1.26424f32, 2.]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn celu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    apply_function(Elu { alpha, scale: 1., input_scale: 1. / alpha }, x)
}

/// Applies SELU: a scaled ELU whose constants preserve mean 0 and variance 1 from layer to layer.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::selu;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-1f32, 1.], &Device::Cpu)?;
/// let y = selu(&x)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-1.11133f32, 1.0507]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn selu(x: &Tensor) -> Result<Tensor> {
    let alpha = 1.673_263_242_354_377_2;
    let scale = 1.050_700_987_355_480_5;
    apply_function(Elu { alpha, scale, input_scale: 1. }, x)
}

/// Applies GELU, `x Φ(x)`, where Φ is the distribution function of the standard normal distribution, approximated by a
/// hyperbolic tangent.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::gelu_tanh;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-1f32, 1.], &Device::Cpu)?;
/// let y = gelu_tanh(&x)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-0.15881f32, 0.84119]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    apply_function(GeluTanh {}, x)
}

/// Applies hardtanh, `min(max(x, min), max)`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::hardtanh;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-3f32, 0.5], &Device::Cpu)?;
/// let y = hardtanh(&x, -1., 1.)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-1f32, 0.5]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn hardtanh(x: &Tensor, min: f64, max: f64) -> Result<Tensor> {
    apply_function(Hardtanh { min, max }, x)
}

/// Applies log-sigmoid, `ln σ(x)` with `σ(x) = 1 / (1 + e^-x)`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::logsigmoid;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[0f32, 1.], &Device::Cpu)?;
/// let y = logsigmoid(&x)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-0.69315f32, -0.31326]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn logsigmoid(x: &Tensor) -> Result<Tensor> {
    apply_function(LogSigmoid {}, x)
}

/// Applies softplus, `ln(1 + e^(beta x)) / beta`, or `x` itself if `beta x > threshold`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::softplus;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[0f32, 30.], &Device::Cpu)?;
/// let y = softplus(&x, 1., 20.)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([0.69315f32, 30.]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn softplus(x: &Tensor, beta: f64, threshold: f64) -> Result<Tensor> {
    apply_function(Softplus { beta, threshold }, x)
}

/// Applies Mish, `x tanh(ln(1 + e^x))`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::mish;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[0f32, 1.], &Device::Cpu)?;
/// let y = mish(&x)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([0f32, 0.8651]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn mish(x: &Tensor) -> Result<Tensor> {
    apply_function(Mish {}, x)
}

/// Applies hardsigmoid, `min(max(x + 3, 0), 6) / 6`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::hardsigmoid;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[0f32, 4.], &Device::Cpu)?;
/// let y = hardsigmoid(&x)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([0.5f32, 1.]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn hardsigmoid(x: &Tensor) -> Result<Tensor> {
    apply_function(Hardsigmoid {}, x)
}

/// Applies a threshold: `x` if `x > threshold`, else `value`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::threshold;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-2f32, 1., 2.], &Device::Cpu)?;
/// let y = threshold(&x, 1., -5.)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-5f32, -5., 2.]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn threshold(x: &Tensor, threshold: f64, value: f64) -> Result<Tensor> {
    apply_function(Threshold { threshold, replacement: value }, x)
}

/// Applies soft shrinkage: `x - lambd` if `x > lambd`, `x + lambd` if `x < -lambd`, else 0.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::softshrink;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-2f32, 0.5, 2.], &Device::Cpu)?;
/// let y = softshrink(&x, 0.5)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-1.5f32, 0., 1.5]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn softshrink(x: &Tensor, lambd: f64) -> Result<Tensor> {
    apply_function(Softshrink { lambd }, x)
}

/// Applies hard shrinkage: `x` if `|x| > lambd`, else 0.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::hardshrink;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-2f32, 0.5, 2.], &Device::Cpu)?;
/// let y = hardshrink(&x, 0.5)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-2f32, 0., 2.]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn hardshrink(x: &Tensor, lambd: f64) -> Result<Tensor> {
    apply_function(Hardshrink { lambd }, x)
}

/// Applies tanh shrinkage, `x - tanh x`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::tanhshrink;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[0f32, 1.], &Device::Cpu)?;
/// let y = tanhshrink(&x)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([0f32, 0.23841]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn tanhshrink(x: &Tensor) -> Result<Tensor> {
    apply_function(Tanhshrink {}, x)
}

/// Applies softsign, `x / (1 + |x|)`.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::softsign;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-1f32, 3.], &Device::Cpu)?;
/// let y = softsign(&x)?.to_vec1::<f32>()?;
/// for (actual, expected) in y.iter().zip([-0.5f32, 0.75]) {
///     assert!((actual - expected).abs() < 1e-4);
/// }
/// # Ok(())
/// # }
/// ```
pub fn softsign(x: &Tensor) -> Result<Tensor> {
    apply_function(Softsign {}, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_equal_the_values_at_infinity() {
        for activation in Activation::EACH {
            let Some(bounds) = bounds(activation) else { continue };
            assert_eq!(
                [f32::NEG_INFINITY, f32::INFINITY].map(|x| activation.value(x)),
                bounds,
                "{activation:?}"
            );
        }
    }

    /// Checks that the list in `cuda/activation.cuh` has the names of all activations in the same order.
    #[test]
    fn kinds_match_the_cuda_header() {
        let header = include_str!("../cuda/activation.cuh");
        let listed = header.lines().filter_map(|line| line.strip_prefix("    X(")?.split(')').next());
        let names = Activation::EACH.iter().map(|activation| activation.name().to_uppercase());
        assert!(listed.eq(names));
        for (number, activation) in (0..).zip(Activation::EACH) {
            assert_eq!(activation.kind_and_parameter().0, number);
        }
    }
}
