//! The fused convolution on a CUDA device: plans of its forward and backward pass, and how they are run.

pub mod backward;
pub mod forward;
mod run;

pub(super) use run::{conv_transpose2d, conv2d, conv2d_backward, conv2d_storage};
#[doc(hidden)]
pub use run::{conv2d_by, variants_on};
