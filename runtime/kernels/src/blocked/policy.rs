//! Which operations run channel-blocked, and which are fused into the convolution before them.

use super::conv;
use crate::conv::{ConvShape, PackedCache};
use crate::layout::Layout;
use crate::simd::isa;
use candle_core::{DType, Tensor};

/// Returns whether the channel-blocked kernels take `x`: f32 on the CPU, and no gradient is asked of it.
pub fn takes(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && x.device().is_cpu() && !x.track_op()
}

/// Returns whether a channel-blocked convolution takes a weight and a bias. The weight must be one that is packed
/// once: to pack it at every call costs more than the layout gains.
pub fn takes_parameters(weight: &Tensor, bias: Option<&Tensor>, packed: Option<&PackedCache>) -> bool {
    packed.is_some() && takes(weight) && bias.is_none_or(takes)
}

/// Returns whether a convolution is to run channel-blocked from an input of this layout.
pub fn reads(shape: &ConvShape, input: Layout) -> bool {
    let supports = match input {
        Layout::Nchw => shape.geometry.groups == 1,
        Layout::Nchwc => conv::supports(shape),
    };
    supports && fills_lanes(shape)
}

/// Returns whether a consumer may be fused into a convolution.
pub fn fuses_consumer(shape: &ConvShape) -> bool {
    shape.geometry.groups == 1
}

/// Returns whether a convolution may be fused into the convolution that makes its input: a depthwise one.
pub fn is_fused_consumer(shape: &ConvShape) -> bool {
    conv::is_consumer(shape) && reads(shape, Layout::Nchwc)
}

/// Returns whether at least three quarters of the lanes hold a channel of the output.
fn fills_lanes(shape: &ConvShape) -> bool {
    let channels = shape.out_channels;
    let filled = 4 * channels >= 3 * channels.next_multiple_of(isa().lanes());
    filled && shape.batch * shape.in_channels > 0
}
