//! Pooling over the last dimension: a sequence is an image of one row.

use super::{PoolGeometry, adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d};
use crate::planes::{as_row, input_length};
use candle_core::{Result, Tensor};

/// The largest element of each window of `[batch, channels, length]` or `[channels, length]`.
///
/// # Errors
/// The input has another rank, or [`PoolGeometry::output_size`] has no answer.
pub fn max_pool1d(x: &Tensor, geometry: &PoolGeometry<1>) -> Result<Tensor> {
    geometry.output_size([input_length("max_pool1d", x)?])?;
    as_row(x, |x| max_pool2d(x, &geometry.of_a_row()))
}

/// The mean of each window of `[batch, channels, length]` or `[channels, length]`; the elements of the
/// padding count where `count_include_pad` says so.
///
/// # Errors
/// The input has another rank, [`PoolGeometry::output_size`] has no answer or the dilation is not 1.
pub fn avg_pool1d(x: &Tensor, geometry: &PoolGeometry<1>, count_include_pad: bool) -> Result<Tensor> {
    geometry.output_size([input_length("avg_pool1d", x)?])?;
    as_row(x, |x| avg_pool2d(x, &geometry.of_a_row(), count_include_pad, None))
}

/// The means of `[batch, channels, length]` or `[channels, length]` over `size` windows as even as can be.
///
/// # Errors
/// The input has another rank, or the size is 0.
pub fn adaptive_avg_pool1d(x: &Tensor, size: usize) -> Result<Tensor> {
    input_length("adaptive_avg_pool1d", x)?;
    as_row(x, |x| adaptive_avg_pool2d(x, [None, Some(size)]))
}

/// The largest elements of `[batch, channels, length]` or `[channels, length]` in `size` windows as even
/// as can be.
///
/// # Errors
/// The input has another rank, or the size is 0.
pub fn adaptive_max_pool1d(x: &Tensor, size: usize) -> Result<Tensor> {
    input_length("adaptive_max_pool1d", x)?;
    as_row(x, |x| adaptive_max_pool2d(x, [None, Some(size)]))
}
