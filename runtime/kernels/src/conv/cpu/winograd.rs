//! What Winograd's kernels are handed.

use super::dilated::Phases;
use super::operand::Call;
use super::packed::{Form, Packing};
use super::{Output, Pixels};
use crate::conv::ConvShape;
use crate::conv::winograd::{self, Epilogue, PackedWinograd, Shape, Tile};
use crate::simd::Isa;
use candle_core::Result;
use std::sync::Arc;

/// Writes the output `[batch, out_channels, height, width]`, unless an operand is not finite: the transforms would
/// spread an infinity or NaN over the whole tile.
pub(super) fn conv2d(
    shape: &ConvShape,
    tile: Tile,
    call: &Call<'_>,
    packing: Option<Packing<'_>>,
    isa: Isa,
    output: Output,
) -> Result<bool> {
    if !call.input.is_finite(isa) {
        return Ok(false);
    }
    let packed = packed(shape, tile, call.weight, packing, isa);
    let Some(packed) = &*packed else { return Ok(false) };
    match &Phases::of(shape) {
        // SAFETY: the output is as the shape says.
        None => unsafe { run(shape, call, call.input, call.residual, packed, isa, output) },
        // SAFETY: as above, and with the plain shape.
        Some(phases) => unsafe {
            phases.run(call, output, |input, residual, output| {
                run(&phases.plain, call, input, residual, packed, isa, output)
            })?
        },
    }
    Ok(true)
}

/// The transformed weight, or `None` where it is not finite.
pub(crate) fn packed(
    shape: &ConvShape,
    tile: Tile,
    weight: Pixels<'_>,
    packing: Option<Packing<'_>>,
    isa: Isa,
) -> Arc<Option<PackedWinograd>> {
    Packing::get(packing, Form::Winograd { tile }, || {
        let ConvShape { in_channels, out_channels, .. } = *shape;
        let finite = weight.is_finite(isa);
        finite.then(|| PackedWinograd::new(&weight.widened(), out_channels, in_channels, tile))
    })
}

pub(crate) fn sizes(shape: &ConvShape) -> Shape {
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
