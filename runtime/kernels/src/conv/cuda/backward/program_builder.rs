//! Builds a program: its launches and their memory.

use super::choice::Tile;
use super::sizes::{conv, int};
use crate::activation::Activation;
use crate::conv::ConvShape;
use crate::conv::backward::Needs;
use crate::cuda::{Arg, Buffer, Launch, Program};
use candle_core::{DType, Result, bail};

/// The number of threads in a block, except for the tensor-core kernels with tiles smaller than [`Tile::Large`].
pub(super) const THREADS: u32 = 256;

/// A program under construction.
pub(super) struct ProgramBuilder<'a> {
    pub shape: &'a ConvShape,
    /// The structure `Conv` of `conv_backward.cuh`, as a kernel argument.
    pub conv: Arg,
    pub dtype: DType,
    /// The gradient of the output, which kernels mask when they read it.
    pub gradient: MaskedGrad,
    /// The masked gradient, packed for tensor cores. `None` until a launch has been added that packs it.
    pub packed_gradient: Option<Arg>,
    pub program: Program,
}

/// The operands of the masked gradient, which is the gradient of the activation's input: `gradient` times the
/// activation's slope, which is computed from `output`.
#[derive(Clone)]
pub(super) struct MaskedGrad {
    /// The gradient of the output.
    pub gradient: Arg,
    /// The output of the forward pass. Absent if there is no activation.
    pub output: Arg,
    /// The kind and the parameter of the activation.
    pub activation: [Arg; 2],
}

impl MaskedGrad {
    /// Masks the gradient with the slope of `activation`, computed from `output`.
    pub fn mask(&mut self, output: Arg, activation: Activation) {
        (self.output, self.activation) = (output, activation.arguments());
    }

    /// Replaces the gradient with one that is already masked.
    pub fn replace(&mut self, masked: Arg) {
        self.gradient = masked;
        self.mask(Arg::Absent, Activation::Identity);
    }
}

impl<'a> ProgramBuilder<'a> {
    pub fn new(shape: &'a ConvShape, dtype: DType, gradient: Arg) -> Result<Self> {
        if !matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16) {
            bail!("conv2d backward: expected f32, f64, f16 or bf16, found {dtype:?}")
        }
        let gradient =
            MaskedGrad { gradient, output: Arg::Absent, activation: Activation::Identity.arguments() };
        let conv = conv(shape)?;
        Ok(Self { shape, conv, dtype, gradient, packed_gradient: None, program: Program::default() })
    }

    /// Adds an output for each requested gradient of input, weight, bias and residual. Returns the arguments that refer
    /// to these outputs.
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

    /// Adds a scratch buffer. Returns the argument that refers to it.
    pub fn scratch(&mut self, elements: usize, dtype: DType) -> Arg {
        self.program.scratch.push(Buffer { elements, dtype });
        Arg::Scratch(self.program.scratch.len() - 1)
    }

    /// Returns the dtype of the sums.
    pub fn accumulator(&self) -> DType {
        if self.dtype == DType::F64 { DType::F64 } else { DType::F32 }
    }

    /// Checks that the sums of the tile fit in a thread's registers.
    ///
    /// # Errors
    /// Fails if the tile is wide or large and the dtype is f64.
    pub fn check_tile(&self, tile: Tile) -> Result<()> {
        if matches!(tile, Tile::Wide | Tile::Large) && self.dtype == DType::F64 {
            bail!("conv2d backward: expected a smaller tile than {tile:?} for f64")
        }
        Ok(())
    }

    /// Adds a launch of `blocks` blocks. Does nothing if `blocks` is 0.
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
