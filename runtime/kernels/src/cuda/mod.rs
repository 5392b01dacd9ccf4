//! Runs kernels on CUDA devices.
//!
//! An operation is a `Program`: its results, scratch memory and launches as plain data. The code that builds programs
//! is therefore the same on every machine. A GPU runs the programs (`device`, under the feature `cuda`); in tests, an
//! emulator runs the `.cu` sources on the CPU.
//!
//! # Synchronization
//!
//! Forward and backward passes, losses and optimizers submit work to the device without waiting for it, so a training
//! step does not wait for the device. The following operations wait, because they read results on the host:
//! - the losses and accuracies of sconce's `Trainer`, every 32 batches;
//! - a metric, on each call;
//! - `Embedding`, which checks its indices;
//! - the CTC loss, which runs on the CPU;
//! - a batch norm without momentum, which needs the number of batches so far;
//! - L-BFGS, whose steps depend on losses.

#[cfg(not(feature = "cuda"))]
#[path = "device_stub.rs"]
mod device;
#[cfg(feature = "cuda")]
mod device;

mod activation;
mod launch;
pub(crate) mod program;
mod program_builder;
pub(crate) mod target;

pub use device::Graph;
pub(crate) use device::run;
#[cfg(any(test, feature = "testing"))]
pub(crate) use device::target_of;
pub(crate) use launch::{Operand, launch, launch_in_place, runs_on, with_storages};
pub(crate) use program::{Arg, Buffer, Launch, Program};
pub(crate) use program_builder::{ProgramBuilder, int, named};
pub(crate) use target::Target;
pub use target::{set_tf32, tf32};

use candle_core::{Device, Result};

/// Returns the CUDA device with this ordinal. Every call with this ordinal returns the same device. All threads that
/// use the device share its only stream, and work on that stream can be captured as a CUDA graph. candle's
/// `Device::new_cuda` works as well, but has a separate stream for each thread, and these streams do not wait for each
/// other.
///
/// If the machine has only one GPU, tensors on the device are not tracked with events. Events order work on several
/// streams and cost time at each launch. Without them, the stream of a different `Device` for the same GPU does not
/// wait for this device's work. So call `device.synchronize()` before a tensor moves to a different `Device` for the
/// same GPU.
///
/// ```no_run
/// # fn main() -> candle_core::Result<()> {
/// let device = sconce_kernels::cuda::cuda(0)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if the machine has no CUDA driver or no device with this ordinal, or if this build lacks the feature `cuda`.
pub fn cuda(ordinal: usize) -> Result<Device> {
    Ok(Device::Cuda(device::open(ordinal)?))
}
