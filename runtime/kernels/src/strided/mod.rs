//! Elementwise operations and sums over CPU tensors of any strides, which includes broadcast operands.
//!
//! Both read their operands in *runs*: consecutive elements of the result, for which each operand is a slice or a
//! single number. Operands with other strides, and slices of f16 or bf16, are first copied to a buffer in the L1 cache,
//! so that formulas see only numbers and slices of f32 or f64.

mod axes;
mod map;
mod reader;
mod reduce;

pub(crate) use axes::Axis;
pub(crate) use map::{Formula, map, map_into, map_tensors};
pub(crate) use reader::{ComputeType, Run};
pub(crate) use reduce::{Identity, sum, sum_tensors};
