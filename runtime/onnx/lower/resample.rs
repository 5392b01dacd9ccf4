//! Resampling.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::kernels::internal::Axes;
use crate::kernels::resample::Filter;

use super::super::builder::Builder;
use super::super::proto::Attribute;
use super::{Operands, pool};

pub(super) fn resample(
    b: &mut Builder,
    operands: &Operands<'_>,
    filter: Option<Filter>,
    scale: Option<[f64; 2]>,
    align_corners: bool,
) -> Result<String> {
    let x = operands.required(0)?;
    let axes = if x.rank() == 3 { Axes::One } else { Axes::Two };
    let Some(filter) = filter else {
        return pool::average_axes(b, x, &operands.output.dims, axes);
    };
    let transformation = match filter {
        Filter::Nearest => "asymmetric",
        _ if align_corners && filter != Filter::NearestExact => "align_corners",
        _ => "half_pixel",
    };
    let mut attributes = vec![Attribute::string("coordinate_transformation_mode", transformation)];
    attributes.extend(match filter {
        Filter::Nearest => {
            vec![Attribute::string("mode", "nearest"), Attribute::string("nearest_mode", "floor")]
        }
        // The nearest input to a center between two inputs is the later one.
        Filter::NearestExact => {
            vec![Attribute::string("mode", "nearest"), Attribute::string("nearest_mode", "round_prefer_ceil")]
        }
        Filter::Linear => vec![Attribute::string("mode", "linear")],
        Filter::Cubic => vec![Attribute::string("mode", "cubic"), Attribute::float("cubic_coeff_a", -0.75)],
    });
    // The second input is the region of interest, which only another transformation reads.
    let inputs = match scale {
        Some(scale) => {
            let scales = [1.; 2].into_iter().chain(scale[2 - axes.count()..].iter().copied());
            let scales: Vec<f32> = scales.map(|factor| factor as f32).collect();
            vec![x.name, String::new(), b.tensor(&Tensor::new(scales, &Device::Cpu)?)?]
        }
        None => vec![x.name, String::new(), String::new(), b.sizes(&operands.output.dims)?],
    };
    Ok(b.op_with("Resize", &inputs, attributes))
}
