//! A program in the making: its launches and their memory.

use super::choice::Tile;
use super::sizes::{conv, int};
use crate::activation::Activation;
use crate::conv::ConvShape;
use crate::conv::backward::Needs;
use crate::cuda::{Arg, Buffer, Launch, Program};
use candle_core::{DType, Result, bail};

/// Threads of a block, in every kernel but the smaller ones on tensor cores.
pub(super) const THREADS: u32 = 256;

pub(super) struct Launches<'a> {
    pub shape: &'a ConvShape,
    /// Its sizes, as a kernel's argument.
    pub conv: Arg,
    pub dtype: DType,
    pub gradient: Gradient,
    /// The same as tensor cores read it, once one launch has packed it.
    pub packed_gradient: Option<Arg>,
    pub program: Program,
}

/// Where the gradient before the activation comes from: `gradient · slope(output)`.
#[derive(Clone)]
pub(super) struct Gradient {
    pub gradient: Arg,
    /// Absent where there is no activation.
    pub output: Arg,
    pub activation: [Arg; 2],
}

impl Gradient {
    pub fn mask(&mut self, output: Arg, activation: Activation) {
        (self.output, self.activation) = (output, activation.arguments());
    }

    /// Takes a gradient that is masked already.
    pub fn replace(&mut self, masked: Arg) {
        self.gradient = masked;
        self.mask(Arg::Absent, Activation::Identity);
    }
}

impl<'a> Launches<'a> {
    pub fn new(shape: &'a ConvShape, dtype: DType, gradient: Arg) -> Result<Self> {
        if !matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16) {
            bail!("conv2d backward: expected f32, f64, f16 or bf16, got {dtype:?}")
        }
        let gradient =
            Gradient { gradient, output: Arg::Absent, activation: Activation::Identity.arguments() };
        let (conv, program) = (conv(shape)?, Program::default());
        Ok(Self { shape, conv, dtype, gradient, packed_gradient: None, program })
    }

    /// Adds the outputs for the gradients of input, weight, bias and residual that are needed.
    pub fn outputs(&mut self, needs: Needs) -> [Option<Arg>; 4] {
        let shape = self.shape;
        let input = shape.batch * shape.in_channels * shape.input[0] * shape.input[1];
        let weight = shape.weight_dims().iter().product();
        [
            (needs.input, input),
            (needs.weight, weight),
            (needs.bias, shape.out_channels),
            (needs.residual, shape.output_elements()),
        ]
        .map(|(needed, elements)| {
            needed.then(|| {
                self.program.outputs.push(Buffer { elements, dtype: self.dtype });
                Arg::Output(self.program.outputs.len() - 1)
            })
        })
    }

    /// Adds scratch memory.
    pub fn scratch(&mut self, elements: usize, dtype: DType) -> Arg {
        self.program.scratch.push(Buffer { elements, dtype });
        Arg::Scratch(self.program.scratch.len() - 1)
    }

    /// The dtype that sums are made in.
    pub fn accumulator(&self) -> DType {
        if self.dtype == DType::F64 { DType::F64 } else { DType::F32 }
    }

    /// # Errors
    /// The dtype's sums of a wide or large tile do not fit into a thread's registers.
    pub fn check_tile(&self, tile: Tile) -> Result<()> {
        if matches!(tile, Tile::Wide | Tile::Large) && self.dtype == DType::F64 {
            bail!("conv2d backward: expected a smaller tile than {tile:?} for f64")
        }
        Ok(())
    }

    /// Adds a launch of `blocks` blocks; none where there is nothing to compute.
    pub fn launch(
        &mut self,
        [module, kernel]: [&'static str; 2],
        blocks: usize,
        threads: u32,
        shared: u32,
        args: Vec<Arg>,
    ) -> Result<()> {
        if blocks > 0 {
            let grid = [int(blocks)?.unsigned_abs(), 1, 1];
            let block = [threads, 1, 1];
            self.program.launches.push(Launch { module, kernel, grid, block, shared, args });
        }
        Ok(())
    }
}
