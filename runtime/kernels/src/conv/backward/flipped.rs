//! The gradient of the input if the stride is 1: the convolution of the output's gradient with the flipped weight.
//!
//! The forward kernels, including Winograd, compute this convolution.

use candle_core::Result;

use crate::conv::{ConvGeometry, ConvShape};
use crate::parallel::for_each_chunk;
use crate::simd::Isa;

use super::extent::{Axis, Extent};
use super::real::{Convolve, Real};

/// The minimum number of output channels in a group of the flipped convolution, unless the group has a single input
/// channel. With fewer, the forward kernels do not fill their registers.
const MIN_CHANNELS: usize = 4;

/// A convolution that computes the gradient of the input.
pub(super) struct Flipped<R: Real> {
    shape: ConvShape,
    convolve: Convolve<R>,
}

impl<R: Real> Flipped<R> {
    /// Returns `None` if the forward kernels do not support this convolution or this type, or if they are slower than
    /// [`super::input`].
    pub fn of(extent: &Extent) -> Option<Self> {
        Some(Self { shape: shape(extent)?, convolve: R::CONVOLVE? })
    }

    /// Returns the gradient of the input. `grad` is the gradient of the output. Both are
    /// `[batch, channels, height, width]`.
    pub fn gradient(&self, isa: Isa, extent: &Extent, weight: &[R], grad: &[R]) -> Result<Vec<R>> {
        (self.convolve)(&self.shape, grad, &flip(extent, weight), isa)
    }
}

/// Returns the shape of the convolution that maps the output's gradient to the input's gradient, or `None` under the
/// conditions of [`Flipped::of`].
fn shape(extent: &Extent) -> Option<ConvShape> {
    let too_few_channels = extent.group_in_channels < MIN_CHANNELS && extent.group_out_channels > 1;
    if too_few_channels || extent.axes.iter().any(|axis| axis.stride != 1) {
        return None;
    }
    let [y_axis, x_axis] = &extent.axes;
    let geometry = ConvGeometry {
        stride: [1; 2],
        padding: [padding(y_axis)?, padding(x_axis)?],
        dilation: [y_axis.dilation, x_axis.dilation],
        groups: extent.groups,
    };
    Some(ConvShape {
        batch: extent.batch,
        in_channels: extent.groups * extent.group_out_channels,
        out_channels: extent.groups * extent.group_in_channels,
        input: [y_axis.output, x_axis.output],
        kernel: [y_axis.kernel, x_axis.kernel],
        output: [y_axis.input, x_axis.input],
        geometry,
    })
}

/// Returns the padding before and after an axis: the reach of the kernel minus the padding of the forward pass.
///
/// Returns `None` if a difference is negative.
fn padding(axis: &Axis) -> Option<[usize; 2]> {
    let reach = (axis.kernel - 1) * axis.dilation;
    let before = reach.checked_sub(axis.padding)?;
    Some([before, (axis.input + reach).checked_sub(axis.output + before)?])
}

/// Exchanges the input and output channels of the weight and reverses its taps. Returns
/// `[in_channels, out_channels / groups, kernel height, kernel width]`.
fn flip<R: Real>(extent: &Extent, weight: &[R]) -> Vec<R> {
    let Extent { group_in_channels, group_out_channels, .. } = *extent;
    let taps = extent.taps();
    let mut flipped = vec![R::default(); weight.len()];
    for_each_chunk(&mut flipped, group_out_channels * taps, |channel, to| {
        let group = channel / group_in_channels;
        let input = channel % group_in_channels;
        for (output, to) in to.chunks_exact_mut(taps).enumerate() {
            let from =
                &weight[((group * group_out_channels + output) * group_in_channels + input) * taps..][..taps];
            to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    });
    flipped
}
