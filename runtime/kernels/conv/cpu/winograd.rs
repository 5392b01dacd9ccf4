//! Which convolutions go to Winograd's kernels, and what they are handed.

use super::dilated::Phases;
use super::operand::Call;
use super::packed::{Form, Packing};
use super::{Output, Pixels};
use crate::exact::is_exact;
use crate::kernels::conv::ConvShape;
use crate::kernels::conv::winograd::{self, Epilogue, PackedWinograd, Shape};
use crate::kernels::simd::Isa;
use candle_core::Result;
use std::sync::Arc;

/// Output pixels from which on a weight is worth transforming for one call alone.
const PIXELS_OF_ONE_CALL: usize = 2048;

/// Writes the output `[batch, out_channels, height, width]`, unless the definition is cheaper or
/// [asked for](crate::set_exact), or an operand is not finite: the transforms would spread an infinity or NaN
/// over the whole tile.
pub(super) fn conv2d(
    shape: &ConvShape,
    call: &Call<'_>,
    packing: Option<Packing<'_>>,
    isa: Isa,
    output: Output,
) -> Result<bool> {
    if is_exact() {
        return Ok(false);
    }
    let phases = Phases::of(shape);
    let plain = phases.as_ref().map_or(shape, |phases| &phases.plain);
    let Some(packed) = packed(plain, call, packing, isa) else { return Ok(false) };
    let Some(packed) = &*packed else { return Ok(false) };
    match &phases {
        // SAFETY: the output is as the shape says.
        None => unsafe { run(plain, call, call.input, call.residual, packed, isa, output) },
        // SAFETY: as above, and with the plain shape.
        Some(phases) => unsafe {
            phases.run(call, output, |input, residual, output| {
                run(plain, call, input, residual, packed, isa, output)
            })?
        },
    }
    Ok(true)
}

/// The transformed weight: `None` where that does not pay, or an operand is not finite.
fn packed(
    shape: &ConvShape,
    call: &Call<'_>,
    packing: Option<Packing<'_>>,
    isa: Isa,
) -> Option<Arc<Option<PackedWinograd>>> {
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    if packing.is_none() && pixels < PIXELS_OF_ONE_CALL {
        return None;
    }
    let tile = winograd::choose(&sizes(shape), shape.kernel, &shape.geometry)?;
    call.input.is_finite(isa).then(|| {
        Packing::get(packing, Form::Winograd { tile }, || {
            let ConvShape { in_channels, out_channels, .. } = *shape;
            let finite = call.weight.is_finite(isa);
            finite.then(|| PackedWinograd::new(&call.weight.widened(), out_channels, in_channels, tile))
        })
    })
}

fn sizes(shape: &ConvShape) -> Shape {
    let ConvShape { batch, in_channels, out_channels, input, .. } = *shape;
    Shape { batch, in_channels, out_channels, input, padding: shape.geometry.padding }
}

/// # Safety
/// `output` has the elements of the shape's output, and nothing else refers to them.
unsafe fn run(
    shape: &ConvShape,
    call: &Call<'_>,
    input: Pixels<'_>,
    residual: Option<Pixels<'_>>,
    packed: &PackedWinograd,
    isa: Isa,
    output: Output,
) {
    let epilogue = Epilogue {
        scale: call.scale.as_deref(),
        shift: call.shift.as_deref(),
        residual,
        activation: call.activation,
    };
    // SAFETY: the caller's promise.
    unsafe { winograd::run_to(isa, &sizes(shape), input, packed, &epilogue, output) }
}
