//! Pooling.

use crate::kernels::pool;
use crate::layers::{AvgPool2d, MaxPool2d, OutputSize};
use crate::module::{Forward, Mode};
use crate::signal::Signal;

/// The largest value of each window: `max_pool2d(x, 2)`, or with everything a [`MaxPool2d`] can be told,
/// `max_pool2d(x, MaxPool2d::config(3).stride(2).padding(1))`.
pub fn max_pool2d(x: impl Into<Signal>, window: impl Into<MaxPool2d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// The average of each window: `avg_pool2d(x, 2)`, or with everything an [`AvgPool2d`] can be told.
pub fn avg_pool2d(x: impl Into<Signal>, window: impl Into<AvgPool2d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// Averages to a fixed number of rows and columns.
pub fn adaptive_avg_pool2d(x: impl Into<Signal>, output_size: impl Into<OutputSize>) -> Signal {
    let OutputSize(size) = output_size.into();
    x.into().apply("adaptive_avg_pool2d", |x| pool::adaptive_avg_pool2d(&x, size))
}
