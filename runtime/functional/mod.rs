//! The layers without parameters as functions, under PyTorch's `torch.nn.functional` names.

mod activation;
mod attention;
mod bilinear;
mod conv;
mod dropout;
mod elementwise;
mod embedding;
mod linear;
mod norm;
mod pool;
mod resample;
mod shape;

pub use activation::*;
pub use attention::{AttentionOptions, scaled_dot_product_attention};
pub(crate) use attention::{attend, boolean_mask, causal_mask};
pub use bilinear::bilinear;
pub use conv::{conv_transpose1d, conv_transpose2d, conv1d, conv2d, pad};
pub use dropout::{dropout, dropout1d, dropout2d};
pub use elementwise::{
    celu, elu, gelu_tanh, glu, hardsigmoid, hardtanh, logsigmoid, mish, selu, softmin, softplus,
};
pub use embedding::embedding;
pub use linear::linear;
pub use norm::{group_norm, instance_norm, layer_norm, rms_norm};
pub use pool::{
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d, avg_pool1d,
    avg_pool2d, max_pool1d, max_pool2d,
};
pub use resample::{interpolate, pixel_shuffle, pixel_unshuffle};
pub(crate) use shape::flatten_range;
pub use shape::{cat, flatten, stack, unflatten};

use crate::{Error, Result};

/// A dimension that counts from the end where it is negative, as an index.
fn axis(dim: isize, rank: usize) -> Result<usize> {
    let index = if dim < 0 { dim.checked_add_unsigned(rank) } else { Some(dim) };
    match index.and_then(|index| usize::try_from(index).ok()) {
        Some(index) if index < rank => Ok(index),
        _ => Err(Error::msg(format!("dimension {dim} of a tensor with {rank} dimensions"))),
    }
}
