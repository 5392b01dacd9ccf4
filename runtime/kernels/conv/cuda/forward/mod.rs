//! The forward pass: `y = activation((conv(x, w) · scale + shift) + residual)`.
//!
//! There are four ways (`tiles`), each one launch: depthwise kernels; direct ones for short sums; implicit matrix
//! products on the ordinary arithmetic units; the same on tensor cores. A matrix product with few tiles may be
//! cut along the depth as well; a second launch then adds the slices in their order and finishes them. `choice`
//! is the rule that picks one of them.

mod choice;
mod sizes;
mod tiles;

pub use tiles::{Depthwise, Direct, Tile, Units};

use crate::kernels::activation::Activation;
use crate::kernels::conv::{ConvShape, Epilogue};
use crate::kernels::cuda::{Arg, Buffer, Launch, Program, Target};
use candle_core::{DType, Result, bail};
use sizes::{int, sizes};

/// Which operands follow the input and the weight, in this order, and what is applied in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    pub scale: bool,
    pub shift: bool,
    pub residual: bool,
    pub activation: Activation,
}

impl Options {
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
    Depthwise(Depthwise),
    Direct(Direct),
    /// An implicit matrix product, its depth cut into so many slices.
    Product {
        tile: Tile,
        slices: usize,
    },
}

/// The program for a convolution of `dtype` on the target. Its operands are the input, the weight and what
/// `options` says, each contiguous and at an address that 16 divides; its output is contiguous too.
///
/// # Errors
/// The dtype is none that convolutions take, or a size is beyond what the kernels count.
pub fn program(shape: &ConvShape, dtype: DType, options: &Options, target: &Target) -> Result<Program> {
    let Some(variant) = choice::best(shape, dtype, target) else {
        bail!("conv2d: expected f32, f64, f16 or bf16 on a CUDA device, got {dtype:?}")
    };
    program_with(shape, dtype, options, variant)
}

/// All ways to run a convolution of `dtype` on the target: so that tests reach each of them.
pub fn variants(shape: &ConvShape, dtype: DType, target: &Target) -> Vec<Variant> {
    choice::all(shape, dtype, target)
}

/// As [`program`], in one of the [`variants`].
///
/// # Errors
/// As [`program`].
pub fn program_with(shape: &ConvShape, dtype: DType, options: &Options, variant: Variant) -> Result<Program> {
    let output = Buffer { elements: shape.output_elements(), dtype };
    let mut program = Program { outputs: vec![output], ..Program::default() };
    if output.elements == 0 {
        return Ok(program);
    }
    let sizes = sizes(shape)?;
    match variant {
        Variant::Depthwise(kernel) => program.launches.push(depthwise(shape, options, kernel, sizes)?),
        Variant::Direct(kernel) => program.launches.push(direct(shape, options, kernel, sizes)?),
        Variant::Product { tile, slices } => {
            let cut = Cut::of(shape, tile.channels, tile.pixels, shape.taps().div_ceil(tile.step), slices);
            if cut.slices > 1 {
                let dtype = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
                program.scratch.push(Buffer { elements: cut.slices * output.elements, dtype });
            }
            program.launches.push(product(shape, options, tile, &cut, sizes.clone())?);
            if cut.slices > 1 {
                program.launches.push(add_slices(shape, dtype, options, cut.slices, sizes)?);
            }
        }
    }
    Ok(program)
}

/// The structure `Cut` of `tiles.cuh`.
struct Cut {
    channel_tiles: usize,
    pixel_tiles: usize,
    slices: usize,
    slice_steps: usize,
}

impl Cut {
    /// `steps` are those along the whole depth. As many slices as asked for where each has a step.
    fn of(shape: &ConvShape, channels: usize, pixels: usize, steps: usize, slices: usize) -> Self {
        let slice_steps = steps.div_ceil(slices.max(1)).max(1);
        Self {
            channel_tiles: shape.group_outputs().div_ceil(channels),
            pixel_tiles: (shape.batch * shape.output[0] * shape.output[1]).div_ceil(pixels),
            slices: steps.div_ceil(slice_steps).max(1),
            slice_steps,
        }
    }

    fn arg(&self) -> Result<Arg> {
        let fields = [self.channel_tiles, self.pixel_tiles, self.slices, self.slice_steps];
        fields.into_iter().map(int).collect::<Result<_>>().map(Arg::Ints)
    }

    fn grid(&self, groups: usize) -> Result<[u32; 3]> {
        let factors = [self.channel_tiles, self.pixel_tiles, self.slices, groups];
        let blocks = factors.into_iter().fold(1usize, usize::saturating_mul);
        Ok([int(blocks)?.unsigned_abs(), 1, 1])
    }
}

fn product(shape: &ConvShape, options: &Options, tile: Tile, cut: &Cut, sizes: Arg) -> Result<Launch> {
    let [scale, shift, residual] = options.operands();
    let [activation, parameter] = options.activation.arguments();
    let partial = if cut.slices > 1 { Arg::Scratch(0) } else { Arg::Absent };
    let output = Arg::Output(0);
    Ok(Launch {
        module: tile.module,
        kernel: tile.kernel,
        grid: cut.grid(shape.geometry.groups)?,
        block: [int(tile.threads)?.unsigned_abs(), 1, 1],
        shared: int(tile.shared)?.unsigned_abs(),
        args: [Arg::Operand(0), Arg::Operand(1), scale, shift, residual, output, partial, sizes, cut.arg()?]
            .into_iter()
            .chain([activation, parameter])
            .collect(),
    })
}

fn direct(shape: &ConvShape, options: &Options, kernel: Direct, sizes: Arg) -> Result<Launch> {
    let cut = Cut::of(shape, kernel.channels, Direct::PIXELS, 1, 1);
    let [scale, shift, residual] = options.operands();
    let [activation, parameter] = options.activation.arguments();
    Ok(Launch {
        module: "conv_direct",
        kernel: kernel.kernel,
        grid: cut.grid(shape.geometry.groups)?,
        block: [Direct::THREADS as u32, 1, 1],
        shared: int(kernel.shared(shape.taps()))?.unsigned_abs(),
        args: [Arg::Operand(0), Arg::Operand(1), scale, shift, residual, Arg::Output(0), sizes, cut.arg()?]
            .into_iter()
            .chain([activation, parameter])
            .collect(),
    })
}

fn depthwise(shape: &ConvShape, options: &Options, kernel: Depthwise, sizes: Arg) -> Result<Launch> {
    let strips = shape.output[0].div_ceil(kernel.rows);
    let threads = shape.out_channels * strips * shape.output[1];
    let [scale, shift, residual] = options.operands();
    let [activation, parameter] = options.activation.arguments();
    let operands = [Arg::Operand(0), Arg::Operand(1), scale, shift, residual, Arg::Output(0)];
    Ok(Launch {
        module: "conv_depthwise",
        kernel: kernel.kernel,
        grid: image_grid(shape, threads)?,
        block: [Depthwise::THREADS as u32, 1, 1],
        shared: 0,
        args: operands.into_iter().chain([sizes, activation, parameter]).collect(),
    })
}

fn add_slices(
    shape: &ConvShape,
    dtype: DType,
    options: &Options,
    slices: usize,
    sizes: Arg,
) -> Result<Launch> {
    let Some(kernel) = tiles::slices(dtype) else {
        bail!("conv2d: expected f32, f64, f16 or bf16 on a CUDA device, got {dtype:?}")
    };
    let threads = shape.out_channels * shape.output[0] * shape.output[1];
    let [scale, shift, residual] = options.operands();
    let [activation, parameter] = options.activation.arguments();
    let operands = [Arg::Scratch(0), scale, shift, residual, Arg::Output(0)];
    Ok(Launch {
        module: "conv_slices",
        kernel,
        grid: image_grid(shape, threads)?,
        block: [Depthwise::THREADS as u32, 1, 1],
        shared: 0,
        args: operands.into_iter().chain([sizes, Arg::Int(int(slices)?), activation, parameter]).collect(),
    })
}

/// Blocks of 128 threads for each image; a block goes on to further images where there are more than a grid
/// is high.
fn image_grid(shape: &ConvShape, threads: usize) -> Result<[u32; 3]> {
    const HIGHEST: usize = 65_535;
    let blocks = int(threads.div_ceil(Depthwise::THREADS))?;
    Ok([blocks.unsigned_abs(), shape.batch.min(HIGHEST) as u32, 1])
}
