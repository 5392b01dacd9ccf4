//! Decides which operations run in the channel-blocked layout, and which are fused into the preceding convolution.

use candle_core::{DType, Tensor};

use crate::conv::{ConvShape, PackedCache};
use crate::layout::Layout;
use crate::simd::isa;

use super::conv;

/// Returns `true` if the channel-blocked kernels support `x`: it is f32 on the CPU and does not require a gradient.
pub fn supports(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && x.device().is_cpu() && !x.track_op()
}

/// Returns `true` if a channel-blocked convolution supports a weight and a bias. The weight needs a cache for its
/// packed form: packing it in every call would cost more time than the layout saves.
pub fn supports_parameters(weight: &Tensor, bias: Option<&Tensor>, packed: Option<&PackedCache>) -> bool {
    packed.is_some() && supports(weight) && bias.is_none_or(supports)
}

/// Returns `true` if a convolution should run in the channel-blocked layout for an input of this layout.
pub fn prefers_nchwc(shape: &ConvShape, input: Layout) -> bool {
    let supports = match input {
        // A kernel that covers the input is a linear layer, which reads and writes tensors.
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

/// Returns `true` if at least three quarters of the lanes hold a channel of the output.
fn fills_lanes(shape: &ConvShape) -> bool {
    let channels = shape.out_channels;
    let filled = 4 * channels >= 3 * channels.next_multiple_of(isa().lanes());
    filled && shape.batch * shape.in_channels > 0
}
