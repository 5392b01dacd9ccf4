//! Pooling.

use crate::Result;
use crate::export::{Windows, adaptive_window};
use crate::kernels::internal::Axes;
use crate::kernels::pool::PoolGeometry;

use super::super::builder::Builder;
use super::super::ir::Binary::{Add, Divide, Maximum};
use super::super::ir::{Value, Window};
use super::separable::average_axis;
use super::{Operands, with_batch};

/// Returns the windows along each axis.
fn windows(x: &Value, output: &[usize], axes: Axes, geometry: &PoolGeometry<3>) -> Vec<Windows> {
    let first = x.rank() - axes.count();
    let skipped = 3 - axes.count();
    let each = (0..axes.count()).map(|axis| {
        let i = skipped + axis;
        Windows {
            kernel: geometry.kernel[i],
            stride: geometry.stride[i],
            padding: geometry.padding[i],
            dilation: geometry.dilation[i],
            inputs: x.dims[first + axis],
            outputs: output[first + axis],
        }
    });
    each.collect()
}

/// Returns the windows of all dimensions, the first of which have windows of one element.
fn window(x: &Value, windows: &[Windows]) -> Window {
    let leading = x.rank() - windows.len();
    let each = |size: fn(&Windows) -> usize| {
        std::iter::repeat_n(1, leading).chain(windows.iter().map(size)).collect()
    };
    let padding =
        windows.iter().map(|windows| [windows.padding, windows.reached_end()].map(|side| side as i64));
    Window {
        sizes: each(|windows| windows.kernel),
        strides: each(|windows| windows.stride),
        dilations: each(|windows| windows.dilation),
        padding: std::iter::repeat_n([0; 2], leading).chain(padding).collect(),
    }
}

pub(super) fn max_pool(
    b: &mut Builder,
    operands: &Operands<'_>,
    axes: Axes,
    geometry: &PoolGeometry<3>,
) -> Result<Value> {
    let x = operands.required(0)?;
    let windows = windows(&x, &operands.output.dims, axes, geometry);
    with_batch(b, &x, axes, |b, x| {
        let window = window(x, &windows);
        Ok(b.reduce_window(Maximum, x, window))
    })
}

/// The sum of each window, divided by the number of its elements that count.
pub(super) fn avg_pool(
    b: &mut Builder,
    operands: &Operands<'_>,
    axes: Axes,
    geometry: &PoolGeometry<3>,
    count_include_pad: bool,
    divisor: Option<usize>,
) -> Result<Value> {
    let x = operands.required(0)?;
    let windows = windows(&x, &operands.output.dims, axes, geometry);
    with_batch(b, &x, axes, |b, x| {
        let window = window(x, &windows);
        let sums = b.reduce_window(Add, x, window);
        if let Some(divisor) = divisor {
            return Ok(b.with_number(Divide, &sums, divisor as f64));
        }
        let counts = Windows::joint_counts(&windows, count_include_pad);
        let counts = counts.into_iter().map(|count| count as f64).collect();
        let counts = b.numbers(counts, &sums.dims[sums.rank() - windows.len()..], x.element)?;
        Ok(b.div(&sums, &counts))
    })
}

/// Returns the position of the first axis of the images.
fn first_axis(x: &Value, axes: Axes) -> usize {
    x.rank() - axes.count()
}

pub(super) fn adaptive_avg_pool(b: &mut Builder, operands: &Operands<'_>, axes: Axes) -> Result<Value> {
    let x = operands.required(0)?;
    let first = first_axis(&x, axes);
    if operands.output.dims[first..].iter().all(|size| *size == 1) {
        return Ok(b.mean(&x, &(first..x.rank()).collect::<Vec<_>>(), true));
    }
    average_axes(b, x, &operands.output.dims, axes)
}

/// Averages each axis whose size changes.
pub(super) fn average_axes(b: &mut Builder, mut x: Value, output: &[usize], axes: Axes) -> Result<Value> {
    for (dim, size) in output.iter().enumerate().skip(first_axis(&x, axes)) {
        if x.dims[dim] != *size {
            x = average_axis(b, &x, dim, *size)?;
        }
    }
    Ok(x)
}

/// Joins the maxima of the windows along each axis whose size changes.
pub(super) fn adaptive_max_pool(b: &mut Builder, operands: &Operands<'_>, axes: Axes) -> Result<Value> {
    let mut x = operands.required(0)?;
    for dim in first_axis(&x, axes)..x.rank() {
        let (inputs, outputs) = (x.dims[dim], operands.output.dims[dim]);
        if inputs == outputs {
            continue;
        }
        let maxima = (0..outputs).map(|output| {
            let part = b.slice(&x, dim, adaptive_window(output, inputs, outputs), 1);
            b.reduce(Maximum, &part, &[dim], true)
        });
        let maxima: Vec<Value> = maxima.collect();
        x = b.concat(&maxima, dim);
    }
    Ok(x)
}
