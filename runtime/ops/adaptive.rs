//! Adaptive pooling: pooling to a fixed output size.

use crate::graph::Op;
use crate::kernels::internal::Axes;
use crate::kernels::internal::blocked::{self, BlockedTensor};
use crate::kernels::pool;
use crate::signal::{Layout, OptionalBatch, Signal};

/// The output size of adaptive pooling: `[height, width]`, or `[depth, height, width]` for videos. `None` keeps the
/// input's size along that axis.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let size = OutputSize::from((Some(2), None)); // height 2, and the width of the input
/// let x = Tensor::zeros((1, 3, 8, 6), DType::F32, &Device::Cpu)?;
/// assert_eq!(adaptive_avg_pool2d(x, size).dims()?, [1, 3, 2, 6]);
/// assert_eq!(OutputSize::from(7), OutputSize([Some(7), Some(7)]));
/// assert_eq!(OutputSize::from((None, Some(7), Some(7))).to_string(), "(None, 7, 7)");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputSize<const AXES: usize = 2>(pub [Option<usize>; AXES]);

impl<const AXES: usize> From<usize> for OutputSize<AXES> {
    fn from(all: usize) -> Self {
        Self([Some(all); AXES])
    }
}

impl From<(usize, usize)> for OutputSize {
    fn from((height, width): (usize, usize)) -> Self {
        Self([Some(height), Some(width)])
    }
}

impl From<(Option<usize>, Option<usize>)> for OutputSize {
    fn from((height, width): (Option<usize>, Option<usize>)) -> Self {
        Self([height, width])
    }
}

impl From<(usize, usize, usize)> for OutputSize<3> {
    fn from((depth, height, width): (usize, usize, usize)) -> Self {
        Self([Some(depth), Some(height), Some(width)])
    }
}

impl From<(Option<usize>, Option<usize>, Option<usize>)> for OutputSize<3> {
    fn from((depth, height, width): (Option<usize>, Option<usize>, Option<usize>)) -> Self {
        Self([depth, height, width])
    }
}

/// Prints the size in Python syntax, as one number if all sizes are equal.
impl<const AXES: usize> std::fmt::Display for OutputSize<AXES> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes = self.0.map(|size| size.map_or_else(|| "None".to_string(), |size| size.to_string()));
        let same = sizes.windows(2).all(|pair| pair[0] == pair[1]);
        if same { f.write_str(&sizes[..1].concat()) } else { write!(f, "({})", sizes.join(", ")) }
    }
}

/// Average-pools a sequence to a fixed length.
///
/// `x` is `[batch, channels, length]` or `[channels, length]`. The length of the output is `output_size`. The output is
/// a failed signal if `output_size` is 0, or if `x` has the wrong rank or no elements.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 3., 5., 7.]]], &Device::Cpu)?; // [batch, channels, length]
/// let y = adaptive_avg_pool1d(&x, 2).into_tensor()?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[2., 6.]]]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_avg_pool1d(x: impl Into<Signal>, output_size: usize) -> Signal {
    x.into().apply(("adaptive_avg_pool1d", Op::AdaptiveAvgPool { axes: Axes::One }), OptionalBatch(3), |x| {
        pool::adaptive_avg_pool1d(&x, output_size)
    })
}

/// Average-pools an image to a fixed height and width.
///
/// `x` is `[batch, channels, height, width]` or `[channels, height, width]`. `output_size` is one number for both axes,
/// or `(height, width)`; `None` keeps the size of the input, as in `(None, Some(width))`. The output is a failed signal
/// if a size is 0, or if `x` has the wrong rank or no elements.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 12., &Device::Cpu)?.reshape((1, 1, 3, 4))?;
/// assert_eq!(adaptive_avg_pool2d(&x, 1).into_tensor()?.flatten_all()?.to_vec1::<f32>()?, [5.5]);
/// assert_eq!(adaptive_avg_pool2d(&x, (3, 2)).dims()?, [1, 1, 3, 2]);
/// assert_eq!(adaptive_avg_pool2d(&x, (None, Some(2))).dims()?, [1, 1, 3, 2]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_avg_pool2d(x: impl Into<Signal>, output_size: impl Into<OutputSize>) -> Signal {
    let OutputSize(size) = output_size.into();
    let on_blocked = |x: &BlockedTensor| blocked::adaptive_avg_pool2d(x, size);
    let description = ("adaptive_avg_pool2d", Op::AdaptiveAvgPool { axes: Axes::Two });
    x.into().apply_either(description, Layout::Nchwc, OptionalBatch(4), on_blocked, |x| {
        pool::adaptive_avg_pool2d(&x, size)
    })
}

/// Max-pools a sequence to a fixed length.
///
/// `x` is `[batch, channels, length]` or `[channels, length]`. The length of the output is `output_size`. The output is
/// a failed signal if `output_size` is 0, or if `x` has the wrong rank or no elements.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 3., 5., 7.]]], &Device::Cpu)?; // [batch, channels, length]
/// let y = adaptive_max_pool1d(&x, 2).into_tensor()?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[3., 7.]]]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_max_pool1d(x: impl Into<Signal>, output_size: usize) -> Signal {
    x.into().apply(("adaptive_max_pool1d", Op::AdaptiveMaxPool { axes: Axes::One }), OptionalBatch(3), |x| {
        pool::adaptive_max_pool1d(&x, output_size)
    })
}

/// Max-pools an image to a fixed height and width.
///
/// `x` is `[batch, channels, height, width]` or `[channels, height, width]`. `output_size` is one number for both axes,
/// or `(height, width)`; `None` keeps the size of the input, as in `(None, Some(width))`. The output is a failed signal
/// if a size is 0, or if `x` has the wrong rank or no elements.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 12., &Device::Cpu)?.reshape((1, 1, 3, 4))?;
/// let y = adaptive_max_pool2d(&x, (1, 2)).into_tensor()?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [9., 11.]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_max_pool2d(x: impl Into<Signal>, output_size: impl Into<OutputSize>) -> Signal {
    let OutputSize(size) = output_size.into();
    let on_blocked = |x: &BlockedTensor| blocked::adaptive_max_pool2d(x, size);
    let description = ("adaptive_max_pool2d", Op::AdaptiveMaxPool { axes: Axes::Two });
    x.into().apply_either(description, Layout::Nchwc, OptionalBatch(4), on_blocked, |x| {
        pool::adaptive_max_pool2d(&x, size)
    })
}

/// Average-pools a video to a fixed depth, height and width.
///
/// `x` is `[batch, channels, depth, height, width]` or `[channels, depth, height, width]`. `output_size` is one number
/// for all axes, or `(depth, height, width)`; `None` keeps the size of the input, as in `(None, Some(1), Some(1))`. The
/// output is a failed signal if a size is 0, or if `x` has the wrong rank or no elements.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 12., &Device::Cpu)?.reshape((1, 1, 3, 2, 2))?;
/// assert_eq!(adaptive_avg_pool3d(&x, 1).into_tensor()?.flatten_all()?.to_vec1::<f32>()?, [5.5]);
/// let y = adaptive_avg_pool3d(&x, (None, Some(1), Some(1))).into_tensor()?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 5.5, 9.5]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_avg_pool3d(x: impl Into<Signal>, output_size: impl Into<OutputSize<3>>) -> Signal {
    let OutputSize(size) = output_size.into();
    x.into().apply(
        ("adaptive_avg_pool3d", Op::AdaptiveAvgPool { axes: Axes::Three }),
        OptionalBatch(5),
        |x| pool::adaptive_avg_pool3d(&x, size),
    )
}

/// Max-pools a video to a fixed depth, height and width.
///
/// `x` is `[batch, channels, depth, height, width]` or `[channels, depth, height, width]`. `output_size` is one number
/// for all axes, or `(depth, height, width)`; `None` keeps the size of the input, as in `(None, Some(1), Some(1))`. The
/// output is a failed signal if a size is 0, or if `x` has the wrong rank or no elements.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 12., &Device::Cpu)?.reshape((1, 1, 3, 2, 2))?;
/// let y = adaptive_max_pool3d(&x, (3, 1, 2)).into_tensor()?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2., 3., 6., 7., 10., 11.]);
/// # Ok(())
/// # }
/// ```
pub fn adaptive_max_pool3d(x: impl Into<Signal>, output_size: impl Into<OutputSize<3>>) -> Signal {
    let OutputSize(size) = output_size.into();
    x.into().apply(
        ("adaptive_max_pool3d", Op::AdaptiveMaxPool { axes: Axes::Three }),
        OptionalBatch(5),
        |x| pool::adaptive_max_pool3d(&x, size),
    )
}
