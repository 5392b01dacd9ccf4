//! Transformer encoders (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>).

mod encoder;
mod encoder_layer;

use crate::signal::Signal;

pub use encoder::{TransformerEncoder, TransformerEncoderConfig};
pub use encoder_layer::{TransformerEncoderLayer, TransformerEncoderLayerConfig};

/// The inputs of an encoder: the sequences, the attention mask and the padding mask.
type EncoderInputs = (Signal, Option<Signal>, Option<Signal>);

/// Implements the calls of an encoder, with and without masks, by its method `encode`.
macro_rules! encoder_calls {
    ($layer:ident) => {
        impl crate::module::Forward for $layer {
            type Output = crate::signal::Signal;

            fn forward_pass(&self, src: crate::signal::Signal, mode: crate::module::Mode) -> Self::Output {
                crate::scope::run_field(&self, || self.encode((src, None, None), mode))
            }
        }

        #[diagnostic::do_not_recommend]
        impl crate::module::ForwardWith<super::EncoderInputs> for $layer {
            type Output = crate::signal::Signal;

            fn forward_pass_with(
                &self,
                inputs: super::EncoderInputs,
                mode: crate::module::Mode,
            ) -> Self::Output {
                crate::scope::run_field(&self, || self.encode(inputs, mode))
            }
        }

        impl $layer {
            /// Runs the layer in evaluation mode without masks.
            ///
            /// # Errors
            /// Fails if the input is invalid, as described above. The error contains the path of the layer that failed.
            pub fn forward(
                &self,
                src: impl Into<crate::signal::Signal>,
            ) -> crate::Result<candle_core::Tensor> {
                self.forward_t(src, false)
            }

            /// Runs the layer without masks, in training mode if `train` is true, and in evaluation mode otherwise.
            ///
            /// # Errors
            /// Fails if the input is invalid, as described above. The error contains the path of the layer that failed.
            pub fn forward_t(
                &self,
                src: impl Into<crate::signal::Signal>,
                train: bool,
            ) -> crate::Result<candle_core::Tensor> {
                crate::__private::forward(self, stringify!($layer), src.into(), train.into()).tensors()
            }
        }

        crate::layers::impl_fmt!($layer);
    };
}

use encoder_calls;
