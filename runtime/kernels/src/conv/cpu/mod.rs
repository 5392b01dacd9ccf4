//! The fused convolution on the CPU.
//!
//! `forward` reads the operands whatever their dtype and strides (`operand`) and runs the kernel
//! that suits them. Halves are widened to f32 a piece at a time, summed there and rounded once (`pixels`).

mod choice;
mod depthwise;
mod dilated;
mod direct;
mod epilogue;
mod finish;
mod finite;
mod operand;
mod packed;
mod pixels;
mod portable;
mod units;
pub(crate) mod winograd;

pub use choice::{Question, Way};
pub use operand::{Operand, Operands};
pub(crate) use packed::{Form, Planned};
pub use packed::{PackedCache, Packing};

use super::{ConvShape, Epilogue};
use crate::activation::Activation;
use crate::memory::{Alignment, tensor_at_end};
use crate::simd::{Isa, maker};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Tensor, bail};
pub(crate) use finite::is_finite;
use half::{bf16, f16};
use operand::Call;
pub(super) use operand::Values;
use pixels::Element;
pub use pixels::Pixels;
pub use pixels::Stored;
pub(super) use pixels::{Output, Source};

/// As [`super::conv2d`] for operands on the CPU, none of which tracks gradients.
pub(super) fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    shape: &ConvShape,
    epilogue: &Epilogue,
    packed: Option<&PackedCache>,
    isa: Isa,
) -> Result<Tensor> {
    let packing = packed.map(|cache| Packing::new(cache, weight.id()));
    conv2d_by(input, weight, shape, epilogue, packing, isa)
}

/// As [`conv2d`], by a given way where `packing` says which.
pub(super) fn conv2d_by(
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

/// A storage that ends with the output `[batch, out_channels, height, width]`, contiguous, in the operands' dtype.
pub(super) fn forward(
    shape: &ConvShape,
    operands: &Operands<'_>,
    activation: Activation,
    packing: Option<Packing<'_>>,
    isa: Isa,
    alignment: Alignment,
) -> Result<CpuStorage> {
    Ok(match operands.input.storage {
        CpuStorage::F32(_) => {
            CpuStorage::F32(fused(shape, &operands.values()?, activation, packing, isa, alignment)?)
        }
        CpuStorage::F64(_) => {
            CpuStorage::F64(portable::conv2d(shape, &operands.values::<f64>()?, activation)?)
        }
        CpuStorage::F16(_) => {
            CpuStorage::F16(fused::<f16>(shape, &operands.values()?, activation, packing, isa, alignment)?)
        }
        CpuStorage::BF16(_) => {
            CpuStorage::BF16(fused::<bf16>(shape, &operands.values()?, activation, packing, isa, alignment)?)
        }
        other => bail!("conv2d: expected f32, f64, f16 or bf16, got {:?}", other.dtype()),
    })
}

/// The convolution of `input` with `weight` alone, in f32.
pub(super) fn plain(shape: &ConvShape, input: &[f32], weight: &[f32], isa: Isa) -> Result<Vec<f32>> {
    let (input, weight) = (input.into(), weight.into());
    let values = Values { input, weight, scale: None, shift: None, residual: None };
    fused(shape, &values, Activation::Identity, None, isa, Alignment::Storage)
}

/// By the fastest kernel that is for these operands, computed in f32.
fn fused<E: Element>(
    shape: &ConvShape,
    values: &Values<'_, E>,
    activation: Activation,
    packing: Option<Packing<'_>>,
    isa: Isa,
    alignment: Alignment,
) -> Result<Vec<E>> {
    let elements = shape.output_elements();
    let mut output = alignment.allocate(elements)?;
    let first = output.len();
    let target = Output::of::<E>(output.spare_capacity_mut().as_mut_ptr().cast());
    let question =
        Question { shape: *shape, stored: E::STORED, kept: packing.is_some(), isa, maker: maker() };
    if run(&question, &Call::of(values, activation), packing, target)? {
        // SAFETY: there is room for it, and the kernel has initialised all of the output.
        unsafe { output.set_len(first + elements) };
        return Ok(output);
    }
    let single = portable::conv2d(shape, &values.widened(), activation)?;
    output.extend(single.into_iter().map(E::round));
    Ok(output)
}

/// Writes all of the output, or answers that no kernel is for these operands.
fn run(question: &Question, call: &Call<'_>, packing: Option<Packing<'_>>, output: Output) -> Result<bool> {
    let Question { shape, isa, .. } = question;
    if shape.output_elements() == 0 {
        return Ok(true);
    }
    let way = packing.and_then(|packing| packing.way).unwrap_or_else(|| question.answer());
    let done = match way {
        Way::Depthwise => depthwise::conv2d(shape, call, *isa, output),
        Way::Winograd(tile) => winograd::conv2d(shape, tile, call, packing, *isa, output)?,
        Way::Direct | Way::InPlace => false,
    };
    Ok(done || direct::conv2d(shape, way == Way::InPlace, call, packing, *isa, output))
}
