//! The CUDA kernels on the CPU, against the CPU's own.

mod batch_norm;
mod common;
mod conv_backward;
#[cfg(emulator)]
mod conv_forward;
mod descent;
#[cfg(emulator)]
mod emulator;
#[cfg(emulator)]
mod hopper;
mod pool;
