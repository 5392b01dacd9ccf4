//! Layers, one file a family, in PyTorch's names, defaults and argument order.

mod activation;
mod conv;
mod dropout;
mod linear;
mod norm;
mod pair;
mod pool;
mod shape;
mod weight;

pub use activation::{
    Gelu, Hardswish, LeakyRelu, LogSoftmax, PRelu, PReluConfig, Relu, Relu6, Sigmoid, Silu, Softmax, Tanh,
};
pub use conv::{Conv2d, Conv2dConfig};
pub use dropout::Dropout;
pub use linear::{Linear, LinearConfig};
pub(crate) use norm::epsilon;
pub use norm::{
    BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig, InstanceNorm, InstanceNorm1d, InstanceNorm2d,
    InstanceNorm3d, InstanceNormConfig, LayerNorm, LayerNormConfig, NormalizedShape, RmsNorm, RmsNormConfig,
};
pub use pair::{Padding, Pair};
pub use pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, OutputSize};
pub use shape::{Flatten, Identity};

/// A layer without tensors: its registry is its name and what it prints.
macro_rules! stateless {
    ($layer:ty, $kind:literal $(, |$this:ident| $extra:expr)?) => {
        impl crate::module::Module for $layer {
            fn kind(&self) -> std::borrow::Cow<'static, str> {
                $kind.into()
            }

            $(fn extra(&self) -> String {
                let $this = self;
                $extra
            })?

            fn visit<'a>(&'a self, _: &mut dyn crate::module::Visitor<'a>) {}

            fn visit_mut(&mut self, _: &mut dyn crate::module::VisitorMut) {}

            fn share(&self) -> Self {
                self.clone()
            }
        }

        crate::layers::printed!($layer);
    };
}

/// A layer that is its own config: `#[layer(0.5)] dropout: Dropout`.
macro_rules! own_config {
    ($layer:ty) => {
        impl crate::config::Config for $layer {
            type Output = Self;

            fn build(self, _: candle_nn::VarBuilder) -> crate::Result<Self> {
                self.checked()
            }
        }
    };
}

/// `Display` as PyTorch prints the layer.
macro_rules! printed {
    ($layer:ty) => {
        impl std::fmt::Display for $layer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                crate::display::display(self, f)
            }
        }
    };
}

use own_config;
use printed;
use stateless;
