//! Decides which operations run in the channel-blocked layout, and which are fused into the preceding convolution.

use candle_core::{DType, Tensor};

use crate::conv::{ConvShape, PackedCache};
use crate::layout::Layout;
use crate::simd::isa;

use super::conv;

/// Returns `true` if the channel-blocked kernels support `x`. They support f32 on the CPU without gradients.
pub fn supports(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && x.device().is_cpu() && !x.track_op()
}

/// Returns `true` if the channel-blocked convolutions support this weight and this bias. There must be a cache for the
/// packed weight: packing the weight in every call would cost more time than the layout saves.
pub fn supports_parameters(weight: &Tensor, bias: Option<&Tensor>, packed: Option<&PackedCache>) -> bool {
    packed.is_some() && supports(weight) && bias.is_none_or(supports)
}

/// Returns `true` if a convolution should return a channel-blocked output, given the layout of its input.
pub fn prefers_nchwc(shape: &ConvShape, input: Layout) -> bool {
    let supports = match input {
        // A convolution whose kernel covers its input runs as a linear layer, whose output is not channel-blocked.
        Layout::Nchw => shape.geometry.groups == 1 && !shape.kernel_covers_input(),
        Layout::Nchwc => conv::supports(shape),
    };
    supports && fills_lanes(shape)
}

/// Returns `true` if a consumer may be fused into a convolution of this shape.
pub fn fuses_consumer(shape: &ConvShape) -> bool {
    shape.geometry.groups == 1
}

/// Returns `true` if a convolution may be fused into the convolution that computes its input. The fused
/// convolution must be depthwise.
pub fn is_fused_consumer(shape: &ConvShape) -> bool {
    conv::is_consumer(shape) && prefers_nchwc(shape, Layout::Nchwc)
}

/// Returns `true` if at least three quarters of the output's lanes hold a channel, and the input is not empty.
fn fills_lanes(shape: &ConvShape) -> bool {
    let channels = shape.out_channels;
    let filled = 4 * channels >= 3 * channels.next_multiple_of(isa().lanes());
    filled && shape.batch * shape.in_channels > 0
}
