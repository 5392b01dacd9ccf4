//! The call of Winograd's kernels, in both layouts.

use super::dilated::Phases;
use super::operand::Call;
use super::packed::{PackedForm, Packing};
use super::problem::ConvProblem;
use super::{Elements, OutputPtr};
use crate::conv::ConvShape;
use crate::conv::winograd::{self, Epilogue, PackedWinograd, Shape, Tile};
use crate::layout::Layout;
use crate::simd::Isa;
use candle_core::Result;
use std::sync::Arc;

/// Convolves into `output`. Returns `false`, with the output unspecified, if an operand is not finite: the transforms
/// would spread an infinity or NaN over the whole tile.
pub(super) fn conv2d(
    problem: &ConvProblem,
    tile: Tile,
    call: &Call<'_>,
    packing: Option<Packing<'_>>,
    output: OutputPtr,
) -> Result<bool> {
    let (shape, isa) = (&problem.shape, problem.isa);
    // From NCHWc to NCHWc the kernel itself tells.
    if problem.output == Layout::Nchw && !call.input.is_finite(isa) {
        return Ok(false);
    }
    let packed = packed(shape, tile, call.weight, packing, isa);
    let Some(packed) = &*packed else { return Ok(false) };
    match &Phases::of(shape) {
        // SAFETY: the output is as the shape says.
        None => Ok(unsafe { run(problem, shape, call, call.input, call.residual, packed, output) }),
        // SAFETY: as above, and with the plain shape.
        Some(phases) => unsafe {
            phases.run(call, output, |input, residual, output| {
                run(problem, &phases.plain, call, input, residual, packed, output);
            })?;
            Ok(true)
        },
    }
}

/// Returns the transformed weight, or `None` if it is not finite.
fn packed(
    shape: &ConvShape,
    tile: Tile,
    weight: Elements<'_>,
    packing: Option<Packing<'_>>,
    isa: Isa,
) -> Arc<Option<PackedWinograd>> {
    Packing::get(packing, PackedForm::Winograd { tile }, || {
        let ConvShape { in_channels, out_channels, .. } = *shape;
        let finite = weight.is_finite(isa);
        finite.then(|| PackedWinograd::new(&weight.widened(), out_channels, in_channels, tile))
    })
}

/// # Safety
/// `output` has the elements of the shape's output, and nothing else refers to them.
unsafe fn run(
    problem: &ConvProblem,
    shape: &ConvShape,
    call: &Call<'_>,
    input: Elements<'_>,
    residual: Option<Elements<'_>>,
    packed: &PackedWinograd,
    output: OutputPtr,
) -> bool {
    let ConvShape { batch, in_channels, out_channels, input: size, .. } = *shape;
    let sizes = Shape { batch, in_channels, out_channels, input: size, padding: shape.geometry.padding };
    let epilogue = Epilogue {
        scale: call.scale.as_deref(),
        shift: call.shift.as_deref(),
        residual,
        activation: call.activation,
    };
    // SAFETY: the caller's promise.
    unsafe { winograd::run_to(problem.isa, problem.output, &sizes, input, packed, &epilogue, output) }
}
