//! Layers with PyTorch's names, defaults and argument order.
//!
//! The documentation of each layer lists:
//! - **Config**: the constructor of its config, and the setters with their defaults in parentheses.
//! - **Input** and **Output**: the shapes. If the input lacks the batch dimension, so does the output.
//! - **Fails if**: the invalid arguments and inputs. For invalid arguments, [`Config::build`](crate::Config::build) and
//!   `init` return an error; pooling layers and most activations check their arguments on each call instead. For
//!   invalid inputs, the layer returns a failed signal.
//!
//! In a forward closure, layers are called like functions: `conv(x)`. Elsewhere, `forward` runs a layer in evaluation
//! mode and `forward_t` in either mode; both return tensors. [`Forward::call`](crate::Forward::call) returns a signal,
//! so that later operations can be fused into the layer.
//!
//! ```
//! use sconce::prelude::*;
//! # fn main() -> Result<()> {
//! let linear = Linear::config(4, 2).init(&Device::Cpu)?;
//! let x = Tensor::ones((5, 4), DType::F32, &Device::Cpu)?;
//! assert_eq!(linear.forward(&x)?.dims(), [5, 2]);
//! assert_eq!(Dropout::config(1.).forward_t(&x, true)?.sum_all()?.to_scalar::<f32>()?, 0.);
//! # Ok(())
//! # }
//! ```
//!
//! Every layer implements `Clone`, `Display` and `Debug`. `Display` and `Debug` print the same text as PyTorch. A clone
//! shares the tensors of its original, as a clone of a candle tensor does: training either of them changes the
//! parameters and running statistics of both. A clone also shares the packed weights. Methods that replace tensors,
//! such as [`to_dtype`](crate::Network::to_dtype) and [`freeze`](crate::Network::freeze), change only the layer on
//! which they are called. [`deep_clone`](crate::Network::deep_clone) copies the tensors.
//!
//! ```
//! use sconce::prelude::*;
//! # fn main() -> Result<()> {
//! let linear = Linear::config(4, 2).init(&Device::Cpu)?;
//! let shared = linear.clone();
//! assert_eq!(shared.weight().id(), linear.weight().id());
//! assert_eq!(format!("{shared:?}"), "Linear(in_features=4, out_features=2, bias=True)");
//! # Ok(())
//! # }
//! ```

mod activation;
mod adaptive;
mod attention;
mod bilinear;
mod conv;
mod distance;
mod dropout;
mod embedding;
mod embedding_bag;
mod fold;
mod interpolation;
mod linear;
mod norm;
mod pad;
mod permute;
mod pixel_shuffle;
mod pool;
mod recurrent;
mod resample;
mod rotary;
mod sequential;
mod shape;
mod stochastic_depth;
mod transformer;
mod unflatten;
mod weight;

pub use crate::kernels::pad::PadMode;
pub use crate::ops::{Lengths, NormalizedShape, OutputSize, PackedSequence, Padding, Pair, Sides, Triple};
pub use activation::*;
pub use adaptive::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
};
pub use attention::{MultiheadAttention, MultiheadAttentionConfig};
pub use bilinear::{Bilinear, BilinearConfig};
pub use conv::{
    Conv1d, Conv1dConfig, Conv1dOptions, Conv2d, Conv2dConfig, Conv2dOptions, Conv3d, Conv3dConfig,
    Conv3dOptions, ConvTranspose1d, ConvTranspose1dConfig, ConvTranspose1dOptions, ConvTranspose2d,
    ConvTranspose2dConfig, ConvTranspose2dOptions, ConvTranspose3d, ConvTranspose3dConfig,
    ConvTranspose3dOptions,
};
pub(crate) use conv::{ConvCore, ConvTransposeCore};
pub use distance::{CosineSimilarity, PairwiseDistance};
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout};
pub use embedding::{Embedding, EmbeddingConfig};
pub use embedding_bag::{EmbeddingBag, EmbeddingBagConfig};
pub use fold::{Fold, Unfold};
pub use interpolation::{Interpolation, ScaleFactor};
pub use linear::{Linear, LinearConfig};
pub use norm::{
    BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormConfig, BatchNormNd, BatchNormNdConfig,
    GroupNorm, GroupNormConfig, InstanceNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d,
    InstanceNormConfig, LayerNorm, LayerNorm2d, LayerNorm2dConfig, LayerNormConfig, RmsNorm, RmsNormConfig,
};
pub use pad::{CircularPad2d, ReflectionPad2d, ReplicationPad2d, ZeroPad2d};
pub use permute::Permute;
pub use pixel_shuffle::{ChannelShuffle, PixelShuffle, PixelUnshuffle};
pub use pool::{AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d};
pub use recurrent::{
    GRU, GRUCell, GRUCellConfig, GRUConfig, LSTM, LSTMCell, LSTMCellConfig, LSTMConfig, Nonlinearity, RNN,
    RNNCell, RNNCellConfig, RNNConfig,
};
pub use resample::Upsample;
pub use rotary::{Positions, RotaryEmbedding};
pub use sequential::{Sequential, SequentialConfig};
pub use shape::{Flatten, Identity};
pub use stochastic_depth::StochasticDepth;
pub use transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderLayer, TransformerEncoderLayerConfig,
};
pub use unflatten::Unflatten;

/// Implements `Module`, `Display`, `Debug`, `forward` and `forward_t` for a layer without tensors, from one signal to
/// one signal.
macro_rules! stateless {
    ($layer:ty, $($rest:tt)*) => {
        crate::layers::without_tensors!($layer, $($rest)*);
        crate::layers::forward_methods!($layer);
    };
}

/// Implements `Module`, `Display` and `Debug` for a layer without tensors. `$pinned` is the field with the pinned mode
/// of a layer whose forward pass depends on the mode.
macro_rules! without_tensors {
    ($layer:ty, $kind:expr $(, |$this:ident| $extra:expr)? $(; $pinned:ident)?) => {
        impl crate::module::Module for $layer {
            fn kind(&self) -> std::borrow::Cow<'static, str> {
                $kind.into()
            }

            $(fn extra(&self) -> String {
                let $this = self;
                $extra
            })?

            fn visit<'a>(&'a self, _: &mut dyn crate::module::Visitor<'a>) {}

            fn visit_mut(&mut self, _visitor: &mut dyn crate::module::VisitorMut) {
                $(_visitor.pinned_mode(&mut self.$pinned);)?
            }

            fn share(&self) -> Self {
                self.clone()
            }
        }

        crate::layers::impl_fmt!($layer);
    };
}

/// Implements `Config` for a layer that is also its config, such as `Dropout`. The layer's method `checked` returns the
/// layer, or an error if its settings are invalid.
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

/// Defines a layer without tensors and settings, such as `Relu`.
macro_rules! without_settings {
    ($(#[$doc:meta])* $layer:ident $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $layer {
            /// Gives each layer an address of its own, by which its path is found for errors and traces.
            _place: u8,
        }

        /// The layer as a value, which can be written like a struct without fields.
        #[allow(non_upper_case_globals)]
        pub const $layer: $layer = $layer { _place: 0 };

        impl $layer {
            /// Creates the layer, which is its own config.
            pub fn config() -> Self {
                $layer
            }

            // `self_config!` calls this method. A layer without settings has nothing to check.
            fn checked(self) -> crate::Result<Self> {
                Ok(self)
            }
        }

        impl Default for $layer {
            fn default() -> Self {
                $layer
            }
        }

        crate::layers::stateless!($layer, $kind);
        crate::layers::self_config!($layer);
    };
}

/// Implements `Display` and `Debug`, which both print the layer like PyTorch.
macro_rules! impl_fmt {
    ($layer:ty $(, $($generics:tt)+)?) => {
        impl $(<$($generics)+>)? std::fmt::Display for $layer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                crate::display::display(self, f)
            }
        }

        impl $(<$($generics)+>)? std::fmt::Debug for $layer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                crate::display::display(self, f)
            }
        }
    };
}

/// Implements the methods `forward` and `forward_t` of a layer from one signal to one signal.
macro_rules! forward_methods {
    ($layer:ty $(, $($generics:tt)+)?) => {
        impl $(<$($generics)+>)? $layer {
            /// Runs the layer in evaluation mode.
            ///
            /// # Errors
            /// Fails if the input is invalid, as described above.
            pub fn forward(&self, x: impl Into<crate::signal::Signal>) -> crate::Result<candle_core::Tensor> {
                self.forward_t(x, false)
            }

            /// Runs the layer in training mode if `train` is true, and in evaluation mode otherwise.
            ///
            /// # Errors
            /// Fails if the input is invalid, as described above.
            pub fn forward_t(
                &self,
                x: impl Into<crate::signal::Signal>,
                train: bool,
            ) -> crate::Result<candle_core::Tensor> {
                crate::module::Forward::call(self, x.into(), train.into()).into_tensor()
            }
        }
    };
}

use forward_methods;
use impl_fmt;
use self_config;
use stateless;
use without_settings;
use without_tensors;
