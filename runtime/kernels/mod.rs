//! The compute kernels: the only room in which `unsafe` code lives.

pub mod activation;
pub mod conv;
pub mod simd;
