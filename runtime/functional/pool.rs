//! Pooling over windows.

use crate::layers::{AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d};
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
