//! Each activation as a function of one number, with PyTorch's value and gradient for every input:
//! on the kinks, at infinity and for NaN.
//!
//! Where the slope is piecewise constant the gradient is selected, not multiplied, so that an infinite
//! gradient on a flat piece gives 0 and not NaN.

use crate::kernels::elementwise::Function;
use crate::kernels::float::Float;

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
}
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
    gradient: |grad, y| grad * (T::ONE - y) * y,
);

function!(this: Tanh, "tanh", saves_output: true,
    value: |x| x.tanh(),
    gradient: |grad, y| grad * (T::ONE - y * y),
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

function!(this: Elu, "elu", saves_output: false,
    value: |x| if x > T::ZERO { x } else { x.exp_m1() * c(this.alpha) },
    gradient: |grad, x| if x > T::ZERO { grad } else { grad * x.exp() * c(this.alpha) },
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
