//! Convolution + bias + batch norm + residual + activation, as one kernel.

pub mod backward;
mod geometry;

pub use geometry::ConvGeometry;
