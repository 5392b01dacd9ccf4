//! The work of launches, for profiles: multiply-adds, and the sizes of operands and results. The functions that add to
//! the work of the innermost launch do nothing if the thread is not traced.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::kernels::internal::blocked::BlockedTensor;
use crate::kernels::trace::{Work, add_work};

use super::product;

/// Adds operands of a launch.
pub(crate) fn add_operands<'a>(operands: impl IntoIterator<Item = impl Into<Option<&'a Tensor>>>) {
    add_work(|| {
        let bytes = operands.into_iter().filter_map(Into::into).map(tensor_bytes);
        Work { bytes_read: bytes.fold(0, u64::saturating_add), ..Work::default() }
    });
}

/// Adds results of a launch.
pub(crate) fn add_results<'a>(results: impl IntoIterator<Item = &'a Tensor>) {
    add_work(|| {
        let bytes = results.into_iter().map(tensor_bytes);
        Work { bytes_written: bytes.fold(0, u64::saturating_add), ..Work::default() }
    });
}

pub(crate) fn add_multiply_adds(multiply_adds: impl FnOnce() -> u64) {
    add_work(|| Work { multiply_adds: multiply_adds(), ..Work::default() });
}

/// Adds the operand and the result of a launch, unless the result is a view of the operand: a view moves nothing.
pub(super) fn add_operand_and_result(operand: &Tensor, result: &Tensor) {
    if !is_same_storage(operand, result) {
        add_operands([operand]);
        add_results([result]);
    }
}

/// Adds the operands and the result of a launch on channel-blocked activations.
pub(crate) fn add_blocked<'a>(
    operands: impl IntoIterator<Item = &'a Arc<BlockedTensor>>,
    result: &BlockedTensor,
) {
    add_work(|| {
        let bytes = operands.into_iter().map(|operand| blocked_bytes(operand));
        let bytes_read = bytes.fold(0, u64::saturating_add);
        Work { bytes_read, bytes_written: blocked_bytes(result), ..Work::default() }
    });
}

fn is_same_storage(a: &Tensor, b: &Tensor) -> bool {
    let address = |tensor: &Tensor| std::ptr::from_ref(&*tensor.storage_and_layout().0).addr();
    address(a) == address(b)
}

pub(super) fn tensor_bytes(tensor: &Tensor) -> u64 {
    byte_size(tensor.dims(), tensor.dtype())
}

/// Returns the size of a channel-blocked activation in bytes, without the lanes after the last channel.
pub(super) fn blocked_bytes(tensor: &BlockedTensor) -> u64 {
    byte_size(&tensor.dims(), DType::F32)
}

/// Returns the size of a signal in bytes, or the largest number if it is larger.
pub(crate) fn byte_size(dims: &[usize], dtype: DType) -> u64 {
    product(dims).saturating_mul(dtype.size_in_bytes() as u64)
}

/// Returns the multiply-adds of a convolution: each output is a sum over the kernel and the input channels of a group.
/// The weight is `[out_channels, in_channels / groups, …]`.
pub(crate) fn convolution_products(output: &[usize], weight: &[usize]) -> u64 {
    product(output.iter().chain(weight.iter().skip(1)))
}

/// Returns the multiply-adds of a linear layer or a matrix product, whose outputs are sums over the last dimension of
/// the input.
pub(crate) fn matrix_products(input: &[usize], output: &[usize]) -> u64 {
    product(output.iter().chain(input.last()))
}
