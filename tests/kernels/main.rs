//! Tests the kernels without layers: compares results for random shapes with references in double precision. On
//! Linux, every buffer of numbers lies between two inaccessible pages.

mod activation;
#[cfg(target_os = "linux")]
mod allocator;
mod arithmetic;
mod blocked_conv;
#[path = "../common/mod.rs"]
mod common;
mod conv_backward;
mod conv_forward;
mod conv_gradient;
mod fused_consumer;
mod gradient_check;
#[cfg(target_os = "linux")]
mod guard_pages;
mod linear;
mod norm;
mod pool;
mod threads;
mod winograd;
