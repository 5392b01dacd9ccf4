//! The forward pass: `y = activation((conv(x, w) · scale + shift) + residual)`.
//!
//! There are five ways (`tiles`, `hopper`): depthwise kernels; direct ones for short sums; implicit matrix products
//! on the ordinary arithmetic units; the same on tensor cores; and by warpgroups, on compute capability 9.0. Each is
//! one launch, with three exceptions. A matrix product with few tiles may be cut along the depth; a further launch
//! then adds the slices in their order and finishes them. Large ones on tensor cores may read a packed layout that two
//! launches make before. And for warpgroups a launch packs the weight. `choice` is the rule that picks one, and
//! `chosen` remembers what it picked.

mod choice;
mod chosen;
mod hopper;
mod launches;
mod sizes;
mod tiles;

pub use hopper::Hopper;
pub use tiles::{Depthwise, Direct, Tile};
#[cfg(any(test, feature = "testing"))]
pub use tiles::{Input, Units};

use crate::activation::Activation;
use crate::conv::{ConvShape, Epilogue};
use crate::cuda::{Arg, Buffer, Program, Target};
use candle_core::{DType, Result, bail};
use launches::Call;
use sizes::{check, sizes};

/// Which operands follow the input and the weight, in this order, and what is applied in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// There is a scale per output channel.
    pub scale: bool,
    /// There is a shift per output channel.
    pub shift: bool,
    /// There is a residual.
    pub residual: bool,
    /// Applied last.
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

    /// The kernels' parameters for the three operands.
    fn operands(&self) -> [Arg; 3] {
        let mut next = 2..;
        [self.scale, self.shift, self.residual].map(|given| match given.then(|| next.next()) {
            Some(Some(operand)) => Arg::Operand(operand),
            _ => Arg::Absent,
        })
    }
}

/// One way to run a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variant {
    /// A depthwise kernel.
    Depthwise(Depthwise),
    /// A direct kernel, for short sums.
    Direct(Direct),
    /// A warpgroup kernel for compute capability 9.0.
    Hopper(Hopper),
    /// An implicit matrix product, its depth cut into so many slices.
    Product {
        /// The tile of the product.
        tile: Tile,
        /// The number of slices.
        slices: usize,
    },
}

#[cfg(any(test, feature = "testing"))]
impl Variant {
    /// The kernel that makes the sums.
    pub fn kernel(&self) -> &'static str {
        match self {
            Self::Depthwise(kernel) => kernel.kernel,
            Self::Direct(kernel) => kernel.kernel,
            Self::Hopper(kernel) => kernel.kernel,
            Self::Product { tile, .. } => tile.kernel,
        }
    }

    /// The kernel, and in how many slices.
    pub fn name(&self) -> String {
        match self {
            Self::Product { slices, .. } => format!("{} in {slices}", self.kernel()),
            _ => self.kernel().into(),
        }
    }
}

/// The program for a convolution of `dtype` on the target. Its operands are the input, the weight and what
/// `options` says, each contiguous and at an address that 16 divides; its output is contiguous too.
///
/// # Errors
/// The dtype is none that convolutions take, or a size is beyond what the kernels count.
pub fn program(shape: &ConvShape, dtype: DType, options: &Options, target: &Target) -> Result<Program> {
    if shape.output_elements() == 0 {
        return Ok(nothing(dtype));
    }
    check(shape)?;
    let Some(variant) = chosen::best(shape, dtype, target) else {
        bail!("conv2d: expected f32, f64, f16 or bf16 on a CUDA device, got {dtype:?}")
    };
    program_with(shape, dtype, options, variant)
}

/// All ways to run a convolution of `dtype` on the target: so that tests reach each of them.
#[cfg(any(test, feature = "testing"))]
pub fn variants(shape: &ConvShape, dtype: DType, target: &Target) -> Vec<Variant> {
    choice::all(shape, dtype, target)
}

/// The same with the cycles that are expected of each, the one that is chosen first.
#[cfg(any(test, feature = "testing"))]
pub fn ranked(shape: &ConvShape, dtype: DType, target: &Target) -> Vec<(Variant, f64)> {
    choice::ranked(shape, dtype, target)
}

/// As [`program`], in one of the [`variants`].
///
/// # Errors
/// As [`program`].
pub fn program_with(shape: &ConvShape, dtype: DType, options: &Options, variant: Variant) -> Result<Program> {
    let output = Buffer { elements: shape.output_elements(), dtype };
    if output.elements == 0 {
        return Ok(nothing(dtype));
    }
    check(shape)?;
    let mut program = Program { outputs: vec![output], ..Program::default() };
    let call = Call { shape, dtype, options, sizes: sizes(shape)? };
    match variant {
        Variant::Depthwise(kernel) => program.launches.push(call.depthwise(kernel)?),
        Variant::Direct(kernel) => program.launches.push(call.direct(kernel)?),
        Variant::Hopper(kernel) => call.hopper(kernel, &mut program)?,
        Variant::Product { tile, slices } => call.product(tile, slices, &mut program)?,
    }
    Ok(program)
}

/// The program for an output of no elements.
fn nothing(dtype: DType) -> Program {
    Program { outputs: vec![Buffer { elements: 0, dtype }], ..Program::default() }
}
