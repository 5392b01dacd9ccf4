//! Pooling to a fixed size.

use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::pool;
use crate::signal::{Layout, Signal};

/// Rows and columns of an adaptive pooling's output; `None` keeps the input's size of that axis.
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

/// Prints as Python: one number where both axes agree.
impl std::fmt::Display for OutputSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [height, width] =
            self.0.map(|size| size.map_or_else(|| "None".to_string(), |size| size.to_string()));
        if height == width { f.write_str(&height) } else { write!(f, "({height}, {width})") }
    }
}

/// Averages a sequence to a fixed length.
pub fn adaptive_avg_pool1d(x: impl Into<Signal>, output_size: usize) -> Signal {
    x.into().apply("adaptive_avg_pool1d", |x| pool::adaptive_avg_pool1d(&x, output_size))
}

/// Averages to a fixed number of rows and columns.
pub fn adaptive_avg_pool2d(x: impl Into<Signal>, output_size: impl Into<OutputSize>) -> Signal {
    let OutputSize(size) = output_size.into();
    let on_image = |x: &Image| blocked::adaptive_avg_pool2d(x, size);
    x.into()
        .apply_either("adaptive_avg_pool2d", Layout::Nchwc, on_image, |x| pool::adaptive_avg_pool2d(&x, size))
}

/// The largest values of a sequence, in a fixed number of windows.
pub fn adaptive_max_pool1d(x: impl Into<Signal>, output_size: usize) -> Signal {
    x.into().apply("adaptive_max_pool1d", |x| pool::adaptive_max_pool1d(&x, output_size))
}

/// The largest values, in a grid of windows of fixed height and width.
pub fn adaptive_max_pool2d(x: impl Into<Signal>, output_size: impl Into<OutputSize>) -> Signal {
    let OutputSize(size) = output_size.into();
    let on_image = |x: &Image| blocked::adaptive_max_pool2d(x, size);
    x.into()
        .apply_either("adaptive_max_pool2d", Layout::Nchwc, on_image, |x| pool::adaptive_max_pool2d(&x, size))
}
