//! Neural-network kernels on [candle](https://docs.rs/candle-core) tensors, for CPU and CUDA, each with its
//! gradient.
//!
//! `unsafe` code of the workspace is confined to this crate.

#![warn(clippy::undocumented_unsafe_blocks)]

pub mod activation;
pub mod blocked;
pub(crate) mod channels;
pub mod conv;
pub mod ctc;
pub mod cuda;
#[doc(hidden)]
pub mod descent;
pub mod element;
pub(crate) mod elementwise;
pub mod embedding;
pub mod empty;
pub mod error;
pub mod exact;
pub mod float;
pub mod layout;
pub mod linear;
pub mod mapped;
pub mod memory;
pub mod norm;
pub mod number;
pub(crate) mod operation;
pub mod pad;
pub(crate) mod parallel;
pub mod planes;
pub mod pool;
pub mod recurrent;
pub(crate) mod relay;
pub mod resample;
pub mod row_norm;
pub mod simd;
pub mod softmax;
pub mod trace;
