//! Runs a [`Program`] on the CPU, from the same `.cu` sources that a GPU runs: `emu/` has what stands in
//! for the device.
//!
//! [`run`] holds a program to more than its results:
//! - every load and store lies within a buffer or the dynamic shared memory, which is exactly as long as
//!   asked for, and is aligned as its type demands;
//! - outputs, scratch and shared memory begin as NaN, so that what a kernel forgot to write shows;
//! - threads touch nothing that another one wrote (or writes what it read) without a barrier in between, and
//!   blocks of a launch share nothing that one of them writes;
//! - barriers in shared memory, bulk copies and `wgmma` (compute capability 9.0) order what they order on the device:
//!   copies land and products are made as late as they may, and a deadlock is an error;
//! - threads, warps and blocks take their turns forwards, backwards and shuffled, to bit-equal results;
//! - arguments are of the parameters' types, and launches within a real device's limits.
//!
//! Not seen here: `__launch_bounds__`, the time of anything, and what only a GPU's compiler does.
//!
//! Under AddressSanitizer, which takes the place of the emulator's own checks of each access (and sees what
//! goes beyond a local array, which they do not):
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

/// What a program left behind.
pub struct Outcome {
    /// Without their shapes: each is as long as its buffer.
    pub outputs: Vec<Tensor>,
    /// The operands in their shapes, as they are after launches that wrote to them.
    pub operands: Vec<Tensor>,
}

/// Runs the program on contiguous copies of its operands, in every order of turns.
///
/// # Errors
/// A launch fails, an access is wrong, or the order of turns makes a difference.
#[cfg(emulator)]
pub fn run(program: &Program, operands: &[&Tensor]) -> Result<Outcome> {
    emulator::run(program, operands)
}

/// Without a C++ compiler there is no emulator: the tests that call this are ignored.
///
/// # Errors
/// Always.
#[cfg(not(emulator))]
pub fn run(_: &Program, _: &[&Tensor]) -> Result<Outcome> {
    candle_core::bail!("no C++ compiler was found when this was built")
}
