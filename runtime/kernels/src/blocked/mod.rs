//! Kernels on channel-blocked (`Nchwc`) activations: `[batch, ⌈channels / lanes⌉, height, width, lanes]`. The lanes
//! after the last channel are zero.

mod arithmetic;
mod cat;
mod elementwise;
pub mod policy;
mod pool;
mod reorder;
mod tensor;

pub use crate::conv::cpu::nchwc as conv;

pub use arithmetic::{binary, broadcast, unary};
pub use cat::cat_channels;
pub use elementwise::{activated, affine};
pub use pool::{adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d};
pub use tensor::BlockedTensor;
