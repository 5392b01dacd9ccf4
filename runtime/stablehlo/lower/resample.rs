//! Resampling.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::kernels::internal::Axes;
use crate::kernels::resample::{Filter, Resampling, resample1d};

use super::super::builder::Builder;
use super::super::ir::{Element, Value};
use super::separable::map_axis;
use super::{Operands, pool};

pub(super) fn resample(
    b: &mut Builder,
    operands: &Operands<'_>,
    filter: Option<Filter>,
    scale: Option<[f64; 2]>,
    align_corners: bool,
) -> Result<Value> {
    let mut x = operands.required(0)?;
    let axes = if x.rank() == 3 { Axes::One } else { Axes::Two };
    let Some(filter) = filter else {
        return pool::average_axes(b, x, &operands.output.dims, axes);
    };
    for i in 0..axes.count() {
        let dim = x.rank() - axes.count() + i;
        let scale = scale.map(|scale| scale[2 - axes.count() + i]);
        let output = operands.output.dims[dim];
        if x.dims[dim] != output || scale.is_some_and(|scale| scale != 1.) {
            let axis = Resampling { filter, output: [output], scale: [scale], align_corners };
            x = resample_axis(b, &x, dim, &axis)?;
        }
    }
    Ok(x)
}

/// Resamples one axis. The kernel computes the weights, from unit vectors, or the indices, from positions.
fn resample_axis(b: &mut Builder, x: &Value, dim: usize, axis: &Resampling<1>) -> Result<Value> {
    let inputs = x.dims[dim];
    match axis.filter {
        Filter::Nearest | Filter::NearestExact => {
            let positions = Tensor::arange(0., inputs as f64, &Device::Cpu)?.reshape((1, 1, inputs))?;
            let indices = resample1d(&positions, axis)?.flatten_all()?;
            let indices = b.weights(&indices, Element::I32)?;
            Ok(b.gather(x, &indices, dim))
        }
        Filter::Linear | Filter::Cubic => {
            let units = Tensor::eye(inputs, DType::F64, &Device::Cpu)?.unsqueeze(0)?;
            map_axis(b, x, dim, &resample1d(&units, axis)?.squeeze(0)?)
        }
    }
}
