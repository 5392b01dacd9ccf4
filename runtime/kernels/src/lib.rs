//! Neural-network kernels on [candle](https://docs.rs/candle-core) tensors, for CPU and CUDA, each with its
//! gradient.
//!
//! `unsafe` code of the workspace is confined to this crate.

#![warn(missing_docs, clippy::undocumented_unsafe_blocks)]

pub mod activation;
mod blocked;
mod channels;
pub mod conv;
pub mod ctc;
pub mod cuda;
mod descent;
mod element;
mod elementwise;
pub mod embedding;
mod empty;
mod error;
mod exact;
mod float;
pub mod internal;
mod layout;
pub mod linear;
mod mapped;
mod memory;
pub mod norm;
mod operation;
pub mod pad;
mod parallel;
mod planes;
pub mod pool;
pub mod recurrent;
mod relay;
pub mod resample;
mod row_norm;
mod simd;
pub mod softmax;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;

pub use activation::{
    Activation, celu, elu, gelu_tanh, hardsigmoid, hardtanh, logsigmoid, mish, prelu, selu, softplus,
};
pub use conv::{ConvGeometry, Epilogue, PackedCache, TransposeGeometry, conv_transpose2d, conv1d, conv2d};
pub use ctc::{Ctc, ctc_loss};
pub use embedding::embedding;
pub use exact::{is_exact, set_exact};
pub use linear::linear;
pub use memory::keep_memory;
pub use norm::{batch_norm_eval, batch_norm_train, group_norm, instance_norm, layer_norm, rms_norm};
pub use pad::{PadMode, pad};
pub use pool::{
    PoolGeometry, adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d,
    avg_pool1d, avg_pool2d, max_pool1d, max_pool2d,
};
pub use resample::{Filter, Resampling, resample1d, resample2d};
pub use softmax::{log_softmax, masked_softmax, softmax};
