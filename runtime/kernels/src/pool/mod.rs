//! Max and average pooling over the last one, two or three dimensions, with a fixed window size or adaptively to a
//! fixed output size.

mod average;
mod composed;
pub(crate) mod cuda;
mod geometry;
pub(crate) mod max;
mod max_forward;
mod max_pool3d;
mod max_pool_2x2;
mod max_pool_gradient;
mod pool1d;
mod pool3d;

pub(crate) use average::{Window, Windows, adaptive_windows, windows};
pub use average::{adaptive_avg_pool2d, avg_pool2d};
pub use geometry::PoolGeometry;
pub(crate) use geometry::{WindowPositions, adaptive_ranges, adaptive_size};
pub use max::{adaptive_max_pool2d, max_pool2d};
pub use pool1d::{adaptive_avg_pool1d, adaptive_max_pool1d, avg_pool1d, max_pool1d};
pub use pool3d::{adaptive_avg_pool3d, adaptive_max_pool3d, avg_pool3d, max_pool3d};
