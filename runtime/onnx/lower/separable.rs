//! Linear maps of single axes, as products with constant matrices.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::export::adaptive_window;

use super::super::builder::{Builder, Value};
use super::super::symbolic::Size;

/// Multiplies the axis `dim` of `x` by the matrix whose entry for an output and an input is `weight(output, input)`.
pub(super) fn map_axis(
    b: &mut Builder,
    x: &Value,
    dim: usize,
    outputs: usize,
    weight: impl Fn(usize, usize) -> f64,
) -> Result<Value> {
    let inputs = x.dims[dim].known()?;
    let entries = (0..inputs).flat_map(|input| (0..outputs).map(move |output| (output, input)));
    let entries: Vec<f64> = entries.map(|(output, input)| weight(output, input)).collect();
    let matrix = Tensor::from_vec(entries, (inputs, outputs), &Device::Cpu)?.to_dtype(x.dtype)?;
    let matrix = b.tensor(&matrix)?;
    let mut order: Vec<usize> = (0..x.rank()).collect();
    order.swap(dim, x.rank() - 1);
    let swapped = b.transpose(x, &order);
    let mut dims = swapped.dims.clone();
    dims[x.rank() - 1] = Size::constant(outputs);
    let product = Value { name: b.op("MatMul", &[swapped.name, matrix]), dims, dtype: x.dtype };
    Ok(b.transpose(&product, &order))
}

/// Replaces the axis `dim` of `x` by the averages of the windows of adaptive pooling.
pub(super) fn average_axis(b: &mut Builder, x: &Value, dim: usize, outputs: usize) -> Result<Value> {
    let inputs = x.dims[dim].known()?;
    map_axis(b, x, dim, outputs, |output, input| {
        let window = adaptive_window(output, inputs, outputs);
        if window.contains(&input) { 1. / window.len() as f64 } else { 0. }
    })
}
