//! Pooling over the last three dimensions. Windows are separable: the frames of a video are pooled as images, then the
//! depth.

use candle_core::{Result, Tensor};

use crate::element::in_f32;
use crate::planes::video_size;

use super::{PoolGeometry, adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d};

/// Returns the largest element of each window of a video, `[batch, channels, depth, height, width]` or
/// `[channels, depth, height, width]`.
///
/// Equivalent to [`max_pool2d`] with three axes.
///
/// # Errors
/// Fails if the rank of `x` is not 4 or 5, [`PoolGeometry::output_size`] fails, or the output does not fit in memory.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{PoolGeometry, max_pool3d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 16., &Device::Cpu)?.reshape((1, 1, 4, 2, 2))?;
/// let y = max_pool3d(&x, &PoolGeometry::new([2, 2, 2]))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [7., 15.]);
/// # Ok(())
/// # }
/// ```
pub fn max_pool3d(x: &Tensor, geometry: &PoolGeometry<3>) -> Result<Tensor> {
    geometry.output_size(video_size("max_pool3d", x)?)?;
    let [frame, depth] = geometry.split();
    // The first maximum of the first frame is the first maximum in row-major order.
    frames_then_depth(x, |x| max_pool2d(x, &frame), |x| unless_single(x, &depth, |x| max_pool2d(x, &depth)))
}

/// Returns the mean of each window of a video, `[batch, channels, depth, height, width]` or
/// `[channels, depth, height, width]`.
///
/// Equivalent to [`avg_pool2d`] with three axes, also in the meaning of `count_include_pad` and `divisor_override`.
///
/// # Errors
/// Fails if the rank of `x` is not 4 or 5, [`PoolGeometry::output_size`] fails, the dilation is not 1, the divisor is
/// 0, or the output does not fit in memory. The dilation of the depth has no effect if its kernel and stride are 1.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{PoolGeometry, avg_pool3d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 16., &Device::Cpu)?.reshape((1, 1, 4, 2, 2))?;
/// let y = avg_pool3d(&x, &PoolGeometry::new([2, 2, 2]), true, None)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3.5, 11.5]);
/// # Ok(())
/// # }
/// ```
pub fn avg_pool3d(
    x: &Tensor,
    geometry: &PoolGeometry<3>,
    count_include_pad: bool,
    divisor_override: Option<usize>,
) -> Result<Tensor> {
    geometry.output_size(video_size("avg_pool3d", x)?)?;
    let [frame, depth] = geometry.split();
    frames_then_depth(
        x,
        |x| avg_pool2d(x, &frame, count_include_pad, divisor_override),
        // The frames have already been divided by the divisor.
        |x| {
            unless_single(x, &depth, |x| {
                avg_pool2d(x, &depth, count_include_pad, divisor_override.map(|_| 1))
            })
        },
    )
}

/// Applies adaptive average pooling to a video, `[batch, channels, depth, height, width]` or
/// `[channels, depth, height, width]`. The second argument is the `[depth, height, width]` of the output; `None` keeps
/// the size of the input.
///
/// # Errors
/// Fails if the rank of `x` is not 4 or 5, a size is 0, or the output does not fit in memory.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::adaptive_avg_pool3d;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 16., &Device::Cpu)?.reshape((1, 1, 4, 2, 2))?;
/// let y = adaptive_avg_pool3d(&x, [None, Some(1), Some(1)])?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 5.5, 9.5, 13.5]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_avg_pool3d(x: &Tensor, [depth, height, width]: [Option<usize>; 3]) -> Result<Tensor> {
    video_size("adaptive_avg_pool3d", x)?;
    if [height, width] == [Some(1); 2] {
        return flat_frames(x, |x| adaptive_avg_pool2d(x, [depth, Some(1)]));
    }
    frames_then_depth(
        x,
        |x| adaptive_avg_pool2d(x, [height, width]),
        |x| adaptive_avg_pool2d(x, [depth, None]),
    )
}

/// Applies adaptive max pooling to a video, `[batch, channels, depth, height, width]` or
/// `[channels, depth, height, width]`. The second argument is the `[depth, height, width]` of the output; `None` keeps
/// the size of the input.
///
/// # Errors
/// Fails if the rank of `x` is not 4 or 5, a size is 0, or the output does not fit in memory.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::adaptive_max_pool3d;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 16., &Device::Cpu)?.reshape((1, 1, 4, 2, 2))?;
/// let y = adaptive_max_pool3d(&x, [Some(2), Some(1), Some(1)])?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [7., 15.]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_max_pool3d(x: &Tensor, [depth, height, width]: [Option<usize>; 3]) -> Result<Tensor> {
    video_size("adaptive_max_pool3d", x)?;
    if [height, width] == [Some(1); 2] {
        return flat_frames(x, |x| adaptive_max_pool2d(x, [depth, Some(1)]));
    }
    frames_then_depth(
        x,
        |x| adaptive_max_pool2d(x, [height, width]),
        |x| adaptive_max_pool2d(x, [depth, None]),
    )
}

/// Pools a video as the images `[batch, channels, depth, height · width]`, with windows that contain whole frames. The
/// caller must have checked the shape of `x`.
fn flat_frames(x: &Tensor, pool: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let y = pool(&x.flatten_from(x.rank() - 2)?)?;
    y.unsqueeze(y.rank())
}

/// Calls `pool` unless every frame is a window of its own.
fn unless_single(
    x: &Tensor,
    depth: &PoolGeometry,
    pool: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if [depth.kernel, depth.stride] == [[1; 2]; 2] { Ok(x.clone()) } else { pool(x) }
}

/// Pools the frames of a video as the images `[batch, channels · depth, height, width]`, then the depth as that of the
/// images `[batch, channels, depth, height · width]`. Halves are rounded once, at the end. The caller must have checked
/// the shape of `x`.
fn frames_then_depth(
    x: &Tensor,
    pool_frames: impl FnOnce(&Tensor) -> Result<Tensor>,
    pool_depth: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (planes, size) = x.dims().split_at(x.rank() - 3);
    let channels = planes[planes.len() - 1];
    let batch = if planes.len() == 2 { planes[0] } else { 1 };
    in_f32(x, |x| {
        let frames = pool_frames(&x.reshape((batch, channels * size[0], size[1], size[2]))?)?;
        let (_, _, height, width) = frames.dims4()?;
        let y = pool_depth(&frames.reshape((batch, channels, size[0], height * width))?)?;
        y.reshape([planes, &[y.dim(2)?, height, width]].concat())
    })
}
