//! The kernels' way to a CUDA device.
//!
//! An operation's plan is a [`Program`]: its results, its scratch memory and its launches, as plain data.
//! Plans are therefore the same code on every machine, whether a GPU runs them (`device`, under the feature
//! `cuda`) or, in tests, the emulator that runs the `.cu` sources on the CPU.

#[cfg(not(feature = "cuda"))]
#[path = "absent.rs"]
mod device;
#[cfg(feature = "cuda")]
mod device;

mod activation;
mod launch;
mod plan;
mod program;
mod target;

pub(crate) use device::{Graph, run};
pub(crate) use launch::{Operand, launch, launch_in_place, runs_on};
pub(crate) use plan::{Plan, int, named};
pub use program::{Arg, Buffer, Launch, Program};
pub use target::{Target, set_tf32, tf32};

use candle_core::Device;

/// The CUDA device of number `ordinal`, with a stream of its own: what [`Network::capture`] can record from and
/// any thread may use.
///
/// # Errors
/// There is no driver, no device of that number, or no feature `cuda` in this build: the error says which.
///
/// [`Network::capture`]: crate::Network::capture
pub fn cuda(ordinal: usize) -> crate::Result<Device> {
    Ok(Device::Cuda(device::open(ordinal)?))
}
