//! The kernels' way to a CUDA device.
//!
//! An operation's plan is a [`Program`]: its results, its scratch memory and its launches, as plain data.
//! Plans are therefore the same code on every machine, whether a GPU runs them or, in tests, the emulator
//! that runs the `.cu` sources on the CPU.

mod activation;
mod program;

pub use program::{Arg, Buffer, Launch, Program};
