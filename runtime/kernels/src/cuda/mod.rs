//! The kernels' way to a CUDA device.
//!
//! An operation's plan is a [`Program`]: its results, its scratch memory and its launches, as plain data.
//! Plans are therefore the same code on every machine, whether a GPU runs them (`device`, under the feature
//! `cuda`) or, in tests, the emulator that runs the `.cu` sources on the CPU.
//!
//! # What waits for the device
//!
//! Work is submitted to the device and not waited for, by forward and backward passes, losses and optimisers
//! alike; a step of training has nothing of its own to wait for. These do, as they read numbers: the losses and
//! accuracies of sconce's `Trainer`, every 32 batches; a metric, at each call; `Embedding`, which
//! checks its indices; the CTC loss, which runs on the CPU; a batch norm without a momentum, which needs the count
//! of its batches; and L-BFGS, whose steps depend on losses.

#[cfg(not(feature = "cuda"))]
#[path = "absent.rs"]
mod device;
#[cfg(feature = "cuda")]
mod device;

mod activation;
mod launch;
mod plan;
pub(crate) mod program;
pub(crate) mod target;

pub use device::Graph;
pub(crate) use device::run;
#[cfg(any(test, feature = "testing"))]
pub(crate) use device::target_of;
pub(crate) use launch::{Operand, launch, launch_in_place, runs_on, with_storages};
pub(crate) use plan::{Plan, int, named};
pub(crate) use program::{Arg, Buffer, Launch, Program};
pub(crate) use target::Target;
pub use target::{set_tf32, tf32};

use candle_core::{Device, Result};

/// The CUDA device of number `ordinal`, the same one at each call, with a stream of its own: any thread may use
/// it, and work on it can be captured as a CUDA graph. candle's `Device::new_cuda`, which works as well, has a stream
/// for each thread, which do not wait for one another.
///
/// Where the machine has no second GPU, tensors on it are not tracked by events, which are there to order several
/// streams and cost time at each launch. A tensor that is to go to another `Device` for the same GPU then has to
/// wait for `device.synchronize()`.
///
/// ```no_run
/// # fn main() -> candle_core::Result<()> {
/// let device = sconce_kernels::cuda::cuda(0)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// There is no driver, no device of that number, or no feature `cuda` in this build: the error says which.
pub fn cuda(ordinal: usize) -> Result<Device> {
    Ok(Device::Cuda(device::open(ordinal)?))
}
