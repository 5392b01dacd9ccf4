//! The forward pass: `y = activation((conv(x, w) · scale + shift) + residual)`.
//!
//! There are five kinds of kernels (see `tiles` and `hopper`): depthwise kernels, direct kernels for short sums,
//! implicit GEMM on CUDA cores, implicit GEMM on tensor cores, and implicit GEMM with warpgroups on compute capability
//! 9.0. Each needs one launch, with four exceptions:
//! - An implicit GEMM with few tiles may be split along the depth (split-K). Another launch then adds the slices in
//!   order and applies the epilogue.
//! - A large implicit GEMM on tensor cores may read packed operands, which two launches pack first.
//! - For the other kernels on tensor cores, a launch pads the weight first if its rows are not whole 4-byte words.
//! - For warpgroups, a launch packs the weight first.
//!
//! `choice` selects a kernel. `choice_cache` caches the selection.

mod choice;
mod choice_cache;
mod hopper;
mod launches;
mod sizes;
mod tiles;

pub use hopper::Hopper;
#[cfg(any(test, feature = "testing"))]
pub use tiles::{ComputeUnits, InputAccess};
pub use tiles::{Depthwise, Direct, Tile};

use crate::activation::Activation;
use crate::conv::{ConvShape, Epilogue};
use crate::cuda::{Arg, Buffer, Program, Target};
use candle_core::{DType, Result, bail};
use launches::Call;
use sizes::{check, sizes};

/// The operands of the epilogue that are present, and the activation. In the program's list of operands, they follow
/// the input and the weight in the order of these fields.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Whether there is a scale per output channel.
    pub scale: bool,
    /// Whether there is a shift per output channel.
    pub shift: bool,
    /// Whether there is a residual.
    pub residual: bool,
    /// The activation, applied last.
    pub activation: Activation,
}

impl Options {
    /// Returns the options of an epilogue.
    pub fn of(epilogue: &Epilogue) -> Self {
        Self {
            scale: epilogue.scale.is_some(),
            shift: epilogue.shift.is_some(),
            residual: epilogue.residual.is_some(),
            activation: epilogue.activation,
        }
    }

    /// Returns the kernel arguments for scale, shift and residual.
    fn operands(&self) -> [Arg; 3] {
        let mut next = 2..;
        [self.scale, self.shift, self.residual].map(|given| match given.then(|| next.next()) {
            Some(Some(operand)) => Arg::Operand(operand),
            _ => Arg::Absent,
        })
    }
}

/// A kernel for a convolution, with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variant {
    /// A depthwise kernel.
    Depthwise(Depthwise),
    /// A direct kernel, for short sums.
    Direct(Direct),
    /// A warpgroup kernel for compute capability 9.0.
    Hopper(Hopper),
    /// An implicit GEMM.
    ImplicitGemm {
        /// The tile of a block.
        tile: Tile,
        /// The number of slices into which the depth is split; 1 if it is not split.
        slices: usize,
    },
}

#[cfg(any(test, feature = "testing"))]
impl Variant {
    /// Returns the name of the kernel that computes the sums.
    pub fn kernel(&self) -> &'static str {
        match self {
            Self::Depthwise(kernel) => kernel.kernel,
            Self::Direct(kernel) => kernel.kernel,
            Self::Hopper(kernel) => kernel.kernel,
            Self::ImplicitGemm { tile, .. } => tile.kernel,
        }
    }

    /// Returns the name of the kernel and, for an implicit GEMM, the number of slices.
    pub fn name(&self) -> String {
        match self {
            Self::ImplicitGemm { slices, .. } => format!("{} in {slices}", self.kernel()),
            _ => self.kernel().into(),
        }
    }
}

/// Returns the program for a convolution of `dtype` on the target.
///
/// The operands are the input, the weight and those in `options`. Each must be contiguous and aligned to 16 bytes. The
/// output is contiguous.
///
/// # Errors
/// Fails if the dtype is not supported, or if a size exceeds the kernels' `int` counters.
pub fn program(shape: &ConvShape, dtype: DType, options: &Options, target: &Target) -> Result<Program> {
    if shape.output_elements() == 0 {
        return Ok(empty_program(dtype));
    }
    check(shape)?;
    let Some(variant) = choice_cache::best(shape, dtype, target) else {
        bail!("conv2d: expected f32, f64, f16 or bf16 on a CUDA device, found {dtype:?}")
    };
    program_with(shape, dtype, options, variant)
}

/// Returns all variants that support the convolution on the target, for tests.
#[cfg(any(test, feature = "testing"))]
pub fn variants(shape: &ConvShape, dtype: DType, target: &Target) -> Vec<Variant> {
    choice::candidates(shape, dtype, target)
}

/// Returns [`variants`] with their estimated cycles. The selected variant comes first; the others keep their order.
#[cfg(any(test, feature = "testing"))]
pub fn best_first(shape: &ConvShape, dtype: DType, target: &Target) -> Vec<(Variant, f64)> {
    choice::best_first(shape, dtype, target)
}

/// Returns the program for one of the [`variants`].
///
/// # Errors
/// Fails under the same conditions as [`program`].
pub fn program_with(shape: &ConvShape, dtype: DType, options: &Options, variant: Variant) -> Result<Program> {
    let output = Buffer { elements: shape.output_elements(), dtype };
    if output.elements == 0 {
        return Ok(empty_program(dtype));
    }
    check(shape)?;
    let mut program = Program { outputs: vec![output], ..Program::default() };
    let call = Call { shape, dtype, options, sizes: sizes(shape)? };
    match variant {
        Variant::Depthwise(kernel) => program.launches.push(call.depthwise(kernel)?),
        Variant::Direct(kernel) => program.launches.push(call.direct(kernel)?),
        Variant::Hopper(kernel) => call.hopper(kernel, &mut program)?,
        Variant::ImplicitGemm { tile, slices } => call.implicit_gemm(tile, slices, &mut program)?,
    }
    Ok(program)
}

/// Returns the program for an empty output.
fn empty_program(dtype: DType) -> Program {
    Program { outputs: vec![Buffer { elements: 0, dtype }], ..Program::default() }
}
