//! The kernels, called without layers: random shapes against references in double precision.

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
