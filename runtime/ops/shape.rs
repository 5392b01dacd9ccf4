//! Operations that change shapes: flatten, unflatten, concatenate and stack.

use candle_core::{Device, Tensor};

use crate::dim::Dim;
use crate::graph::{Description, Op};
use crate::kernels::internal::{blocked, reshape};
use crate::scope::{self, Path};
use crate::signal::{
    Meta, NeedsNumbers, Recording, ShapeFrom, Signal, Value, add_blocked, add_operands, should_concat_blocked,
};
use crate::sizes::inferred_sizes;
use crate::{Error, Result};

/// Joins `start_dim` and all dimensions after it into one. `flatten(x, 1)` keeps the batch dimension. A negative
/// `start_dim` counts from the end. The output is a failed signal if `start_dim` is out of range.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((2, 3, 4, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(flatten(&x, 1).dims()?, [2, 60]);
/// assert_eq!(flatten(&x, -2).dims()?, [2, 3, 20]);
/// # Ok(())
/// # }
/// ```
pub fn flatten(x: impl Into<Signal>, start_dim: impl Dim) -> Signal {
    flatten_range(x.into(), start_dim, -1)
}

/// Joins the dimensions `start..=end` into one.
pub(crate) fn flatten_range(x: Signal, start: impl Dim, end: impl Dim) -> Signal {
    let new_dims = |dims: &[usize]| -> Result<Vec<usize>> {
        let start = start.index(dims.len())?;
        let end = end.index(dims.len())?;
        if start > end {
            return Err(Error::msg(format!(
                "flatten: expected start_dim ≤ end_dim, found {start} and {end}"
            )));
        }
        let joined = dims[start..=end].iter().product();
        Ok([&dims[..start], &[joined], &dims[end + 1..]].concat())
    };
    x.apply(("flatten", Op::Reshape), ShapeFrom(new_dims), |x| -> Result<Tensor> {
        let dims = new_dims(x.dims())?;
        Ok(reshape(&x, dims)?.into_tensor())
    })
}

/// Splits one dimension into several: `unflatten(x, 1, [2, -1])`. One size may be `-1`, which is inferred. A negative
/// `dim` counts from the end. The output is a failed signal if the product of the sizes is not the size of the
/// dimension.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((2, 60), DType::F32, &Device::Cpu)?;
/// assert_eq!(unflatten(&x, 1, [3, -1, 5]).dims()?, [2, 3, 4, 5]);
/// assert!(unflatten(&x, 1, [7, -1]).into_tensor().is_err());
/// # Ok(())
/// # }
/// ```
pub fn unflatten(x: impl Into<Signal>, dim: impl Dim, sizes: impl IntoIterator<Item = isize>) -> Signal {
    let sizes = sizes.into_iter().collect::<Vec<_>>();
    let new_dims = |dims: &[usize]| -> Result<Vec<usize>> {
        let dim = dim.index(dims.len())?;
        let inferred = inferred_sizes(dims[dim], &sizes).filter(|sizes| !sizes.is_empty());
        let Some(inferred) = inferred else {
            return Err(Error::msg(format!(
                "unflatten: expected sizes whose product is {} (dimension {dim} of {dims:?}), found {sizes:?}",
                dims[dim]
            )));
        };
        Ok([&dims[..dim], &inferred, &dims[dim + 1..]].concat())
    };
    x.into().apply(("unflatten", Op::Reshape), ShapeFrom(new_dims), |x| -> Result<Tensor> {
        let dims = new_dims(x.dims())?;
        Ok(reshape(&x, dims)?.into_tensor())
    })
}

/// Concatenates signals along a dimension: `cat([a, b], 1)`. A negative `dim` counts from the end. The output is a
/// failed signal if there are no signals, or if their shapes differ in another dimension.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let a = Tensor::new(&[[1f32], [2.]], &Device::Cpu)?;
/// let b = Tensor::new(&[[3f32, 4.], [5., 6.]], &Device::Cpu)?;
/// let y = cat([a, b], 1).into_tensor()?;
/// assert_eq!(y.to_vec2::<f32>()?, [[1., 3., 4.], [2., 5., 6.]]);
/// # Ok(())
/// # }
/// ```
pub fn cat<T: Into<Signal>>(signals: impl IntoIterator<Item = T>, dim: impl Dim) -> Signal {
    let signals: Vec<Signal> = signals.into_iter().map(Into::into).collect();
    let recording = Recording::start_all(&signals);
    let op = match signals.first().and_then(|first| dim.index(first.rank().ok()?).ok()) {
        Some(dim) => ("cat", Op::Concat { dim }).into(),
        None => Description::from("cat"),
    };
    recording.finish(cat_signals(signals, dim), op)
}

fn cat_signals(signals: Vec<Signal>, dim: impl Dim) -> Signal {
    // Only signals of rank 4 can be channel-blocked.
    if dim.index(4).is_ok_and(|dim| dim == 1) && should_concat_blocked(&signals) {
        return cat_images(signals).into();
    }
    if signals.iter().any(Signal::is_meta) {
        return cat_meta(&signals, dim).into();
    }
    join("cat", signals, |tensors, first| Ok(Tensor::cat(tensors, dim.index(first.rank())?)?))
}

/// Concatenates signals without numbers. `Tensor::cat` checks them: their shapes with size 0 along `dim`, or, so that
/// an error has the true shapes, views of these shapes.
fn cat_meta(signals: &[Signal], dim: impl Dim) -> Result<Signal> {
    let metas = signals.iter().map(Signal::to_meta).collect::<Result<Vec<_>>>()?;
    let first = &metas[0];
    let dim = dim.index(first.shape.rank())?;
    let without_dim = |meta: &Meta| -> Result<Tensor> {
        let mut dims = meta.shape.dims().to_vec();
        if let Some(size) = dims.get_mut(dim) {
            *size = 0;
        }
        meta.empty(dims)
    };
    let parts = metas.iter().map(without_dim).collect::<Result<Vec<_>>>()?;
    let Ok(joined) = Tensor::cat(&parts, dim) else {
        let views = metas.iter().map(Meta::view).collect::<Result<Vec<_>>>()?;
        return Ok(Tensor::cat(&views, dim)?.into());
    };
    let mut dims = first.shape.dims().to_vec();
    let sizes = metas.iter().map(|meta| meta.shape.dims()[dim]);
    let size = sizes.reduce(usize::saturating_add).unwrap_or_default();
    dims[dim] = size;
    Ok(Meta::like(&joined, dims).into())
}

/// Concatenates the channels of signals. The result is channel-blocked if all signals are.
fn cat_images(signals: Vec<Signal>) -> Result<Signal> {
    let values = signals.into_iter().map(Signal::into_blocked).collect::<Result<Vec<_>>>()?;
    let images = values.iter().map(|value| match value {
        Value::Blocked(image) => Some(image.clone()),
        Value::Tensor(_) => None,
    });
    match images.collect::<Option<Vec<_>>>() {
        Some(images) => {
            let _launch = scope::begin_launch(&Device::Cpu, Path::current, || "cat".to_string());
            let joined = blocked::cat_channels(&images)?;
            add_blocked(&images, &joined);
            Ok(Signal::blocked(joined))
        }
        None => Ok(join("cat", values, |tensors, _| Ok(Tensor::cat(tensors, 1)?))),
    }
}

/// Stacks signals of equal shape along a new dimension. A negative `dim` counts from the end of the output's shape. The
/// output is a failed signal if there are no signals, or if their shapes differ.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let a = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let b = Tensor::new(&[3f32, 4.], &Device::Cpu)?;
/// assert_eq!(stack([&a, &b], 0).into_tensor()?.to_vec2::<f32>()?, [[1., 2.], [3., 4.]]);
/// assert_eq!(stack([&a, &b], -1).into_tensor()?.to_vec2::<f32>()?, [[1., 3.], [2., 4.]]);
/// # Ok(())
/// # }
/// ```
pub fn stack<T: Into<Signal>>(signals: impl IntoIterator<Item = T>, dim: impl Dim) -> Signal {
    let signals: Vec<Signal> = signals.into_iter().map(Into::into).collect();
    if signals.iter().any(Signal::is_meta) {
        return match signals[0].rank().and_then(|rank| dim.index(rank + 1)) {
            Ok(dim) => cat(signals.iter().map(|signal| signal.unsqueeze(dim)), dim),
            Err(error) => Signal::fail(error),
        };
    }
    let recording = Recording::start_all(&signals);
    let stacked =
        join("stack", signals, |tensors, first| Ok(Tensor::stack(tensors, dim.index(first.rank() + 1)?)?));
    recording.finish(stacked, "stack")
}

/// Converts the signals to tensors and calls `operation` with all tensors and the first of them. Returns a failed
/// signal if there are no signals.
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
            None => Signal::fail(Error::msg(format!("{name}: expected at least one tensor, found none"))),
            Some(first) => Signal::from(first).apply(name, NeedsNumbers, |first| {
                add_operands(tensors.iter().skip(1));
                operation(&tensors, &first)
            }),
        },
    }
}
