//! Elementwise arithmetic with broadcasting, elementwise functions, and sums over dimensions.
//!
//! On the CPU, operands may have any strides, and each operation is one pass without temporary copies. Candle's own
//! operations would use a second thread pool. While the threads of that pool wait for work, they slow down the kernels
//! of this crate.

mod binary;
mod reduce;
mod unary;

pub(crate) use binary::map_binary;
pub use binary::{Binary, binary};
pub use reduce::{mean, mean_keepdim, sum, sum_keepdim};
pub(crate) use unary::map_unary;
pub use unary::{Unary, unary};

use candle_core::{DType, Tensor};

use crate::composed_path::has_cpu_kernels;

/// Returns `true` if the kernels of this module run on `x`. Otherwise, candle's operations run.
fn has_kernels(x: &Tensor) -> bool {
    is_floating_point(x) && has_cpu_kernels(x)
}

fn is_floating_point(x: &Tensor) -> bool {
    matches!(x.dtype(), DType::F32 | DType::F64 | DType::F16 | DType::BF16)
}
