//! The compute kernels: the only room in which `unsafe` code lives.

#![allow(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

pub mod activation;
pub mod blocked;
pub(crate) mod channels;
pub mod conv;
pub mod ctc;
pub mod cuda;
#[doc(hidden)]
pub mod descent;
pub(crate) mod element;
pub(crate) mod elementwise;
pub mod embedding;
pub(crate) mod empty;
pub mod float;
pub mod linear;
pub(crate) mod mapped;
pub(crate) mod memory;
pub mod norm;
pub(crate) mod operation;
pub mod pad;
pub(crate) mod pages;
pub(crate) mod parallel;
pub(crate) mod planes;
pub mod pool;
pub mod recurrent;
pub(crate) mod relay;
pub mod resample;
pub mod row_norm;
pub mod simd;
pub mod softmax;
