//! Other shapes: flattened, joined, stacked.

use candle_core::Tensor;

use super::axis;
use crate::signal::Signal;
use crate::{Error, Result};

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
