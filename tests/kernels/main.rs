//! Tests the kernels without layers: compares results for random shapes with references in double precision.

mod activation;
mod blocked_conv;
#[path = "../common/mod.rs"]
mod common;
mod conv_backward;
mod conv_forward;
mod conv_gradient;
mod fused_consumer;
mod linear;
mod norm;
mod pool;
mod threads;
mod winograd;
