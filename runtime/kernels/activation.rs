//! The activations that a kernel's epilogue can apply.

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
