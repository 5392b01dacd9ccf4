//! The fused convolution on the CPU: one engine for both memory layouts.
//!
//! `forward` accepts operands of any floating-point dtype and any memory strides (`operand`). [`nchwc`] accepts f32 and
//! has an `Nchwc` output. For a [`ConvProblem`], `select` returns the [`Algorithm`] of least cost (`cost_table`), and
//! [`convolve`] runs it:
//!
//! - `pixel_lanes` and `channel_lanes`, the register-tile kernels. They share a `plan`: a `partition` into tasks, an
//!   input `tile` and a `packed_weight`;
//! - `depthwise`, `winograd`, and the `reference`, which supports every problem.
//!
//! f16 and bf16 are widened to f32 piece by piece, summed in f32 and rounded once (`elements`, `operand_format`). The
//! `epilogue` turns sums into results. A `fused_consumer` reads results while they are in cache.

mod channel_lanes;
mod cost_table;
mod depthwise;
mod elements;
mod epilogue;
mod fused_consumer;
pub mod nchwc;
mod operand;
mod operand_format;
mod packed;
mod packed_weight;
mod partition;
mod pixel_lanes;
mod plan;
mod problem;
mod reference;
mod select;
mod task_input;
mod tile;
mod winograd;

pub(super) use elements::OutputPtr;
pub(super) use operand::{Call, Values};
pub use operand::{Operand, Operands};
pub use packed::{PackedCache, Packing};
pub use problem::{Algorithm, ConvProblem};
#[cfg(any(test, feature = "testing"))]
pub use {elements::ElementFormat, winograd::WinogradTile};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Tensor, bail};
use half::{bf16, f16};

use crate::activation::Activation;
use crate::layout::Layout;
use crate::memory::{Alignment, allocate, tensor_at_end};
use crate::simd::{Isa, microarchitecture};

use super::{ConvShape, Epilogue};
use channel_lanes::Target;
use elements::Element;

/// Computes [`super::conv2d`] on the CPU, for operands that do not track gradients.
pub(super) fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    shape: &ConvShape,
    epilogue: &Epilogue,
    packing: Option<Packing<'_>>,
    isa: Isa,
) -> Result<Tensor> {
    let (input, weight) = (input.storage_and_layout(), weight.storage_and_layout());
    let [scale, shift, residual] = [&epilogue.scale, &epilogue.shift, &epilogue.residual]
        .map(|tensor| tensor.as_ref().map(Tensor::storage_and_layout));
    let operands = Operands {
        input: Operand::of(&input)?,
        weight: Operand::of(&weight)?,
        scale: scale.as_ref().map(Operand::of).transpose()?,
        shift: shift.as_ref().map(Operand::of).transpose()?,
        residual: residual.as_ref().map(Operand::of).transpose()?,
    };
    let storage = forward(shape, &operands, epilogue.activation, packing, isa, Alignment::CacheLine)?;
    tensor_at_end(storage, shape.output_dims())
}

/// Convolves in the operands' dtype. Returns a storage that ends with the contiguous output `[batch, out_channels,
/// height, width]`. Elements before the output, if there are any, only align it.
pub(super) fn forward(
    shape: &ConvShape,
    operands: &Operands<'_>,
    activation: Activation,
    packing: Option<Packing<'_>>,
    isa: Isa,
    alignment: Alignment,
) -> Result<CpuStorage> {
    let settings = Settings { activation, packing, isa, alignment };
    Ok(match operands.input.storage {
        CpuStorage::F32(_) => CpuStorage::F32(conv2d_operands(shape, operands, settings)?),
        CpuStorage::F64(_) => CpuStorage::F64(reference_nchw(shape, &operands.values::<f64>()?, activation)?),
        CpuStorage::F16(_) => CpuStorage::F16(conv2d_operands::<f16>(shape, operands, settings)?),
        CpuStorage::BF16(_) => CpuStorage::BF16(conv2d_operands::<bf16>(shape, operands, settings)?),
        other => bail!("conv2d: expected f32, f64, f16 or bf16, found {:?}", other.dtype()),
    })
}

/// The settings of [`conv2d_values`].
#[derive(Clone, Copy)]
struct Settings<'a> {
    activation: Activation,
    packing: Option<Packing<'a>>,
    isa: Isa,
    alignment: Alignment,
}

/// Convolves operands of the dtype of `E`. Only the scale and the shift may be f32 instead.
fn conv2d_operands<E: Element>(
    shape: &ConvShape,
    operands: &Operands<'_>,
    settings: Settings<'_>,
) -> Result<Vec<E>> {
    let scale = operands.scale.map(Operand::vector).transpose()?;
    let shift = operands.shift.map(Operand::vector).transpose()?;
    let values = operands.without_vectors().values()?;
    conv2d_values(shape, &values, [scale.as_deref(), shift.as_deref()], settings)
}

/// Convolves `input` with `weight` in f32, without an epilogue.
pub(super) fn conv2d_f32(shape: &ConvShape, input: &[f32], weight: &[f32], isa: Isa) -> Result<Vec<f32>> {
    let values = Call::new(input, weight).widened();
    let settings =
        Settings { activation: Activation::Identity, packing: None, isa, alignment: Alignment::StorageStart };
    conv2d_values(shape, &values, [None, None], settings)
}

/// Convolves in f32 with the algorithm of least cost. Uses the arguments `scale` and `shift`, and ignores
/// `values.scale` and `values.shift`.
fn conv2d_values<E: Element>(
    shape: &ConvShape,
    values: &Values<'_, E>,
    [scale, shift]: [Option<&[f32]>; 2],
    Settings { activation, packing, isa, alignment }: Settings<'_>,
) -> Result<Vec<E>> {
    let elements = shape.output_elements();
    let mut output = alignment.allocate(elements)?;
    let first = output.len();
    let output_ptr = OutputPtr::of::<E>(output.spare_capacity_mut().as_mut_ptr().cast());
    let problem = ConvProblem {
        shape: *shape,
        format: E::FORMAT,
        input: Layout::Nchw,
        output: Layout::Nchw,
        weight_cached: packing.is_some(),
        isa,
        microarchitecture: microarchitecture(),
    };
    let call = Call {
        input: E::elements(&values.input),
        weight: E::elements(&values.weight),
        scale,
        shift,
        residual: values.residual.as_deref().map(E::elements),
        activation,
        packing,
    };
    if convolve(&problem, &call, output_ptr)? {
        // SAFETY: the allocation has room for the output, all of which has been initialized.
        unsafe { output.set_len(first + elements) };
        return Ok(output);
    }
    let results = reference_nchw(shape, &call.widened(), activation)?;
    output.extend(results.into_iter().map(E::round));
    Ok(output)
}

/// Convolves `Nchw` values by the reference algorithm.
fn reference_nchw<T: crate::float::Float>(
    shape: &ConvShape,
    values: &Values<'_, T>,
    activation: Activation,
) -> Result<Vec<T>> {
    let mut output = allocate(shape.output_elements())?;
    output.resize(shape.output_elements(), T::ZERO);
    reference::conv2d(shape, [1, 1], values, activation, &mut output);
    Ok(output)
}

/// Convolves into all of `output`. Returns `false`, with the output unspecified, if only the reference algorithm
/// supports the operands, because of their sizes or because they contain values that are not finite.
pub(super) fn convolve(problem: &ConvProblem, call: &Call<'_>, output: OutputPtr) -> Result<bool> {
    if problem.shape.output_elements() == 0 {
        return Ok(true);
    }
    let selected = Packing::algorithm(call.packing, problem);
    if run(selected, problem, call, output)? {
        return Ok(true);
    }
    let fallback = problem.register_tile_algorithm();
    Ok(fallback != selected && run(fallback, problem, call, output)?)
}

/// Convolves into all of `output` with the given algorithm. Returns `false`, with the output unspecified, if the
/// algorithm does not support the operands.
fn run(algorithm: Algorithm, problem: &ConvProblem, call: &Call<'_>, output: OutputPtr) -> Result<bool> {
    Ok(match algorithm {
        Algorithm::Depthwise => depthwise::conv2d(problem, call, output),
        Algorithm::Winograd(tile) => winograd::conv2d(problem, tile, call, output)?,
        Algorithm::PixelLanes | Algorithm::PixelLanesInPlace => {
            pixel_lanes::conv2d(problem, algorithm, call, output)
        }
        Algorithm::ChannelLanes => channel_lanes::conv2d(problem, call, Target::Output(output)),
        Algorithm::Reference => false,
    })
}
