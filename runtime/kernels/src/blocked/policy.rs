//! Decides which operations run in the channel-blocked layout, and which are fused into the preceding convolution.

use candle_core::{DType, Tensor};

use crate::conv::{ConvShape, PackedCache};
use crate::layout::Layout;
use crate::simd::isa;

use super::conv;

/// Why an operation does not run in the channel-blocked layout, or is not fused into the preceding convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The dtype of an operand is not f32.
    Dtype,
    /// An operand is not on the CPU.
    Device,
    /// An operand tracks gradients.
    Gradients,
    /// There is no cache for the packed weight.
    NotPacked,
    /// The operand is only available in the layout `Nchw`.
    Layout,
    /// The convolution has several groups.
    Groups,
    /// The kernel covers the input, so that the convolution runs as a linear layer.
    CoversInput,
    /// Too many lanes would hold no channel.
    FewChannels,
    /// An operand or the result is empty.
    Empty,
    /// The convolution has a residual.
    Residual,
    /// Another algorithm computes the convolution faster than the algorithm that supports a consumer.
    Algorithm,
    /// The kernel cannot compute the consumer from a few rows at a time.
    Windows,
    /// The consumer is a depthwise convolution with another kernel than 3×3, or with weights that are not finite.
    Depthwise,
    /// The input channels of the convolution do not fit into the cache at once.
    Chunks,
}

/// Returns `true` if the channel-blocked kernels support `x`. They support f32 on the CPU without gradients.
pub fn supports(x: &Tensor) -> bool {
    check(x).is_ok()
}

/// Returns why the channel-blocked kernels do not support `x`.
///
/// # Errors
/// Fails unless the kernels support `x`.
pub fn check(x: &Tensor) -> Result<(), Refusal> {
    match () {
        _ if x.dtype() != DType::F32 => Err(Refusal::Dtype),
        _ if !x.device().is_cpu() => Err(Refusal::Device),
        _ if x.track_op() => Err(Refusal::Gradients),
        _ => Ok(()),
    }
}

/// Returns why the channel-blocked convolutions do not support this weight and this bias. There must be a cache for the
/// packed weight: packing the weight on every call would cost more time than the layout saves.
///
/// # Errors
/// Fails unless the kernels support the parameters.
pub fn check_parameters(
    weight: &Tensor,
    bias: Option<&Tensor>,
    packed: Option<&PackedCache>,
) -> Result<(), Refusal> {
    check(weight)?;
    bias.map_or(Ok(()), check)?;
    packed.map(drop).ok_or(Refusal::NotPacked)
}

/// Returns `true` if a convolution should return a channel-blocked output, given the layout of its input.
pub fn prefers_nchwc(shape: &ConvShape, input: Layout) -> bool {
    check_shape(shape, input).is_ok()
}

/// Returns why a convolution should not return a channel-blocked output, given the layout of its input.
///
/// # Errors
/// Fails unless the output should be channel-blocked.
pub fn check_shape(shape: &ConvShape, input: Layout) -> Result<(), Refusal> {
    let supports_groups = match input {
        Layout::Nchw => shape.geometry.groups == 1,
        Layout::Nchwc => conv::supports(shape),
    };
    match () {
        _ if !supports_groups => Err(Refusal::Groups),
        // A convolution whose kernel covers its input runs as a linear layer, whose output is not channel-blocked.
        _ if input == Layout::Nchw && shape.kernel_covers_input() => Err(Refusal::CoversInput),
        _ if shape.batch * shape.in_channels == 0 => Err(Refusal::Empty),
        _ if !fills_lanes(shape) => Err(Refusal::FewChannels),
        _ => Ok(()),
    }
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

/// Returns `true` if at least three quarters of the output's lanes hold a channel.
fn fills_lanes(shape: &ConvShape) -> bool {
    let channels = shape.out_channels;
    4 * channels >= 3 * channels.next_multiple_of(isa().lanes())
}
