//! Layers with PyTorch's names, defaults and argument order.
//!
//! The documentation of each layer lists:
//! - **Config**: the constructor of its config, and the setters with their defaults in parentheses.
//! - **Input** and **Output**: the shapes.
//! - **Fails if**: the invalid arguments and inputs. For invalid arguments, [`Config::build`](crate::Config::build) and
//!   `init` return an error; pooling layers and most activations check their arguments in each call instead. For
//!   invalid inputs, the layer returns a failed signal.

mod activation;
mod adaptive;
mod attention;
mod bilinear;
mod conv;
mod dropout;
mod embedding;
mod interpolation;
mod linear;
mod norm;
mod pad;
mod pixel_shuffle;
mod pool;
mod recurrent;
mod resample;
mod sequential;
mod shape;
mod unflatten;
mod weight;

pub use crate::kernels::pad::PadMode;
pub use crate::ops::{NormalizedShape, OutputSize, Padding, Pair, Sides};
pub use activation::*;
pub use adaptive::{AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d};
pub use attention::{MultiheadAttention, MultiheadAttentionConfig};
pub use bilinear::{Bilinear, BilinearConfig};
pub use conv::{
    Conv1d, Conv1dConfig, Conv1dOptions, Conv2d, Conv2dConfig, Conv2dOptions, ConvTranspose1d,
    ConvTranspose1dConfig, ConvTranspose1dOptions, ConvTranspose2d, ConvTranspose2dConfig,
    ConvTranspose2dOptions,
};
pub(crate) use conv::{ConvCore, ConvTransposeCore};
pub use dropout::{Dropout, Dropout1d, Dropout2d};
pub use embedding::{Embedding, EmbeddingConfig};
pub use interpolation::{Interpolation, ScaleFactor};
pub use linear::{Linear, LinearConfig};
pub use norm::{
    BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig, InstanceNorm, InstanceNorm1d, InstanceNorm2d,
    InstanceNorm3d, InstanceNormConfig, LayerNorm, LayerNormConfig, RmsNorm, RmsNormConfig,
};
pub use pad::{CircularPad2d, ReflectionPad2d, ReplicationPad2d, ZeroPad2d};
pub use pixel_shuffle::{PixelShuffle, PixelUnshuffle};
pub use pool::{AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d};
pub use recurrent::{
    GRU, GRUCell, GRUCellConfig, GRUConfig, LSTM, LSTMCell, LSTMCellConfig, LSTMConfig, Nonlinearity, RNN,
    RNNCell, RNNCellConfig, RNNConfig,
};
pub use resample::Upsample;
pub use sequential::{Sequential, SequentialConfig};
pub use shape::{Flatten, Identity};
pub use unflatten::Unflatten;

/// Implements `Module` and `Display` for a layer without tensors.
macro_rules! stateless {
    ($layer:ty, $kind:expr $(, |$this:ident| $extra:expr)?) => {
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

        crate::layers::impl_display!($layer);
    };
}

/// Implements `Config` for a layer that is also its config, such as `Dropout`.
macro_rules! self_config {
    ($layer:ty) => {
        impl crate::config::Config for $layer {
            type Output = Self;

            fn build(self, _: candle_nn::VarBuilder) -> crate::Result<Self> {
                self.checked()
            }
        }
    };
}

/// Implements `Display`, which prints the layer like PyTorch.
macro_rules! impl_display {
    ($layer:ty) => {
        impl std::fmt::Display for $layer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                crate::display::display(self, f)
            }
        }
    };
}

use impl_display;
use self_config;
use stateless;
