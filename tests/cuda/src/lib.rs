//! Runs a [`Program`] on the CPU, from the same `.cu` sources that a GPU runs. `emu/` emulates the device.
//!
//! [`run`] checks more than the results of a program:
//! - Every load and store has the alignment of its type, and lies within a buffer or within the dynamic shared
//!   memory. The dynamic shared memory has exactly the requested length.
//! - Outputs, scratch memory and shared memory are initialized with NaN, which exposes elements that a kernel
//!   does not write.
//! - Between conflicting accesses of two threads there is a barrier, and no block accesses memory that another
//!   block of the same launch writes.
//! - Barriers in shared memory, bulk copies and `wgmma` (compute capability 9.0) order accesses as on the
//!   device. Copies and products finish as late as the device allows, so that a missing wait is noticed.
//!   Deadlocks are errors.
//! - Threads, warps and blocks run in forward, reversed and shuffled order, with bit-identical results.
//! - Arguments have the types of the parameters, and launches stay within the limits of a device.
//!
//! Not checked: `__launch_bounds__`, timing, and the code generation for GPUs.
//!
//! With the following command, loads and stores are checked by AddressSanitizer and not by the emulator.
//! AddressSanitizer also finds accesses outside of local arrays.
//!
//! ```sh
//! CUDA_CPU_ASAN=1 ASAN_OPTIONS=detect_leaks=0 cargo test -p sconce-cuda-tests
//! ```

#[cfg(emulator)]
mod arena;
#[cfg(emulator)]
mod emulator;
#[cfg(emulator)]
mod kernel;

use candle_core::{Result, Tensor};
use sconce::kernels::testing::cuda::Program;

/// The result of a program.
pub struct Outcome {
    /// The outputs, as one-dimensional tensors of their buffers' length.
    pub outputs: Vec<Tensor>,
    /// The operands after the launches, because some launches write to operands.
    pub operands: Vec<Tensor>,
}

/// Runs the program on contiguous copies of its operands, in several thread orders.
///
/// # Errors
/// Fails if a launch fails, an access is invalid, or the thread order changes the results.
#[cfg(emulator)]
pub fn run(program: &Program, operands: &[&Tensor]) -> Result<Outcome> {
    emulator::run(program, operands)
}

/// Returns an error in builds without a C++ compiler. The tests that call this function are ignored.
///
/// # Errors
/// Always fails.
#[cfg(not(emulator))]
pub fn run(_: &Program, _: &[&Tensor]) -> Result<Outcome> {
    candle_core::bail!("expected a C++ compiler at build time, found none")
}
