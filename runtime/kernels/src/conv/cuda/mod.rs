//! The fused convolution on a CUDA device: the programs of its forward and backward pass, and the code that runs them.

pub(crate) mod backward;
pub(crate) mod forward;
mod run;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;

pub(super) use run::{conv_transpose2d, conv2d, conv2d_backward, conv2d_storage};
