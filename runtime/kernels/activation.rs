//! The activations that a kernel's epilogue can apply.

use candle_core::{Result, Tensor};

/// An elementwise activation, in PyTorch's definitions.
///
/// NaN passes through every one of them, as in PyTorch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    #[default]
    Identity,
    Relu,
    Relu6,
    LeakyRelu {
        negative_slope: f64,
    },
    Silu,
    /// The exact form, `x Φ(x)`.
    Gelu,
    Sigmoid,
    Tanh,
    Hardswish,
}

/// Applies an activation as an operation of its own, with a gradient.
pub fn apply(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.clamp(0f32, 6f32),
        Activation::LeakyRelu { negative_slope } => x.relu()? - (x.neg()?.relu()? * negative_slope)?,
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::Sigmoid => x.neg()?.exp()?.affine(1., 1.)?.recip(),
        Activation::Tanh => x.tanh(),
        Activation::Hardswish => x * (x + 3.)?.clamp(0f32, 6f32)?.affine(1. / 6., 0.)?,
    }
}
