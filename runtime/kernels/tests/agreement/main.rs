//! Compares the kernels with the composed path, with candle, and between instruction sets.
//!
//! These tests run whole kernels. As unit tests they would compile all kernels a second time.

mod candle;
mod composed;
// Without debug assertions, the NEON code is not compiled for other machines.
#[cfg(any(target_arch = "aarch64", debug_assertions))]
mod neon;
mod tasks;
