//! Activations: layers without tensors, and PReLU, which has one.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use super::{own_config, printed, stateless};
use crate::Result;
use crate::config::Config;
use crate::display::python_float;
use crate::functional;
use crate::kernels::activation::{self as kernels, Activation};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::Signal;

/// A layer that is one elementwise activation, fused into the convolution before it.
macro_rules! activations {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $activation:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $layer;

        impl $layer {
            pub fn config() -> Self {
                Self
            }

            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind);
        own_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn call(&self, x: Signal, _: Mode) -> Signal {
                functional::activate(Activation::$activation, x)
            }
        }
    )*};
}

activations! {
    /// `max(x, 0)`
    Relu "ReLU" Relu;
    /// `min(max(x, 0), 6)`
    Relu6 "ReLU6" Relu6;
    /// `x Φ(x)`, exact: Hendrycks and Gimpel 2016.
    Gelu "GELU" Gelu;
    /// `x σ(x)`: Elfwing et al. 2017; Swish.
    Silu "SiLU" Silu;
    /// `σ(x) = 1 / (1 + e⁻ˣ)`
    Sigmoid "Sigmoid" Sigmoid;
    Tanh "Tanh" Tanh;
    /// `x · relu6(x + 3) / 6`: Howard et al. 2019.
    Hardswish "Hardswish" Hardswish;
}

/// `x` where it is positive, else `negative_slope · x`.
#[derive(Clone, Copy, Debug)]
pub struct LeakyRelu {
    negative_slope: f64,
}

impl Default for LeakyRelu {
    fn default() -> Self {
        Self { negative_slope: 0.01 }
    }
}

impl LeakyRelu {
    /// A slope of 0.01.
    pub fn config() -> Self {
        Self::default()
    }

    pub fn negative_slope(mut self, slope: f64) -> Self {
        self.negative_slope = slope;
        self
    }

    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

stateless!(LeakyRelu, "LeakyReLU", |this| format!("negative_slope={}", python_float(this.negative_slope)));
own_config!(LeakyRelu);

impl Forward for LeakyRelu {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        functional::leaky_relu(x, self.negative_slope)
    }
}

/// `x` where it is positive, else `weight · x` with a learned weight, one for all channels or one each.
///
/// `PRelu::config()` with the setters `num_parameters` (1) and `init` (0.25).
pub struct PRelu {
    weight: Tensor,
}

/// The arguments of a [`PRelu`].
#[derive(Clone, Copy, Debug)]
pub struct PReluConfig {
    num_parameters: usize,
    init: f64,
}

impl PRelu {
    pub fn config() -> PReluConfig {
        PReluConfig { num_parameters: 1, init: 0.25 }
    }

    /// `[num_parameters]`
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

impl PReluConfig {
    /// One slope, or as many as there are channels.
    pub fn num_parameters(mut self, number: usize) -> Self {
        self.num_parameters = number;
        self
    }

    /// The slopes' first value.
    pub fn init_value(mut self, value: f64) -> Self {
        self.init = value;
        self
    }
}

impl Config for PReluConfig {
    type Output = PRelu;

    fn build(self, vb: VarBuilder) -> Result<PRelu> {
        Ok(PRelu { weight: vb.get_with_hints(self.num_parameters, "weight", Init::Const(self.init))? })
    }
}

impl Module for PRelu {
    fn kind(&self) -> Cow<'static, str> {
        "PReLU".into()
    }

    fn extra(&self) -> String {
        format!("num_parameters={}", self.weight.elem_count())
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.parameter("weight", &self.weight);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.parameter("weight", &mut self.weight);
    }

    fn share(&self) -> Self {
        Self { weight: self.weight.clone() }
    }
}

printed!(PRelu);

impl Forward for PRelu {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        x.apply("prelu", |x| kernels::prelu(&x, &self.weight))
    }
}

/// A normalisation over one dimension, counted from the end where it is negative.
macro_rules! over_dimension {
    ($($(#[$doc:meta])* $layer:ident $kind:literal $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $layer {
            dim: isize,
        }

        impl $layer {
            /// `dim` counts from the end where it is negative.
            pub fn config(dim: isize) -> Self {
                Self { dim }
            }

            fn checked(self) -> Result<Self> {
                Ok(self)
            }
        }

        stateless!($layer, $kind, |this| format!("dim={}", this.dim));
        own_config!($layer);

        impl Forward for $layer {
            type Output = Signal;

            fn call(&self, x: Signal, _: Mode) -> Signal {
                functional::$function(x, self.dim)
            }
        }
    )*};
}

over_dimension! {
    /// `eˣ / Σ eˣ` over one dimension.
    Softmax "Softmax" softmax;
    /// `x − log Σ eˣ` over one dimension.
    LogSoftmax "LogSoftmax" log_softmax;
}
