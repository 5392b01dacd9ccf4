//! The layers without parameters as functions, under PyTorch's `torch.nn.functional` names.

mod activation;
mod dropout;
mod norm;
mod pool;
mod shape;

pub(crate) use activation::activate;
pub use activation::{gelu, hardswish, leaky_relu, log_softmax, relu, relu6, sigmoid, silu, softmax, tanh};
pub use dropout::dropout;
pub use norm::{group_norm, instance_norm, layer_norm, rms_norm};
pub use pool::{adaptive_avg_pool2d, avg_pool2d, max_pool2d};
pub(crate) use shape::flatten_range;
pub use shape::{cat, flatten, stack};

use crate::{Error, Result};

/// A dimension that counts from the end where it is negative, as an index.
fn axis(dim: isize, rank: usize) -> Result<usize> {
    let index = if dim < 0 { dim.checked_add_unsigned(rank) } else { Some(dim) };
    match index.and_then(|index| usize::try_from(index).ok()) {
        Some(index) if index < rank => Ok(index),
        _ => Err(Error::msg(format!("dimension {dim} of a tensor with {rank} dimensions"))),
    }
}
