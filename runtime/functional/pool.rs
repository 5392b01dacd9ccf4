//! Pooling.

use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::pool;
use crate::layers::{AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d, OutputSize};
use crate::module::{Forward, Mode};
use crate::signal::Signal;

/// The largest value of each window of a sequence: `max_pool1d(x, 2)`, or with everything a [`MaxPool1d`]
/// can be told, `max_pool1d(x, MaxPool1d::config(3).stride(2).padding(1))`.
pub fn max_pool1d(x: impl Into<Signal>, window: impl Into<MaxPool1d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// The largest value of each window: `max_pool2d(x, 2)`, or with everything a [`MaxPool2d`] can be told,
/// `max_pool2d(x, MaxPool2d::config(3).stride(2).padding(1))`.
pub fn max_pool2d(x: impl Into<Signal>, window: impl Into<MaxPool2d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// The average of each window of a sequence: `avg_pool1d(x, 2)`, or with everything an [`AvgPool1d`] can be
/// told.
pub fn avg_pool1d(x: impl Into<Signal>, window: impl Into<AvgPool1d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// The average of each window: `avg_pool2d(x, 2)`, or with everything an [`AvgPool2d`] can be told.
pub fn avg_pool2d(x: impl Into<Signal>, window: impl Into<AvgPool2d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// Averages a sequence to a fixed length.
pub fn adaptive_avg_pool1d(x: impl Into<Signal>, output_size: usize) -> Signal {
    x.into().apply("adaptive_avg_pool1d", |x| pool::adaptive_avg_pool1d(&x, output_size))
}

/// Averages to a fixed number of rows and columns.
pub fn adaptive_avg_pool2d(x: impl Into<Signal>, output_size: impl Into<OutputSize>) -> Signal {
    let OutputSize(size) = output_size.into();
    let on_image = |x: &Image| blocked::adaptive_avg_pool2d(x, size);
    x.into().apply_either("adaptive_avg_pool2d", true, on_image, |x| pool::adaptive_avg_pool2d(&x, size))
}

/// The largest values of a sequence, in a fixed number of windows.
pub fn adaptive_max_pool1d(x: impl Into<Signal>, output_size: usize) -> Signal {
    x.into().apply("adaptive_max_pool1d", |x| pool::adaptive_max_pool1d(&x, output_size))
}

/// The largest values, in a grid of windows of fixed height and width.
pub fn adaptive_max_pool2d(x: impl Into<Signal>, output_size: impl Into<OutputSize>) -> Signal {
    let OutputSize(size) = output_size.into();
    let on_image = |x: &Image| blocked::adaptive_max_pool2d(x, size);
    x.into().apply_either("adaptive_max_pool2d", true, on_image, |x| pool::adaptive_max_pool2d(&x, size))
}
