//! Pooling over the last two dimensions, or the last one: maximum and average, over windows of a given
//! size or over a given number of them.

mod average;
mod composed;
pub(crate) mod cuda;
mod fours;
mod geometry;
mod line;
pub(crate) mod max;
mod neighbours;

pub(crate) use average::{Window, Windows, adaptive_windows, windows};
pub use average::{adaptive_avg_pool2d, avg_pool2d};
pub use geometry::PoolGeometry;
pub(crate) use geometry::{Taps, adaptive_ranges, adaptive_size};
pub use line::{adaptive_avg_pool1d, adaptive_max_pool1d, avg_pool1d, max_pool1d};
pub use max::{adaptive_max_pool2d, max_pool2d};
