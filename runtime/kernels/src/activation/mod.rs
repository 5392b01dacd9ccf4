//! The activations: those that a kernel's epilogue can apply, and those that stand alone.

pub(crate) mod functions;
mod prelu;
mod simd;

use super::element::clamp;
use super::elementwise::{self, Function};
use super::float::Float;
use candle_core::{Result, Tensor};
use functions::*;

pub use prelu::prelu;
pub(crate) use simd::{activate, bounds};

/// An elementwise activation, in PyTorch's definitions.
///
/// NaN passes through every one of them, as in PyTorch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    #[default]
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` if positive, `negative_slope · x` otherwise.
    LeakyRelu {
        /// The factor of negative inputs.
        negative_slope: f64,
    },
    /// `x σ(x)`.
    Silu,
    /// The exact form, `x Φ(x)`.
    Gelu,
    /// `σ(x) = 1 / (1 + e^-x)`.
    Sigmoid,
    /// `tanh x`.
    Tanh,
    /// `x · min(max(x + 3, 0), 6) / 6`.
    Hardswish,
}

/// Evaluates `$body` with `$f` the [`Function`] of an activation, or `$identity` where it is none.
macro_rules! with_function {
    ($activation:expr, $f:ident => $body:expr, identity => $identity:expr) => {{
        use $crate::activation::functions;
        match $activation {
            Activation::Identity => $identity,
            Activation::Relu => with_function!(@ $f, functions::Relu, $body),
            Activation::Relu6 => with_function!(@ $f, functions::Relu6, $body),
            Activation::LeakyRelu { negative_slope } => {
                with_function!(@ $f, functions::LeakyRelu(negative_slope), $body)
            }
            Activation::Silu => with_function!(@ $f, functions::Silu, $body),
            Activation::Gelu => with_function!(@ $f, functions::Gelu, $body),
            Activation::Sigmoid => with_function!(@ $f, functions::Sigmoid, $body),
            Activation::Tanh => with_function!(@ $f, functions::Tanh, $body),
            Activation::Hardswish => with_function!(@ $f, functions::Hardswish, $body),
        }
    }};
    (@ $f:ident, $function:expr, $body:expr) => {{
        let $f = $function;
        $body
    }};
}
pub(crate) use with_function;

impl Activation {
    /// Its function's name: `relu`, `leaky_relu`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Hardswish => "hardswish",
        }
    }

    /// The activation of one number.
    #[inline(always)]
    pub fn value<T: Float>(self, x: T) -> T {
        with_function!(self, f => f.value(x), identity => x)
    }

    /// Whether the output alone tells the slope, so that a backward pass need not keep the input.
    #[inline(always)]
    pub fn saves_output(self) -> bool {
        with_function!(self, f => f.saves_output(), identity => true)
    }

    /// The gradient of the input for the `gradient` of the output and what the forward pass `saved`: the
    /// output where [`saves_output`](Self::saves_output) says so, else the input.
    ///
    /// On flat pieces the result is 0 whatever the gradient, infinities included.
    #[inline(always)]
    pub fn gradient<T: Float>(self, gradient: T, saved: T) -> T {
        with_function!(self, f => f.gradient(gradient, saved), identity => gradient)
    }

    /// The slope where the output is `y`; `None` where the output does not tell.
    #[inline(always)]
    pub fn slope_from_output<T: Float>(self, y: T) -> Option<T> {
        if self.saves_output() { Some(self.gradient(T::ONE, y)) } else { None }
    }

    /// The slope at the input `x`.
    #[inline(always)]
    pub fn slope_from_input<T: Float>(self, x: T) -> T {
        let saved = if self.saves_output() { self.value(x) } else { x };
        self.gradient(T::ONE, saved)
    }
}

/// Applies `activation` to every element: one pass forward, one backward.
///
/// # Errors
/// The tensor is not of f32, f64, f16 or bf16.
pub fn apply(activation: Activation, x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return apply_composed(activation, x);
    }
    with_function!(activation, f => elementwise::apply(f, x), identity => Ok(x.clone()))
}

/// The gradient of the input of an activation that [saves its output](Activation::saves_output), on the CPU.
pub(super) fn gradient(activation: Activation, grad: &Tensor, output: &Tensor) -> Result<Tensor> {
    with_function!(activation, f => elementwise::gradient(f, grad, output), identity => Ok(grad.clone()))
}

/// [`apply`] from candle's own operations, for devices that this crate's loops do not reach.
fn apply_composed(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::Relu6 => clamp(x, 0.0, 6.0),
        // relu(x) - slope · relu(-x)
        Activation::LeakyRelu { negative_slope } => {
            x.relu()?.sub(&x.neg()?.relu()?.affine(negative_slope, 0.0)?)
        }
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::Sigmoid => sigmoid_composed(x),
        Activation::Tanh => x.tanh(),
        Activation::Hardswish => x.mul(&hardsigmoid_composed(x)?),
    }
}

fn sigmoid_composed(x: &Tensor) -> Result<Tensor> {
    // Through tanh, which does not overflow: σ(x) = (1 + tanh(x / 2)) / 2.
    x.affine(0.5, 0.0)?.tanh()?.affine(0.5, 0.5)
}

fn hardsigmoid_composed(x: &Tensor) -> Result<Tensor> {
    clamp(&x.affine(1.0, 3.0)?, 0.0, 6.0)?.affine(1.0 / 6.0, 0.0)
}

/// `x` where positive, `alpha (e^x - 1)` elsewhere.
pub fn elu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    any_elu(x, Elu { alpha, scale: 1.0, input_scale: 1.0 })
}

/// `x` where positive, `alpha (e^(x / alpha) - 1)` elsewhere.
pub fn celu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    any_elu(x, Elu { alpha, scale: 1.0, input_scale: 1.0 / alpha })
}

/// An ELU whose two constants keep mean 0 and variance 1 from layer to layer.
pub fn selu(x: &Tensor) -> Result<Tensor> {
    let (alpha, scale) = (1.673_263_242_354_377_2, 1.050_700_987_355_480_5);
    any_elu(x, Elu { alpha, scale, input_scale: 1.0 })
}

fn any_elu(x: &Tensor, elu: Elu) -> Result<Tensor> {
    if x.device().is_cpu() { elementwise::apply(elu, x) } else { elu_composed(x, elu) }
}

fn elu_composed(x: &Tensor, Elu { alpha, scale, input_scale }: Elu) -> Result<Tensor> {
    let weight = alpha * scale;
    let negative = x.neg()?.relu()?.affine(-input_scale, 0.0)?.exp()?.affine(weight, -weight)?;
    x.relu()?.affine(scale, 0.0)?.add(&negative)
}

/// `x Φ(x)` with Φ approximated by a hyperbolic tangent.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { elementwise::apply(GeluTanh, x) } else { x.gelu() }
}

/// `min(max(x, min), max)`.
pub fn hardtanh(x: &Tensor, min: f64, max: f64) -> Result<Tensor> {
    if x.device().is_cpu() { elementwise::apply(Hardtanh { min, max }, x) } else { x.clamp(min, max) }
}

/// `ln σ(x)`.
pub fn logsigmoid(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { elementwise::apply(LogSigmoid, x) } else { softplus_composed(&x.neg()?)?.neg() }
}

/// `ln(1 + e^(beta x)) / beta`, and `x` itself where `beta x` exceeds `threshold`.
pub fn softplus(x: &Tensor, beta: f64, threshold: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        return elementwise::apply(Softplus { beta, threshold }, x);
    }
    softplus_composed(&x.affine(beta, 0.0)?)?.affine(1.0 / beta, 0.0)
}

/// `max(x, 0) + ln(1 + e^-|x|)`, which stays finite for large `x`.
fn softplus_composed(x: &Tensor) -> Result<Tensor> {
    x.relu()?.add(&x.abs()?.neg()?.exp()?.affine(1.0, 1.0)?.log()?)
}

/// `x tanh(ln(1 + e^x))`.
pub fn mish(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { elementwise::apply(Mish, x) } else { x.mul(&softplus_composed(x)?.tanh()?) }
}

/// `min(max(x + 3, 0), 6) / 6`.
pub fn hardsigmoid(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { elementwise::apply(Hardsigmoid, x) } else { hardsigmoid_composed(x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// Checks that `composed` gives the output and the gradient of the kernel `fused`.
    fn check(
        fused: impl Fn(&Tensor) -> Result<Tensor>,
        composed: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let x = Var::from_tensor(&Tensor::rand(-8.0, 8.0, 333, &Device::Cpu)?)?;
        let [fused, composed] = [fused(&x)?, composed(&x)?];
        let [a, b] = [fused.sum_all()?.backward()?, composed.sum_all()?.backward()?];
        let [a, b] = [a.get(&x).expect("a gradient"), b.get(&x).expect("a gradient")];
        for (a, b) in [(&fused, &composed), (a, b)] {
            let difference = a.sub(b)?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert!(difference < 1e-6, "{difference}");
        }
        Ok(())
    }

    #[test]
    fn composed_activations_agree_with_the_kernels() -> Result<()> {
        let leaky = Activation::LeakyRelu { negative_slope: 0.2 };
        for kind in [Activation::Relu, Activation::Relu6, leaky, Activation::Silu, Activation::Gelu] {
            check(|x| apply(kind, x), |x| apply_composed(kind, x))?;
        }
        for kind in [Activation::Identity, Activation::Sigmoid, Activation::Tanh, Activation::Hardswish] {
            check(|x| apply(kind, x), |x| apply_composed(kind, x))?;
        }
        check(|x| softplus(x, 1.0, 20.0), softplus_composed)?;
        for elu in [
            Elu { alpha: 1.3, scale: 1.0, input_scale: 1.0 },
            Elu { alpha: 1.7, scale: 1.1, input_scale: 0.6 },
        ] {
            check(|x| any_elu(x, elu), |x| elu_composed(x, elu))?;
        }
        check(gelu_tanh, Tensor::gelu)?;
        check(|x| hardtanh(x, -2.0, 3.0), |x| x.clamp(-2.0, 3.0))?;
        check(logsigmoid, |x| softplus_composed(&x.neg()?)?.neg())?;
        check(hardsigmoid, hardsigmoid_composed)
    }
}
