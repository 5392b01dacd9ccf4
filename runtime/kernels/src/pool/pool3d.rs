//! Pooling over the last three dimensions. Windows are separable: the frames of a video are pooled as images, then the
//! depth.

use candle_core::{Result, Tensor};

use crate::composed_path::has_cpu_kernels;
use crate::element::in_f32;
use crate::planes::video_size;
use crate::relay::reshape;

use super::average::{average_videos, windows};
use super::max::MaxPool;
use super::max_pool3d::pool_videos;
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
    let input = video_size("max_pool3d", x)?;
    let output = geometry.output_size(input)?;
    let [frame, depth] = geometry.split();
    if has_cpu_kernels(x) && !is_single(&depth) {
        let frames = MaxPool::new(&frame, [input[1], input[2]])?;
        let depth = MaxPool::new(&depth, [input[0], output[1] * output[2]])?;
        return pool_videos(x, frames, depth);
    }
    frames_then_depth(x, |x| max_pool2d(x, &frame), |x| unless_single(x, &depth, |x| max_pool2d(x, &depth)))
}

/// Returns the mean of each window of a video, `[batch, channels, depth, height, width]` or
/// `[channels, depth, height, width]`.
///
/// Equivalent to [`avg_pool2d`] with three axes, including the meaning of `count_include_pad` and `divisor_override`.
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
    let input = video_size("avg_pool3d", x)?;
    geometry.output_size(input)?;
    let [frame, depth] = geometry.split();
    if has_cpu_kernels(x) {
        let frame = windows(&frame, [input[1], input[2]], count_include_pad, divisor_override)?;
        let divisor = divisor_override.map(|_| 1);
        let depth = if is_single(&depth) { PoolGeometry::new([1; 2]) } else { depth };
        let depth = windows(&depth, [input[0], 1], count_include_pad, divisor)?;
        return average_videos(x, &frame, &depth);
    }
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
    let (leading, size) = x.dims().split_at(x.rank() - 2);
    let flat = reshape(x, [leading, &[size[0] * size[1]]].concat())?;
    let y = pool(&flat)?;
    Ok(reshape(&y, [y.dims(), &[1]].concat())?.into_tensor())
}

/// Returns `true` if every frame is a window of its own.
fn is_single(depth: &PoolGeometry) -> bool {
    [depth.kernel, depth.stride] == [[1; 2]; 2]
}

/// Calls `pool` unless every frame is a window of its own.
fn unless_single(
    x: &Tensor,
    depth: &PoolGeometry,
    pool: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if is_single(depth) { Ok(x.clone()) } else { pool(x) }
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
        let images = reshape(x, (batch, channels * size[0], size[1], size[2]))?;
        let frames = pool_frames(&images)?;
        let (_, _, height, width) = frames.dims4()?;
        let flat = reshape(&frames, (batch, channels, size[0], height * width))?;
        let y = pool_depth(&flat)?;
        Ok(reshape(&y, [planes, &[y.dim(2)?, height, width]].concat())?.into_tensor())
    })
}
