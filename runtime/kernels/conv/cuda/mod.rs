//! The fused convolution on a CUDA device: plans of its forward and backward pass.

pub mod forward;
