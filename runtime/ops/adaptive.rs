//! Adaptive pooling: pooling to a fixed output size.

use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::pool;
use crate::signal::{Layout, Signal};

/// The output `[height, width]` of adaptive pooling. `None` keeps the input's size along that axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputSize(pub [Option<usize>; 2]);

impl From<usize> for OutputSize {
    fn from(both: usize) -> Self {
        Self([Some(both); 2])
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

/// Prints the size in Python syntax, as one number if both sizes are equal.
impl std::fmt::Display for OutputSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [height, width] =
            self.0.map(|size| size.map_or_else(|| "None".to_string(), |size| size.to_string()));
        if height == width { f.write_str(&height) } else { write!(f, "({height}, {width})") }
    }
}

/// Average-pools a sequence to a fixed length.
pub fn adaptive_avg_pool1d(x: impl Into<Signal>, output_size: usize) -> Signal {
    x.into().apply("adaptive_avg_pool1d", |x| pool::adaptive_avg_pool1d(&x, output_size))
}

/// Average-pools an image to a fixed height and width.
pub fn adaptive_avg_pool2d(x: impl Into<Signal>, output_size: impl Into<OutputSize>) -> Signal {
    let OutputSize(size) = output_size.into();
    let on_image = |x: &Image| blocked::adaptive_avg_pool2d(x, size);
    x.into()
        .apply_either("adaptive_avg_pool2d", Layout::Nchwc, on_image, |x| pool::adaptive_avg_pool2d(&x, size))
}

/// Max-pools a sequence to a fixed length.
pub fn adaptive_max_pool1d(x: impl Into<Signal>, output_size: usize) -> Signal {
    x.into().apply("adaptive_max_pool1d", |x| pool::adaptive_max_pool1d(&x, output_size))
}

/// Max-pools an image to a fixed height and width.
pub fn adaptive_max_pool2d(x: impl Into<Signal>, output_size: impl Into<OutputSize>) -> Signal {
    let OutputSize(size) = output_size.into();
    let on_image = |x: &Image| blocked::adaptive_max_pool2d(x, size);
    x.into()
        .apply_either("adaptive_max_pool2d", Layout::Nchwc, on_image, |x| pool::adaptive_max_pool2d(&x, size))
}
