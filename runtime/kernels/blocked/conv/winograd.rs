//! Which convolutions go to Winograd's kernels.

use super::{Epilogue, Weight};
use crate::kernels::conv::ConvShape;
use crate::kernels::conv::cpu::winograd::{packed, sizes};
use crate::kernels::conv::cpu::{Question, Stored, Way};
use crate::kernels::conv::winograd::{self, run_blocked};
use crate::kernels::simd::{Isa, maker};

/// Whether the convolution was this kernel's: not where the definition is cheaper, nor where an operand is
/// not finite, as the transforms would spread an infinity or NaN over the whole tile.
pub(super) fn conv2d(
    shape: &ConvShape,
    input: &[f32],
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    output: &mut [f32],
    isa: Isa,
) -> bool {
    let question = Question {
        shape: *shape,
        stored: Stored::Single,
        kept: weight.packing.is_some(),
        isa,
        maker: maker(),
    };
    let Way::Winograd(tile) = question.answer() else { return false };
    // Only planes are split where the kernel is dilated.
    if shape.geometry.dilation != [1; 2] {
        return false;
    }
    let packed = packed(shape, tile, weight.values.into(), weight.packing, isa);
    let Some(packed) = &*packed else { return false };
    let Epilogue { scale, shift, residual, activation } = *epilogue;
    let epilogue = winograd::Epilogue { scale, shift, residual: residual.map(Into::into), activation };
    run_blocked(isa, &sizes(shape), input, packed, &epilogue, output)
}
