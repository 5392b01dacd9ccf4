//! The kernels' way to a CUDA device.
//!
//! An operation's plan is a [`Program`]: its results, its scratch memory and its launches, as plain data.
//! Plans are therefore the same code on every machine, whether a GPU runs them (`device`, under the feature
//! `cuda`) or, in tests, the emulator that runs the `.cu` sources on the CPU.

mod activation;
mod program;
mod target;

pub use program::{Arg, Buffer, Launch, Program};
pub use target::{Target, set_tf32, tf32};
