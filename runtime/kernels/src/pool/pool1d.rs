//! Pooling over the last dimension. A sequence is treated as an image with one row.

use candle_core::{Result, Tensor};

use crate::planes::{as_row, input_length};

use super::{PoolGeometry, adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d};

/// Returns the largest element of each window of a sequence, `[batch, channels, length]` or
/// `[channels, length]`.
///
/// Equivalent to [`max_pool2d`] with one axis.
///
/// # Errors
/// Fails if the rank of `x` is not 2 or 3, or [`PoolGeometry::output_size`] fails.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{PoolGeometry, max_pool1d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 3., 2., 5.]]], &Device::Cpu)?;
/// let y = max_pool1d(&x, &PoolGeometry::new([2]))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3., 5.]);
/// # Ok(())
/// # }
/// ```
pub fn max_pool1d(x: &Tensor, geometry: &PoolGeometry<1>) -> Result<Tensor> {
    geometry.output_size([input_length("max_pool1d", x)?])?;
    as_row(x, |x| max_pool2d(x, &geometry.to_2d()))
}

/// Returns the mean of each window of a sequence, `[batch, channels, length]` or `[channels, length]`.
///
/// Equivalent to [`avg_pool2d`] with one axis. `count_include_pad` sets whether the
/// padding counts as elements of a window.
///
/// # Errors
/// Fails if the rank of `x` is not 2 or 3, [`PoolGeometry::output_size`] fails, or the dilation is not 1.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{PoolGeometry, avg_pool1d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 3., 2., 5.]]], &Device::Cpu)?;
/// let y = avg_pool1d(&x, &PoolGeometry::new([2]), true)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2., 3.5]);
/// # Ok(())
/// # }
/// ```
pub fn avg_pool1d(x: &Tensor, geometry: &PoolGeometry<1>, count_include_pad: bool) -> Result<Tensor> {
    geometry.output_size([input_length("avg_pool1d", x)?])?;
    as_row(x, |x| avg_pool2d(x, &geometry.to_2d(), count_include_pad, None))
}

/// Applies adaptive average pooling to a sequence, `[batch, channels, length]` or `[channels, length]`, with an output
/// of length `size`.
///
/// # Errors
/// Fails if the rank of `x` is not 2 or 3, or the size is 0.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::adaptive_avg_pool1d;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 3., 2., 5.]]], &Device::Cpu)?;
/// assert_eq!(adaptive_avg_pool1d(&x, 1)?.flatten_all()?.to_vec1::<f32>()?, [2.75]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_avg_pool1d(x: &Tensor, size: usize) -> Result<Tensor> {
    input_length("adaptive_avg_pool1d", x)?;
    as_row(x, |x| adaptive_avg_pool2d(x, [None, Some(size)]))
}

/// Applies adaptive max pooling to a sequence, `[batch, channels, length]` or `[channels, length]`, with an output of
/// length `size`.
///
/// # Errors
/// Fails if the rank of `x` is not 2 or 3, or the size is 0.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::adaptive_max_pool1d;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 3., 2., 5.]]], &Device::Cpu)?;
/// assert_eq!(adaptive_max_pool1d(&x, 2)?.flatten_all()?.to_vec1::<f32>()?, [3., 5.]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_max_pool1d(x: &Tensor, size: usize) -> Result<Tensor> {
    input_length("adaptive_max_pool1d", x)?;
    as_row(x, |x| adaptive_max_pool2d(x, [None, Some(size)]))
}
