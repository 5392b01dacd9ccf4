//! The layers without parameters as functions, under PyTorch's `torch.nn.functional` names.

use candle_core::Tensor;

use crate::kernels::activation::{self, Activation};
use crate::kernels::{pool, softmax as softmax_kernels};
use crate::layers::{AvgPool2d, MaxPool2d, OutputSize};
use crate::module::{Forward, Mode};
use crate::signal::{Signal, Step};
use crate::{Error, Result, random};

/// Runs an activation, inside the deferred operation before it where there is one.
pub(crate) fn activate(activation: Activation, x: Signal) -> Signal {
    x.fuse(Step::Activation(activation))
        .unwrap_or_else(|(x, _)| x.apply(activation.name(), |x| activation::apply(activation, &x)))
}

macro_rules! activations {
    ($($(#[$doc:meta])* $function:ident $activation:ident;)*) => {$(
        $(#[$doc])*
        pub fn $function(x: impl Into<Signal>) -> Signal {
            activate(Activation::$activation, x.into())
        }
    )*};
}

activations! {
    /// `max(x, 0)`
    relu Relu;
    /// `min(max(x, 0), 6)`
    relu6 Relu6;
    /// `x Φ(x)`, exact.
    gelu Gelu;
    /// `x σ(x)`
    silu Silu;
    /// `1 / (1 + e⁻ˣ)`
    sigmoid Sigmoid;
    tanh Tanh;
    /// `x · relu6(x + 3) / 6`
    hardswish Hardswish;
}

/// `x` where it is positive, else `negative_slope · x`.
pub fn leaky_relu(x: impl Into<Signal>, negative_slope: f64) -> Signal {
    activate(Activation::LeakyRelu { negative_slope }, x.into())
}

/// A dimension that counts from the end where it is negative, as an index.
fn axis(dim: isize, rank: usize) -> Result<usize> {
    let index = if dim < 0 { dim.checked_add_unsigned(rank) } else { Some(dim) };
    match index.and_then(|index| usize::try_from(index).ok()) {
        Some(index) if index < rank => Ok(index),
        _ => Err(Error::msg(format!("dimension {dim} of a tensor with {rank} dimensions"))),
    }
}

/// `eˣ / Σ eˣ` over one dimension, counted from the end where it is negative.
pub fn softmax(x: impl Into<Signal>, dim: isize) -> Signal {
    x.into()
        .apply("softmax", |x| -> Result<Tensor> { Ok(softmax_kernels::softmax(&x, axis(dim, x.rank())?)?) })
}

/// `x − log Σ eˣ` over one dimension, counted from the end where it is negative.
pub fn log_softmax(x: impl Into<Signal>, dim: isize) -> Signal {
    x.into().apply("log_softmax", |x| -> Result<Tensor> {
        Ok(softmax_kernels::log_softmax(&x, axis(dim, x.rank())?)?)
    })
}

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

/// Joins all dimensions from `start_dim` on into one; `flatten(x, 1)` keeps the batch.
pub fn flatten(x: impl Into<Signal>, start_dim: isize) -> Signal {
    flatten_range(x.into(), start_dim, -1)
}

pub(crate) fn flatten_range(x: Signal, start: isize, end: isize) -> Signal {
    x.apply("flatten", |x| -> Result<Tensor> {
        let (start, end) = (axis(start, x.rank())?, axis(end, x.rank())?);
        if start > end {
            return Err(Error::msg(format!("cannot flatten from dimension {start} to {end}")));
        }
        let dims = x.dims();
        let joined = dims[start..=end].iter().product();
        Ok(x.reshape([&dims[..start], &[joined], &dims[end + 1..]].concat())?)
    })
}

/// Joins signals along a dimension: `cat([a, b], 1)`.
pub fn cat<T: Into<Signal>>(signals: impl IntoIterator<Item = T>, dim: isize) -> Signal {
    join("cat", signals, |tensors, first| Ok(Tensor::cat(tensors, axis(dim, first.rank())?)?))
}

/// Joins signals of one shape along a new dimension.
pub fn stack<T: Into<Signal>>(signals: impl IntoIterator<Item = T>, dim: isize) -> Signal {
    join("stack", signals, |tensors, first| Ok(Tensor::stack(tensors, axis(dim, first.rank() + 1)?)?))
}

fn join<T: Into<Signal>>(
    name: &'static str,
    signals: impl IntoIterator<Item = T>,
    operation: impl FnOnce(&[Tensor], &Tensor) -> Result<Tensor>,
) -> Signal {
    let tensors: Result<Vec<Tensor>> =
        signals.into_iter().map(|signal| signal.into().into_tensor()).collect();
    match tensors {
        Err(error) => Signal::fail(error),
        Ok(tensors) => match tensors.first() {
            None => Signal::fail(Error::msg(format!("{name} of no tensors"))),
            Some(first) => Signal::from(first).apply(name, |first| operation(&tensors, &first)),
        },
    }
}

/// In training, sets each element to zero with probability `p` and scales the others by `1 / (1 − p)`.
pub fn dropout(x: impl Into<Signal>, p: f64, mode: Mode) -> Signal {
    let x = x.into();
    if mode == Mode::Eval || p == 0. {
        return x;
    }
    x.apply("dropout", |x| -> Result<Tensor> {
        if !(0. ..=1.).contains(&p) {
            return Err(Error::msg(format!("expected a probability between 0 and 1, got {p}")));
        }
        let keep = random::bernoulli(x.shape(), 1. - p, x.dtype(), x.device())?;
        let scale = if p == 1. { 0. } else { 1. / (1. - p) };
        Ok((x.mul(&keep)? * scale)?)
    })
}
