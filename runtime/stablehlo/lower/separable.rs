//! Linear maps of single axes, as products with constant matrices.

use candle_core::Tensor;

use crate::Result;
use crate::export::adaptive_window;

use super::super::builder::Builder;
use super::super::ir::Value;

/// Multiplies the axis `dim` of `x` by a matrix `[inputs, outputs]` of f64.
pub(super) fn map_axis(b: &mut Builder, x: &Value, dim: usize, matrix: &Tensor) -> Result<Value> {
    let matrix = b.weights(matrix, x.element)?;
    let product = b.dot(x, &matrix, [Vec::new(), Vec::new()], [vec![dim], vec![0]]);
    // The product has the outputs last.
    let last = x.rank() - 1;
    let order: Vec<usize> = (0..dim).chain([last]).chain(dim..last).collect();
    Ok(b.transpose(&product, &order))
}

/// Replaces the axis `dim` of `x` by the averages of the windows of adaptive pooling.
pub(super) fn average_axis(b: &mut Builder, x: &Value, dim: usize, outputs: usize) -> Result<Value> {
    let inputs = x.dims[dim];
    let entries = (0..inputs).flat_map(|input| {
        (0..outputs).map(move |output| {
            let window = adaptive_window(output, inputs, outputs);
            if window.contains(&input) { 1. / window.len() as f64 } else { 0. }
        })
    });
    let matrix = Tensor::from_iter(entries, &candle_core::Device::Cpu)?.reshape((inputs, outputs))?;
    map_axis(b, x, dim, &matrix)
}
