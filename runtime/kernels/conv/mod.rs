//! Convolution + bias + batch norm + residual + activation, as one kernel.

mod geometry;
#[doc(hidden)]
pub mod winograd;

pub use geometry::ConvGeometry;
