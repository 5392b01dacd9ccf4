//! How kernels are told their activation.

use super::Arg;
use crate::activation::Activation;

impl Activation {
    /// The two parameters of a kernel that stand for this activation: its kind, numbered as in
    /// `activation.cuh`, and its constant (a `double`).
    pub fn arguments(self) -> [Arg; 2] {
        let (kind, parameter) = match self {
            Self::Identity => (0, 0.0),
            Self::Relu => (1, 0.0),
            Self::Relu6 => (2, 0.0),
            Self::LeakyRelu { negative_slope } => (3, negative_slope),
            Self::Silu => (4, 0.0),
            Self::Gelu => (5, 0.0),
            Self::Sigmoid => (6, 0.0),
            Self::Tanh => (7, 0.0),
            Self::Hardswish => (8, 0.0),
        };
        [Arg::Int(kind), Arg::Double(parameter)]
    }
}
