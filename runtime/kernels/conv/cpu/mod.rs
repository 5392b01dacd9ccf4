//! The fused convolution on the CPU.
//!
//! `forward` reads the operands whatever their dtype and strides (`operand`) and runs the kernel
//! that suits them: halves are widened to f32, summed there and rounded once.

mod depthwise;
mod dilated;
mod direct;
pub(crate) mod epilogue;
pub(crate) mod finish;
mod finite;
mod operand;
mod packed;
mod portable;
pub(crate) mod winograd;

pub(in crate::kernels) use epilogue::activate;
pub use operand::{Operand, Operands};
pub(crate) use packed::Form;
pub use packed::{PackedCache, Packing};

use super::{ConvShape, Epilogue};
use crate::kernels::activation::Activation;
use crate::kernels::simd::Isa;
use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Result, Storage, Tensor, bail};
pub(crate) use finite::is_finite;
use half::{bf16, f16};
pub(super) use operand::Values;

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
    let output = forward(shape, &operands, epilogue.activation, packing, isa)?;
    Ok(Tensor::from_storage(Storage::Cpu(output), shape.output_dims().to_vec(), BackpropOp::none(), false))
}

/// The output `[batch, out_channels, height, width]`, contiguous, in the operands' dtype.
pub(super) fn forward(
    shape: &ConvShape,
    operands: &Operands<'_>,
    activation: Activation,
    packing: Option<Packing<'_>>,
    isa: Isa,
) -> Result<CpuStorage> {
    Ok(match operands.input.storage {
        CpuStorage::F32(_) => CpuStorage::F32(single(shape, &operands.values()?, activation, packing, isa)?),
        CpuStorage::F64(_) => {
            CpuStorage::F64(portable::conv2d(shape, &operands.values::<f64>()?, activation)?)
        }
        CpuStorage::F16(_) => {
            let output = single(shape, &operands.widened(f16::to_f32)?, activation, packing, isa)?;
            CpuStorage::F16(output.into_iter().map(f16::from_f32).collect())
        }
        CpuStorage::BF16(_) => {
            let output = single(shape, &operands.widened(bf16::to_f32)?, activation, packing, isa)?;
            CpuStorage::BF16(output.into_iter().map(bf16::from_f32).collect())
        }
        other => bail!("conv2d: expected f32, f64, f16 or bf16, got {:?}", other.dtype()),
    })
}

/// The convolution of `input` with `weight` alone, in f32.
pub(super) fn plain(shape: &ConvShape, input: &[f32], weight: &[f32], isa: Isa) -> Result<Vec<f32>> {
    let (input, weight) = (input.into(), weight.into());
    let values = Values { input, weight, scale: None, shift: None, residual: None };
    single(shape, &values, Activation::Identity, None, isa)
}

/// In f32, by the fastest kernel that is for these operands.
fn single(
    shape: &ConvShape,
    values: &Values<'_, f32>,
    activation: Activation,
    packing: Option<Packing<'_>>,
    isa: Isa,
) -> Result<Vec<f32>> {
    if let Some(output) = depthwise::conv2d(shape, values, activation, isa)? {
        return Ok(output);
    }
    if let Some(output) = winograd::conv2d(shape, values, activation, packing, isa)? {
        return Ok(output);
    }
    match direct::conv2d(shape, values, activation, packing, isa)? {
        Some(output) => Ok(output),
        None => portable::conv2d(shape, values, activation),
    }
}

/// Room for an output of `elements`, or an error where the machine has not so much memory.
fn reserve<T>(elements: usize) -> Result<Vec<T>> {
    let mut output = Vec::new();
    match output.try_reserve_exact(elements) {
        Ok(()) => Ok(output),
        Err(error) => bail!("conv2d: no memory for an output of {elements} elements: {error}"),
    }
}

/// The output's first element. The tasks that share it write disjoint elements.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: whoever has it writes elements of its own, and reads no others.
unsafe impl Send for Output {}
unsafe impl Sync for Output {}
