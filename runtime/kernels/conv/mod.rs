//! Convolution + bias + batch norm + residual + activation, as one kernel.

mod geometry;

pub use geometry::ConvGeometry;
