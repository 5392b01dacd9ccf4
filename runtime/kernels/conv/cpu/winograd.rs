//! Which convolutions go to Winograd's kernels, and what they are handed.

use super::dilated::Phases;
use super::finite::is_finite;
use super::operand::Values;
use super::packed::{Form, Packing};
use super::reserve;
use crate::kernels::activation::Activation;
use crate::kernels::conv::ConvShape;
use crate::kernels::conv::winograd::{self, Epilogue, PackedWinograd, Shape};
use crate::kernels::simd::Isa;
use candle_core::Result;
use std::sync::Arc;

/// Output pixels from which on a weight is worth transforming for one call alone.
const PIXELS_OF_ONE_CALL: usize = 2048;

/// The output `[batch, out_channels, height, width]`, or `None` where the definition is cheaper, and where
/// an operand is not finite: the transforms would spread an infinity or NaN over the whole tile.
pub(super) fn conv2d(
    shape: &ConvShape,
    values: &Values<'_, f32>,
    activation: Activation,
    packing: Option<Packing<'_>>,
    isa: Isa,
) -> Result<Option<Vec<f32>>> {
    let phases = Phases::of(shape);
    let plain = phases.as_ref().map_or(shape, |phases| &phases.plain);
    let Some(packed) = packed(plain, &values.weight, packing, isa) else { return Ok(None) };
    let Some(packed) = packed.as_ref().as_ref().filter(|_| is_finite(&values.input, isa)) else {
        return Ok(None);
    };
    Ok(Some(match &phases {
        None => run(plain, values, activation, packed, isa)?,
        Some(phases) => phases.join(&run(plain, &phases.split(values)?, activation, packed, isa)?)?,
    }))
}

/// The transformed weight: `None` where that does not pay, or it is not finite.
pub(crate) fn packed(
    shape: &ConvShape,
    weight: &[f32],
    packing: Option<Packing<'_>>,
    isa: Isa,
) -> Option<Arc<Option<PackedWinograd>>> {
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    if packing.is_none() && pixels < PIXELS_OF_ONE_CALL {
        return None;
    }
    let tile = winograd::choose(&sizes(shape), shape.kernel, &shape.geometry)?;
    Some(Packing::get(packing, Form::Winograd { tile }, || {
        let ConvShape { in_channels, out_channels, .. } = *shape;
        let finite = is_finite(weight, isa);
        finite.then(|| PackedWinograd::new(weight, out_channels, in_channels, tile))
    }))
}

pub(crate) fn sizes(shape: &ConvShape) -> Shape {
    let ConvShape { batch, in_channels, out_channels, input, .. } = *shape;
    Shape { batch, in_channels, out_channels, input, padding: shape.geometry.padding }
}

fn run(
    shape: &ConvShape,
    values: &Values<'_, f32>,
    activation: Activation,
    packed: &PackedWinograd,
    isa: Isa,
) -> Result<Vec<f32>> {
    let epilogue = Epilogue {
        scale: values.scale.as_deref(),
        shift: values.shift.as_deref(),
        residual: values.residual.as_deref(),
        activation,
    };
    let elements = shape.output_elements();
    let mut output = reserve(elements)?;
    let room = &mut output.spare_capacity_mut()[..elements];
    winograd::run(isa, &sizes(shape), &values.input, packed, &epilogue, room);
    // SAFETY: `run` initialises all of the output.
    unsafe { output.set_len(elements) };
    Ok(output)
}
