//! Builds the programs of operations.

use candle_core::{DType, Result, bail};

use crate::element::{compute_dtype, not_a_float};

use super::{Arg, Buffer, Launch, Program};

/// Returns the name of a kernel for a dtype: `named!(dtype, "kernel")` is `"kernel_f32"` for f32. Several literals are
/// joined before the dtype.
macro_rules! named {
    ($dtype:expr, $($name:literal),+) => {
        match $dtype {
            candle_core::DType::F64 => concat!($($name,)+ "_f64"),
            candle_core::DType::F16 => concat!($($name,)+ "_f16"),
            candle_core::DType::BF16 => concat!($($name,)+ "_bf16"),
            _ => concat!($($name,)+ "_f32"),
        }
    };
}
pub(crate) use named;

/// A builder of a [`Program`].
pub(crate) struct ProgramBuilder {
    op: &'static str,
    module: &'static str,
    /// The dtype of the operation's tensors.
    dtype: DType,
    program: Program,
}

impl ProgramBuilder {
    /// Begins the program of an operation on tensors of `dtype`, with all kernels in `module`. Fails if `dtype` is not
    /// floating point.
    pub fn new(op: &'static str, module: &'static str, dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
                Ok(Self { op, module, dtype, program: Program::default() })
            }
            other => Err(not_a_float(op, other)),
        }
    }

    /// Returns the dtype in which elements are summed.
    pub fn accumulator(&self) -> DType {
        compute_dtype(self.dtype)
    }

    /// Adds an output. Returns the argument that refers to it.
    pub fn output(&mut self, elements: usize, dtype: DType) -> Arg {
        self.program.outputs.push(Buffer { elements, dtype });
        Arg::Output(self.program.outputs.len() - 1)
    }

    /// Adds a scratch buffer. Returns the argument that refers to it.
    pub fn scratch(&mut self, elements: usize, dtype: DType) -> Arg {
        self.program.scratch.push(Buffer { elements, dtype });
        Arg::Scratch(self.program.scratch.len() - 1)
    }

    /// Adds a launch of `blocks` blocks of `threads` threads. Adds nothing if `blocks` is zero.
    pub fn launch(
        &mut self,
        kernel: &'static str,
        blocks: usize,
        threads: u32,
        args: Vec<Arg>,
    ) -> Result<()> {
        if blocks > 0 {
            let grid = [int(self.op, blocks)?.unsigned_abs(), 1, 1];
            let block = [threads, 1, 1];
            let launch = Launch { module: self.module, kernel, grid, block, shared: 0, args };
            self.program.launches.push(launch);
        }
        Ok(())
    }

    pub fn finish(self) -> Program {
        self.program
    }
}

/// The maximum size that kernels store in an `int`: half of an `int`'s range, because kernels also add numbers to a
/// size.
const MAX_SIZE: usize = 1 << 30;

/// Converts a size to a kernel's `int`. Fails if it is larger than `MAX_SIZE`.
pub(crate) fn int(op: &str, value: usize) -> Result<i32> {
    match i32::try_from(value) {
        Ok(value) if value as usize <= MAX_SIZE => Ok(value),
        _ => bail!("{op}: expected a size of at most {MAX_SIZE} on a CUDA device, found {value}"),
    }
}
