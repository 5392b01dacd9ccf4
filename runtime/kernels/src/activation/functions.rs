//! Each activation as a function of one number, with PyTorch's value and gradient for every input:
//! on the kinks, at infinity and for NaN.
//!
//! Where the slope is piecewise constant the gradient is selected, not multiplied, so that an infinite
//! gradient on a flat piece gives 0 and not NaN.

use crate::elementwise::Function;
use crate::float::Float;

#[derive(Clone, Copy)]
pub(crate) struct Relu;
#[derive(Clone, Copy)]
pub(crate) struct Relu6;
#[derive(Clone, Copy)]
pub(crate) struct LeakyRelu(pub f64);
#[derive(Clone, Copy)]
pub(crate) struct Silu;
#[derive(Clone, Copy)]
pub(crate) struct Gelu;
#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;
#[derive(Clone, Copy)]
pub(crate) struct Tanh;
#[derive(Clone, Copy)]
pub(crate) struct Hardswish;
#[derive(Clone, Copy)]
pub(crate) struct Hardsigmoid;
#[derive(Clone, Copy)]
pub(crate) struct Elu {
    pub alpha: f64,
    /// What the output is multiplied by, and the input before the exponential.
    pub scale: f64,
    pub input_scale: f64,
}
#[derive(Clone, Copy)]
pub(crate) struct GeluTanh;
#[derive(Clone, Copy)]
pub(crate) struct Hardtanh {
    pub min: f64,
    pub max: f64,
}
#[derive(Clone, Copy)]
pub(crate) struct LogSigmoid;
#[derive(Clone, Copy)]
pub(crate) struct Softplus {
    pub beta: f64,
    pub threshold: f64,
}
#[derive(Clone, Copy)]
pub(crate) struct Mish;

/// Implements [`Function`] for a type whose value is called `$this`: its name, whether it saves its
/// output, its value, its gradient.
macro_rules! function {
    ($this:ident: $type:ty, $name:literal, saves_output: $saves:expr,
     value: |$x:ident| $value:expr, gradient: |$grad:ident, $saved:ident| $gradient:expr $(,)?) => {
        #[allow(unused_variables)]
        impl Function for $type {
            const NAME: &'static str = $name;
            #[inline(always)]
            fn saves_output(self) -> bool {
                let $this = self;
                $saves
            }
            #[inline(always)]
            fn value<T: Float>(self, $x: T) -> T {
                let $this = self;
                $value
            }
            #[inline(always)]
            fn gradient<T: Float>(self, $grad: T, $saved: T) -> T {
                let $this = self;
                $gradient
            }
        }
    };
}

#[inline(always)]
fn c<T: Float>(x: f64) -> T {
    T::from_f64(x)
}

function!(this: Relu, "relu", saves_output: true,
    value: |x| x.at_least(T::ZERO),
    gradient: |grad, y| if y <= T::ZERO { T::ZERO } else { grad },
);

function!(this: Relu6, "relu6", saves_output: true,
    value: |x| x.at_least(T::ZERO).at_most(c(6.0)),
    gradient: |grad, y| if y <= T::ZERO || y >= c(6.0) { T::ZERO } else { grad },
);

function!(this: LeakyRelu, "leaky_relu", saves_output: this.0 >= 0.0, // Then the sign of y is that of x.
    value: |x| if x > T::ZERO { x } else { x * c(this.0) },
    gradient: |grad, saved| if saved > T::ZERO { grad } else { grad * c(this.0) },
);

function!(this: Silu, "silu", saves_output: false,
    value: |x| x * x.sigmoid(),
    gradient: |grad, x| {
        let s = x.sigmoid();
        grad * (s * (T::ONE + x * (T::ONE - s)))
    },
);

function!(this: Gelu, "gelu", saves_output: false,
    value: |x| x * x.normal_cdf(),
    gradient: |grad, x| grad * (x.normal_cdf() + x * x.normal_pdf()),
);

function!(this: Sigmoid, "sigmoid", saves_output: true,
    value: |x| x.sigmoid(),
    gradient: |grad, y| grad * ((T::ONE - y) * y),
);

function!(this: Tanh, "tanh", saves_output: true,
    value: |x| x.tanh(),
    // Not `1 - y²`, which cancels where `y` is near one.
    gradient: |grad, y| grad * ((T::ONE - y) * (T::ONE + y)),
);

function!(this: Hardswish, "hardswish", saves_output: false,
    value: |x| x * (x + c(3.0)).at_least(T::ZERO).at_most(c(6.0)) / c(6.0),
    gradient: |grad, x| {
        let middle = grad * (x / c(3.0) + c(0.5));
        if x <= c(-3.0) { T::ZERO } else if x < c(3.0) { middle } else { grad }
    },
);

function!(this: Hardsigmoid, "hardsigmoid", saves_output: false,
    value: |x| (x + c(3.0)).at_least(T::ZERO).at_most(c(6.0)) / c(6.0),
    gradient: |grad, x| if x > c(-3.0) && x < c(3.0) { grad / c(6.0) } else { T::ZERO },
);

function!(this: Hardtanh, "hardtanh", saves_output: false,
    value: |x| x.at_least(c(this.min)).at_most(c(this.max)),
    gradient: |grad, x| if x <= c(this.min) || x >= c(this.max) { T::ZERO } else { grad },
);

function!(this: Elu, "elu", saves_output: false,
    value: |x| {
        if x > T::ZERO {
            x * c(this.scale)
        } else {
            (x * c(this.input_scale)).exp_m1() * c(this.alpha * this.scale)
        }
    },
    gradient: |grad, x| {
        if x > T::ZERO {
            grad * c(this.scale)
        } else {
            grad * (x * c(this.input_scale)).exp() * c(this.alpha * this.scale * this.input_scale)
        }
    },
);

function!(this: GeluTanh, "gelu", saves_output: false,
    value: |x| x * gelu_sigmoid(x),
    gradient: |grad, x| {
        let s = gelu_sigmoid(x);
        let slope = c::<T>(GELU_SLOPE) * (T::ONE + c::<T>(3.0 * GELU_CUBE) * x * x);
        grad * (s + x * s * (T::ONE - s) * slope)
    },
);

/// `2 √(2/π)`, and what the cube is weighted by.
const GELU_SLOPE: f64 = 1.595_769_121_605_730_7;
const GELU_CUBE: f64 = 0.044_715;

/// `(1 + tanh u) / 2 = σ(2u)` with `u = √(2/π) (x + 0.044715 x³)`, without its cancellation for small `x`.
#[inline(always)]
fn gelu_sigmoid<T: Float>(x: T) -> T {
    (c::<T>(GELU_SLOPE) * (x + c::<T>(GELU_CUBE) * x * x * x)).sigmoid()
}

function!(this: LogSigmoid, "logsigmoid", saves_output: false,
    value: |x| x.at_most(T::ZERO) - (-x.abs()).exp().ln_1p(),
    gradient: |grad, x| grad * (-x).sigmoid(),
);

function!(this: Softplus, "softplus", saves_output: false,
    value: |x| {
        let scaled = x * c(this.beta);
        if scaled > c(this.threshold) { x } else { scaled.exp().ln_1p() / c(this.beta) }
    },
    gradient: |grad, x| {
        let scaled = x * c(this.beta);
        if scaled > c(this.threshold) { grad } else { grad * scaled.sigmoid() }
    },
);

function!(this: Mish, "mish", saves_output: false,
    value: |x| x * tanh_softplus(x),
    gradient: |grad, x| {
        let t = tanh_softplus(x);
        grad * (t + x * x.sigmoid() * (T::ONE - t * t))
    },
);

/// `tanh(ln(1 + e^x))` as `w / (w + 2)` with `w = e^x (e^x + 2)`: no logarithm, no cancellation.
#[inline(always)]
fn tanh_softplus<T: Float>(x: T) -> T {
    // Beyond 20 the quotient is 1 to the last digit, and w would overflow.
    let e = x.at_most(c(20.0)).exp();
    let w = e * (e + c(2.0));
    w / (w + c(2.0))
}
