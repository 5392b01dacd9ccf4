//! The fused convolution on a CUDA device: plans of its forward and backward pass, and how they are run.

pub(crate) mod backward;
pub(crate) mod forward;
mod run;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;

pub(super) use run::{conv_transpose2d, conv2d, conv2d_backward, conv2d_storage};
