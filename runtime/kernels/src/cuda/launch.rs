//! Runs a [`Program`] on tensors.

use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Device, Layout, Result, Shape, Storage, Tensor, bail};

use super::device::{run, run_in_place};
use super::{Program, Target};

/// A tensor on a CUDA device, with any strides: its storage and layout.
pub(crate) type Operand<'a> = (&'a CudaStorage, &'a Layout);

/// Returns `true` if this crate's CUDA kernels run on `device`.
pub(crate) fn runs_on(device: &Device) -> bool {
    cfg!(feature = "cuda") && device.is_cuda()
}

/// Runs the program that `program` returns for the operands' device. Returns its outputs with the given shapes; they do
/// not track gradients. `op` names the operation in errors.
pub(crate) fn launch<S: Into<Shape>>(
    op: &'static str,
    operands: &[&Tensor],
    shapes: impl IntoIterator<Item = S>,
    program: impl Fn(&Target) -> Result<Program>,
) -> Result<Vec<Tensor>> {
    let outputs =
        with_storages(op, operands, |operands| run(op, &program, operands))?.into_iter().zip(shapes);
    let tensor =
        |(storage, shape)| Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false);
    Ok(outputs.map(tensor).collect())
}

/// Runs the program that `program` returns for the operands' device. Its operands are `updated`, which it changes in
/// place, followed by `operands`. The updated tensors must be contiguous and begin at the start of their storage.
pub(crate) fn launch_in_place(
    op: &'static str,
    updated: &[&Tensor],
    operands: &[&Tensor],
    program: impl Fn(&Target) -> Result<Program>,
) -> Result<()> {
    let all = [updated, operands].concat();
    with_storages(op, &all, |operands| run_in_place(op, &program, operands, updated.len()))
}

/// Calls `f` with the storages of `tensors`.
pub(crate) fn with_storages<T>(
    op: &'static str,
    tensors: &[&Tensor],
    f: impl FnOnce(&[Operand]) -> Result<T>,
) -> Result<T> {
    let guards: Vec<_> = tensors.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let mut storages = Vec::with_capacity(guards.len());
    for (storage, layout) in &guards {
        match &**storage {
            Storage::Cuda(storage) => storages.push((storage, *layout)),
            other => {
                let actual = other.device().location();
                bail!("{op}: expected operands on one CUDA device, found one on {actual:?}")
            }
        }
    }
    f(&storages)
}
