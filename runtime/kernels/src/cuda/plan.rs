//! What the plans of several operations have in common.

use super::{Arg, Buffer, Launch, Program};
use crate::element::{compute_dtype, not_a_float};
use candle_core::{DType, Result, bail};

/// A name for each dtype: `named!(dtype, "kernel")` is `"kernel_f32"` for f32.
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

/// A program in the making.
pub(crate) struct Plan {
    op: &'static str,
    module: &'static str,
    /// Of the tensors that the operation is on.
    dtype: DType,
    program: Program,
}

impl Plan {
    /// For an operation on tensors of `dtype`, a float, whose kernels are in one module.
    pub fn new(op: &'static str, module: &'static str, dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
                Ok(Self { op, module, dtype, program: Program::default() })
            }
            other => Err(not_a_float(op, other)),
        }
    }

    /// The dtype that sums are made in.
    pub fn accumulator(&self) -> DType {
        compute_dtype(self.dtype)
    }

    pub fn output(&mut self, elements: usize, dtype: DType) -> Arg {
        self.program.outputs.push(Buffer { elements, dtype });
        Arg::Output(self.program.outputs.len() - 1)
    }

    pub fn scratch(&mut self, elements: usize, dtype: DType) -> Arg {
        self.program.scratch.push(Buffer { elements, dtype });
        Arg::Scratch(self.program.scratch.len() - 1)
    }

    /// Adds a launch of `blocks` blocks of `threads` threads; none where there is nothing to compute.
    pub fn launch(
        &mut self,
        kernel: &'static str,
        blocks: usize,
        threads: u32,
        args: Vec<Arg>,
    ) -> Result<()> {
        if blocks > 0 {
            let (grid, block) = ([int(self.op, blocks)?.unsigned_abs(), 1, 1], [threads, 1, 1]);
            let launch = Launch { module: self.module, kernel, grid, block, shared: 0, args };
            self.program.launches.push(launch);
        }
        Ok(())
    }

    pub fn finish(self) -> Program {
        self.program
    }
}

/// What kernels count in an `int`, with room for what they add to it.
const MOST: usize = 1 << 30;

/// A kernel's `int`.
pub(crate) fn int(op: &str, value: usize) -> Result<i32> {
    match i32::try_from(value) {
        Ok(value) if value as usize <= MOST => Ok(value),
        _ => bail!("{op}: expected a size of at most {MOST} on a CUDA device, got {value}"),
    }
}
