//! The parts that the exports to ONNX and to StableHLO share.

mod trace;
mod windows;

pub(crate) use trace::{Trace, check_description, trace, unknown_operand};
pub(crate) use windows::{Windows, adaptive_window};
