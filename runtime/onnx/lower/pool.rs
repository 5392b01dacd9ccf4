//! Pooling.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::export::{Windows, adaptive_window};
use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;
use crate::kernels::pool::PoolGeometry;

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::super::symbolic::Size;
use super::separable::average_axis;
use super::{Operands, of_axes, pad, with_batch};

/// Returns the windows along each axis. The sizes of the axes must not depend on the batch size.
fn windows(operands: &Operands<'_>, axes: Axes, geometry: &PoolGeometry<3>) -> Result<Vec<Windows>> {
    let x = operands.required(0)?;
    let first = x.rank() - axes.count();
    let skipped = 3 - axes.count();
    let each = (0..axes.count()).map(|axis| {
        let i = skipped + axis;
        let (kernel, stride, padding) = (geometry.kernel[i], geometry.stride[i], geometry.padding[i]);
        let (inputs, outputs) = (x.dims[first + axis].known()?, operands.output.dims[first + axis].known()?);
        Ok(Windows { kernel, stride, padding, dilation: geometry.dilation[i], inputs, outputs })
    });
    each.collect()
}

/// Returns the padding at the end of an axis, up to the end of the last window.
fn end(windows: &Windows) -> i64 {
    windows.reached_end().max(windows.padding) as i64
}

/// Max pooling. With `ceil_mode`, the input is padded up to the end of the last window, because runtimes differ in that
/// mode.
pub(super) fn max_pool(
    b: &mut Builder,
    operands: &Operands<'_>,
    axes: Axes,
    geometry: &PoolGeometry<3>,
) -> Result<String> {
    let x = operands.required(0)?;
    let mut attributes = vec![
        Attribute::ints("kernel_shape", of_axes(axes, geometry.kernel)),
        Attribute::ints("strides", of_axes(axes, geometry.stride)),
        Attribute::ints("dilations", of_axes(axes, geometry.dilation)),
    ];
    let padding = of_axes(axes, geometry.padding);
    if !geometry.ceil_mode {
        attributes.push(Attribute::ints("pads", [padding.clone(), padding].concat()));
        return with_batch(b, &x, axes, |b, x| Ok(b.op_with("MaxPool", &[&x.name], attributes)));
    }
    let windows = windows(operands, axes, geometry)?;
    let end = windows.iter().map(end).collect();
    let lowest = PadMode::Constant(f64::NEG_INFINITY);
    with_batch(b, &x, axes, |b, x| {
        let padded = pad::pad_last(b, x, &[padding, end], lowest)?;
        Ok(b.op_with("MaxPool", &[padded.name], attributes))
    })
}

pub(super) fn avg_pool(
    b: &mut Builder,
    operands: &Operands<'_>,
    axes: Axes,
    geometry: &PoolGeometry<3>,
    count_include_pad: bool,
    divisor: Option<usize>,
) -> Result<String> {
    let x = operands.required(0)?;
    if geometry.ceil_mode || divisor.is_some() {
        let windows = windows(operands, axes, geometry)?;
        return with_batch(b, &x, axes, |b, x| divided_sums(b, x, &windows, count_include_pad, divisor));
    }
    let padding = of_axes(axes, geometry.padding);
    let attributes = vec![
        Attribute::ints("kernel_shape", of_axes(axes, geometry.kernel)),
        Attribute::ints("strides", of_axes(axes, geometry.stride)),
        Attribute::ints("pads", [padding.clone(), padding].concat()),
        Attribute::int("count_include_pad", i64::from(count_include_pad)),
    ];
    with_batch(b, &x, axes, |b, x| Ok(b.op_with("AveragePool", &[&x.name], attributes)))
}

/// Averages of whole windows of the padded input, times the quotient of the size of a window and its divisor.
fn divided_sums(
    b: &mut Builder,
    x: &Value,
    windows: &[Windows],
    count_include_pad: bool,
    divisor: Option<usize>,
) -> Result<String> {
    let begin = windows.iter().map(|windows| windows.padding as i64).collect();
    let end = windows.iter().map(end).collect();
    let padded = pad::pad_last(b, x, &[begin, end], PadMode::ZEROS)?;
    let each = |size: fn(&Windows) -> usize| windows.iter().map(|windows| size(windows) as i64).collect();
    let attributes = vec![
        Attribute::ints("kernel_shape", each(|windows| windows.kernel)),
        Attribute::ints("strides", each(|windows| windows.stride)),
    ];
    let averages = b.op_with("AveragePool", &[padded.name], attributes);
    let area: usize = windows.iter().map(|windows| windows.kernel).product();
    let sizes: Vec<usize> = windows.iter().map(|windows| windows.outputs).collect();
    let divisors = Windows::joint_counts(windows, count_include_pad);
    let factors: Vec<f64> =
        divisors.into_iter().map(|count| area as f64 / divisor.unwrap_or(count) as f64).collect();
    let factors = b.tensor(&Tensor::from_vec(factors, sizes, &Device::Cpu)?.to_dtype(x.dtype)?)?;
    Ok(b.op("Mul", &[averages, factors]))
}

/// Returns the position of the first axis of the images.
fn first_axis(x: &Value, axes: Axes) -> usize {
    x.rank() - axes.count()
}

pub(super) fn adaptive_avg_pool(b: &mut Builder, operands: &Operands<'_>, axes: Axes) -> Result<String> {
    let x = operands.required(0)?;
    let outputs = &operands.output.dims[first_axis(&x, axes)..];
    if outputs.iter().all(|size| size.number() == Some(1)) {
        return with_batch(b, &x, axes, |b, x| Ok(b.op("GlobalAveragePool", &[&x.name])));
    }
    average_axes(b, x, &operands.output.dims, axes)
}

/// Averages each axis whose size changes.
pub(super) fn average_axes(b: &mut Builder, mut x: Value, output: &[Size], axes: Axes) -> Result<String> {
    for (dim, size) in output.iter().enumerate().skip(first_axis(&x, axes)) {
        if x.dims[dim] != *size {
            x = average_axis(b, &x, dim, size.known()?)?;
        }
    }
    Ok(x.name)
}

/// Joins the maxima of the windows along each axis whose size changes.
pub(super) fn adaptive_max_pool(b: &mut Builder, operands: &Operands<'_>, axes: Axes) -> Result<String> {
    let x = operands.required(0)?;
    let mut y = x.name.clone();
    for dim in first_axis(&x, axes)..x.rank() {
        if x.dims[dim] == operands.output.dims[dim] {
            continue;
        }
        let (inputs, outputs) = (x.dims[dim].known()?, operands.output.dims[dim].known()?);
        let maxima = (0..outputs).map(|output| {
            let window = adaptive_window(output, inputs, outputs);
            let part = b.slice(&y, dim, window.start as i64, window.end as i64)?;
            let axes = Attribute::ints("axes", vec![dim as i64]);
            Ok(b.op_with("ReduceMax", &[part], vec![axes, Attribute::int("keepdims", 1)]))
        });
        let maxima = maxima.collect::<Result<Vec<_>>>()?;
        y = b.op_with("Concat", &maxima, vec![Attribute::int("axis", dim as i64)]);
    }
    Ok(y)
}
