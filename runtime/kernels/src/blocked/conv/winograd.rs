//! Which convolutions go to Winograd's kernels.

use super::{Epilogue, Weight};
use crate::conv::ConvShape;
use crate::conv::cpu::winograd::{packed, sizes};
use crate::conv::cpu::{Question, Stored, Way};
use crate::conv::winograd::{self, Tile, run_blocked};
use crate::simd::{Isa, maker};

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
    let Some(tile) = tile(shape, weight, isa) else { return false };
    let packed = packed(shape, tile, weight.values.into(), weight.packing, isa);
    let Some(packed) = &*packed else { return false };
    let Epilogue { scale, shift, residual, activation } = *epilogue;
    let epilogue = winograd::Epilogue { scale, shift, residual: residual.map(Into::into), activation };
    run_blocked(isa, &sizes(shape), input, packed, &epilogue, output)
}

/// The tile, where Winograd's is the way for a blocked input.
pub(super) fn tile(shape: &ConvShape, weight: Weight<'_>, isa: Isa) -> Option<Tile> {
    let (kept, maker) = (weight.packing.is_some(), maker());
    let question = Question { shape: *shape, stored: Stored::Single, kept, isa, maker };
    match question.answer() {
        // Only planes are split where the kernel is dilated.
        Way::Winograd(tile) if shape.geometry.dilation == [1; 2] => Some(tile),
        _ => None,
    }
}
