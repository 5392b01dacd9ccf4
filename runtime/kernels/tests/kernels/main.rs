//! Tests the kernels directly, without the layers of `sconce`: compares results for random shapes with references in
//! double precision. On Linux, every buffer of numbers lies between two inaccessible pages.
//!
//! These tests are not unit tests of the crate, because a build of unit tests would compile all kernels a second time.

mod activation;
#[cfg(target_os = "linux")]
mod allocator;
mod arithmetic;
mod backward;
mod blocked_conv;
#[path = "../../../../tests/common/mod.rs"]
mod common;
mod composed;
mod conv1d;
mod conv3d;
mod conv_backward;
mod conv_forward;
mod fused_consumer;
mod fused_conv_gradient;
mod gemm;
mod gradient_check;
#[cfg(target_os = "linux")]
mod guard_pages;
mod linear;
mod matmul;
mod nchwc;
// Without debug assertions, the NEON code is not compiled for other machines.
#[cfg(any(target_arch = "aarch64", debug_assertions))]
mod neon;
mod norm;
mod pool;
mod recurrent;
mod relative_error;
mod tasks;
mod threads;
mod winograd;
