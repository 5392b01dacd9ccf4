//! Methods of [`Signal`], named as in PyTorch or candle. Use [`Signal::map`] to call any other method of a tensor.

mod activation;
mod compare;
mod elementwise;
mod matmul;
mod reduce;
mod select;
mod shape;

pub use compare::{Operand, OperandValue};
pub use select::SplitSizes;

use candle_core::{DType, Tensor};

use crate::dim::Dims;
use crate::graph::Op;
use crate::kernels::arithmetic::{self, Unary};
use crate::kernels::internal::blocked::{self, BlockedTensor};
use crate::{Error, Result};

use super::{
    Layout, Meta, NeedsNumbers, Recording, SameShape, ShapeFrom, ShapeRule, Signal, View, add_multiply_adds,
    add_operands, broadcast_metas, matrix_products,
};

impl Signal {
    /// Calls `operation` with the tensor and the indices of `dims`.
    fn along(
        &self,
        name: &'static str,
        dims: impl Dims,
        operation: impl FnOnce(Tensor, Vec<usize>) -> candle_core::Result<Tensor>,
    ) -> Self {
        self.clone().apply(name, View, |t| -> Result<Tensor> {
            let dims = dims.indices(t.rank())?;
            Ok(operation(t, dims)?)
        })
    }

    /// Applies the function `op` to every element, in the layout of the signal. The result is a failed signal if
    /// `check` fails for the dtype.
    pub(super) fn map_elements(
        self,
        name: &'static str,
        op: Unary,
        check: impl Fn(DType) -> Result<()>,
    ) -> Self {
        let on_blocked = |x: &BlockedTensor| blocked::unary(op, x);
        self.apply_either((name, Op::Unary(op)), Layout::Nchw, SameShape, on_blocked, |t| -> Result<Tensor> {
            check(t.dtype())?;
            Ok(arithmetic::unary(op, &t)?)
        })
    }
}

/// Returns an error unless the dtype is floating point.
pub(super) fn check_float(dtype: DType) -> Result<()> {
    if dtype.is_float() {
        return Ok(());
    }
    Err(Error::msg(format!("expected a floating-point input, found {dtype:?}")))
}
