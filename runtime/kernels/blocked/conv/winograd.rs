//! Which convolutions go to Winograd's kernels.

use super::{Epilogue, Weight};
use crate::kernels::conv::ConvShape;
use crate::kernels::conv::cpu::winograd::{packed, sizes};
use crate::kernels::conv::winograd::run_blocked;
use crate::kernels::simd::Isa;

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
    let Some(packed) = packed(shape, weight.values, weight.packing, isa) else { return false };
    let Some(packed) = &*packed else { return false };
    run_blocked(isa, &sizes(shape), input, packed, epilogue, output)
}
