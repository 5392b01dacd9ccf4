//! The table of activations, with one entry for each. All Rust code that computes or names an activation uses this
//! table; `cuda/activation.cuh` repeats the fused activations for CUDA.
//!
//! Values and gradients match PyTorch for every input, including the kinks, infinities and NaN. In an interval on which
//! an activation is constant, such as the negative numbers for ReLU, the gradient of the input is set to 0. Multiplying
//! the gradient of the output by a slope of 0 would give NaN if that gradient is infinite.

use candle_core::{Result, Tensor};

use crate::activation::Function;
use crate::element::clamp;
use crate::number::Number;

use super::table::activations;

activations! {
    // Activations that kernels fuse: the variants of `Activation`, in the order of `ActivationKind` in
    // `cuda/activation.cuh`.
    fused {
        /// `x`
        Identity = identity [] {
            bounds: [f32::NEG_INFINITY, f32::INFINITY],
            value: |x| x,
            saves_output: true,
            gradient: |grad, _y| grad,
            composed: |x| Ok(x.clone()),
        }

        /// `max(x, 0)`
        #[doc(alias = "ReLU")]
        Relu = relu ["ReLU"] {
            bounds: [0., f32::INFINITY],
            value: |x| x.at_least(x.splat(0.)),
            saves_output: true,
            gradient: |grad, y| {
                let zero = y.splat(0.);
                y.where_at_most(zero, zero, grad)
            },
            composed: |x| x.relu(),
        }

        /// `min(max(x, 0), 6)`
        #[doc(alias = "ReLU6")]
        Relu6 = relu6 ["ReLU6"] {
            bounds: [0., 6.],
            value: |x| x.at_least(x.splat(0.)).at_most(x.splat(6.)),
            saves_output: true,
            gradient: |grad, y| {
                let zero = y.splat(0.);
                let six = y.splat(6.);
                y.where_at_most(zero, zero, six.where_at_most(y, zero, grad))
            },
            composed: |x| clamp(x, 0., 6.),
        }

        /// `x` if `x > 0`, else `negative_slope · x`
        LeakyRelu { negative_slope } = leaky_relu [] {
            inline: true,
            value: |x| x.splat(0.).where_less(x, x, x * x.splat(negative_slope)),
            // If `negative_slope` is not negative, the output is positive exactly if the input is.
            saves_output: negative_slope >= 0.,
            gradient: |grad, y| y.splat(0.).where_less(y, grad, grad * y.splat(negative_slope)),
            composed: |x| x.relu()? - x.neg()?.relu()?.affine(negative_slope, 0.)?,
        }

        /// `x σ(x)`, where σ is the sigmoid. Also called Swish (Elfwing et al., 2017).
        #[doc(alias = "SiLU")]
        Silu = silu ["SiLU"] {
            value: |x| x * x.sigmoid(),
            saves_output: false,
            gradient: |grad, x| {
                let one = x.splat(1.);
                let s = x.sigmoid();
                grad * (s * (one + x * (one - s)))
            },
            composed: |x| x.silu(),
        }

        /// `x Φ(x)`, where Φ is the distribution function of the standard normal distribution (Hendrycks and Gimpel,
        /// 2016).
        Gelu = gelu [] {
            value: |x| x * x.normal().cdf,
            saves_output: false,
            gradient: |grad, x| {
                let normal = x.normal();
                grad * (normal.cdf + x * normal.pdf)
            },
            composed: |x| x.gelu_erf(),
        }

        /// `σ(x) = 1 / (1 + e⁻ˣ)`
        Sigmoid = sigmoid ["Sigmoid"] {
            value: |x| x.sigmoid(),
            saves_output: true,
            gradient: |grad, y| grad * ((y.splat(1.) - y) * y),
            // (1 + tanh(x / 2)) / 2 does not overflow.
            composed: |x| x.affine(0.5, 0.)?.tanh()?.affine(0.5, 0.5),
        }

        /// The hyperbolic tangent.
        Tanh = tanh ["Tanh"] {
            value: |x| x.tanh(),
            saves_output: true,
            // Not `1 - y²`, which suffers from cancellation if `y` is near 1.
            gradient: |grad, y| grad * ((y.splat(1.) - y) * (y.splat(1.) + y)),
            composed: |x| x.tanh(),
        }

        /// `x · relu6(x + 3) / 6` (Howard et al., 2019).
        Hardswish = hardswish ["Hardswish"] {
            inline: true,
            value: |x| {
                let gate = (x + x.splat(3.)).at_least(x.splat(0.)).at_most(x.splat(6.));
                x * (gate * x.splat(1. / 6.))
            },
            saves_output: false,
            gradient: |grad, x| {
                let middle = grad * (x / x.splat(3.) + x.splat(0.5));
                let right = x.where_less(x.splat(3.), middle, grad);
                x.where_at_most(x.splat(-3.), x.splat(0.), right)
            },
            composed: |x| x * Hardsigmoid {}.composed(x)?,
        }
    }

    // Activations that always run as a separate pass.
    separate {
        /// `relu6(x + 3) / 6`
        Hardsigmoid = hardsigmoid [] {
            value: |x| (x + x.splat(3.)).at_least(x.splat(0.)).at_most(x.splat(6.)) / x.splat(6.),
            saves_output: false,
            gradient: |grad, x| {
                let zero = x.splat(0.);
                let below = x.where_less(x.splat(3.), grad / x.splat(6.), zero);
                x.splat(-3.).where_less(x, below, zero)
            },
            composed: |x| clamp(&x.affine(1., 3.)?, 0., 6.)?.affine(1. / 6., 0.),
        }

        /// `min(max(x, min), max)`
        Hardtanh { min, max } = hardtanh [] {
            value: |x| x.at_least(x.splat(min)).at_most(x.splat(max)),
            saves_output: false,
            gradient: |grad, x| {
                let min = x.splat(min);
                let max = x.splat(max);
                let zero = x.splat(0.);
                x.where_at_most(min, zero, max.where_at_most(x, zero, grad))
            },
            composed: |x| clamp(x, min, max),
        }

        /// `scale · x` if `x > 0`, else `scale · alpha (e^(input_scale · x) - 1)`: ELU, CELU and SELU.
        Elu { alpha, scale, input_scale } = elu [] {
            value: |x| {
                let negative = (x * x.splat(input_scale)).exp_m1() * x.splat(alpha * scale);
                x.splat(0.).where_less(x, x * x.splat(scale), negative)
            },
            saves_output: false,
            gradient: |grad, x| {
                let slope = (x * x.splat(input_scale)).exp() * x.splat(alpha * scale * input_scale);
                x.splat(0.).where_less(x, grad * x.splat(scale), grad * slope)
            },
            composed: |x| {
                let weight = alpha * scale;
                let negative = x.neg()?.relu()?.affine(-input_scale, 0.)?.exp()?.affine(weight, -weight)?;
                x.relu()?.affine(scale, 0.)? + negative
            },
        }

        /// `x Φ(x)` with Φ approximated by a hyperbolic tangent.
        GeluTanh = gelu [] {
            value: |x| x * approximate_normal_cdf(x),
            saves_output: false,
            gradient: |grad, x| {
                let one = x.splat(1.);
                let s = approximate_normal_cdf(x);
                let slope = x.splat(GELU_SLOPE) * (one + x.splat(3. * GELU_CUBE) * x * x);
                grad * (s + x * s * (one - s) * slope)
            },
            composed: |x| x.gelu(),
        }

        /// `ln σ(x)`
        LogSigmoid = logsigmoid [] {
            value: |x| -(-x).ln_1p_exp(),
            saves_output: false,
            gradient: |grad, x| grad * (-x).sigmoid(),
            composed: |x| softplus_composed(&x.neg()?)?.neg(),
        }

        /// `ln(1 + e^(beta x)) / beta`, or `x` itself if `beta x > threshold`
        Softplus { beta, threshold } = softplus [] {
            value: |x| {
                let scaled = x * x.splat(beta);
                x.splat(threshold).where_less(scaled, x, scaled.ln_1p_exp() / x.splat(beta))
            },
            saves_output: false,
            gradient: |grad, x| {
                let scaled = x * x.splat(beta);
                x.splat(threshold).where_less(scaled, grad, grad * scaled.sigmoid())
            },
            composed: |x| softplus_composed(&x.affine(beta, 0.)?)?.affine(1. / beta, 0.),
        }

        /// `x` if `x > threshold`, else `value`
        Threshold { threshold, replacement } = threshold [] {
            value: |x| x.where_at_most(x.splat(threshold), x.splat(replacement), x),
            saves_output: false,
            gradient: |grad, x| x.where_at_most(x.splat(threshold), x.splat(0.), grad),
            composed: |x| x.le(threshold)?.where_cond(&x.ones_like()?.affine(replacement, 0.)?, x),
        }

        /// `x - lambd` if `x > lambd`, `x + lambd` if `x < -lambd`, else 0
        Softshrink { lambd } = softshrink [] {
            value: |x| {
                let lambd = x.splat(lambd);
                // In the interval, `0 · x` has the sign of `x`, as in PyTorch.
                let not_above = x.where_less(-lambd, x + lambd, x.splat(0.) * x);
                lambd.where_less(x, x - lambd, not_above)
            },
            saves_output: false,
            gradient: |grad, x| shrunk(x, lambd, grad),
            composed: |x| x - clamp(x, -lambd, lambd)?,
        }

        /// `x` if `|x| > lambd`, else 0
        Hardshrink { lambd } = hardshrink [] {
            value: |x| shrunk(x, lambd, x),
            saves_output: false,
            gradient: |grad, x| shrunk(x, lambd, grad),
            composed: |x| x.abs()?.le(lambd)?.where_cond(&x.zeros_like()?, x),
        }

        /// `x - tanh x`
        Tanhshrink = tanhshrink [] {
            value: |x| x - x.tanh(),
            saves_output: false,
            gradient: |grad, x| {
                let t = x.tanh();
                grad * (t * t)
            },
            composed: |x| x - x.tanh()?,
        }

        /// `x / (1 + |x|)`
        Softsign = softsign [] {
            value: |x| x / (x.splat(1.) + x.abs()),
            saves_output: false,
            gradient: |grad, x| {
                let divisor = x.splat(1.) + x.abs();
                grad / (divisor * divisor)
            },
            composed: |x| x / (x.abs()? + 1.)?,
        }

        /// `x tanh(ln(1 + eˣ))`
        Mish = mish [] {
            value: |x| x * tanh_softplus(x),
            saves_output: false,
            gradient: |grad, x| {
                let t = tanh_softplus(x);
                grad * (t + x * x.sigmoid() * (x.splat(1.) - t * t))
            },
            composed: |x| x * softplus_composed(x)?.tanh()?,
        }
    }
}

/// `2 √(2/π)`: the coefficient of `x` in `2u` (see [`approximate_normal_cdf`]).
const GELU_SLOPE: f64 = 1.595_769_121_605_730_7;
/// The coefficient of `x³` in `u`, divided by that of `x` (see [`approximate_normal_cdf`]).
const GELU_CUBE: f64 = 0.044_715;

/// Approximates Φ: returns `(1 + tanh u) / 2` with `u = √(2/π) (x + 0.044715 x³)`, computed as `σ(2u)`, which avoids
/// cancellation.
#[inline(always)]
fn approximate_normal_cdf<N: Number>(x: N) -> N {
    (x.splat(GELU_SLOPE) * (x + x.splat(GELU_CUBE) * x * x * x)).sigmoid()
}

/// Returns `tanh(ln(1 + e^x))`, computed without logarithm or cancellation as `w / (w + 2)` with `w = e^x (e^x + 2)`.
#[inline(always)]
fn tanh_softplus<N: Number>(x: N) -> N {
    // Above 20 the quotient rounds to 1, and `w` would overflow for large `x`.
    let e = x.at_most(x.splat(20.)).exp();
    let two = x.splat(2.);
    let w = e * (e + two);
    w / (w + two)
}

/// Returns 0 if `|x| ≤ lambd`, and `otherwise` if not.
#[inline(always)]
fn shrunk<N: Number>(x: N, lambd: f64, otherwise: N) -> N {
    x.abs().where_at_most(x.splat(lambd), x.splat(0.), otherwise)
}

/// Returns `ln(1 + e^x)`, computed as `max(x, 0) + ln(1 + e^-|x|)`, which does not overflow for large `x`.
fn softplus_composed(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.)?.log()?
}
