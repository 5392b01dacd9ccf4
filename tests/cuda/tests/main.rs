//! The CUDA kernels on the CPU, against the CPU's own.

mod batch_norm;
mod common;
mod conv_backward;
mod conv_forward;
mod descent;
mod emulator;
mod hopper;
mod pool;
