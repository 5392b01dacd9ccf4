//! Runs the CUDA kernels on the CPU and compares them with the CPU kernels.

mod batch_norm;
mod common;
mod conv_backward;
mod conv_forward;
mod descent;
mod emulator;
mod hopper;
mod pool;
