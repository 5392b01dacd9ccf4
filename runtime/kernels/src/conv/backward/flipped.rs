//! The gradient of the input where the stride is 1: a convolution itself, of the output's gradient with the
//! weight turned around, and so work for the forward kernels, Winograd's among them.

use super::extent::{Axis, Extent};
use super::real::{Convolve, Real};
use crate::conv::{ConvGeometry, ConvShape};
use crate::parallel::for_each_chunk;
use crate::simd::Isa;
use candle_core::Result;

/// Output channels a group below which the forward kernels have too little to keep in registers.
const FEW_CHANNELS: usize = 4;

/// A convolution that gives the gradient of the input.
pub(super) struct Flipped<R: Real> {
    shape: ConvShape,
    convolve: Convolve<R>,
}

impl<R: Real> Flipped<R> {
    /// `None` where the forward kernels are not for this convolution, or not for this type.
    pub fn of(extent: &Extent) -> Option<Self> {
        Some(Self { shape: shape(extent)?, convolve: R::CONVOLVE? })
    }

    /// The gradient of the input, `[batch, channels, height, width]`, as is `grad`, that of the output.
    pub fn gradient(&self, isa: Isa, extent: &Extent, weight: &[R], grad: &[R]) -> Result<Vec<R>> {
        (self.convolve)(&self.shape, grad, &turned(extent, weight), isa)
    }
}

/// The convolution that takes the output's gradient back to the input.
fn shape(extent: &Extent) -> Option<ConvShape> {
    let few = extent.inputs < FEW_CHANNELS && extent.outputs > 1;
    if few || extent.axes.iter().any(|axis| axis.stride != 1) {
        return None;
    }
    let [rows, columns] = &extent.axes;
    let geometry = ConvGeometry {
        stride: [1; 2],
        padding: [padding(rows)?, padding(columns)?],
        dilation: [rows.dilation, columns.dilation],
        groups: extent.groups,
    };
    Some(ConvShape {
        batch: extent.batch,
        in_channels: extent.groups * extent.outputs,
        out_channels: extent.groups * extent.inputs,
        input: [rows.output, columns.output],
        kernel: [rows.kernel, columns.kernel],
        output: [rows.input, columns.input],
        geometry,
    })
}

/// Zeros before and after: what the kernel reaches beyond the padding of the forward pass. None where the
/// forward pass has more padding than that.
fn padding(axis: &Axis) -> Option<[usize; 2]> {
    let reach = (axis.kernel - 1) * axis.dilation;
    let before = reach.checked_sub(axis.padding)?;
    Some([before, (axis.input + reach).checked_sub(axis.output + before)?])
}

/// The weight with input and output channels exchanged and its taps in reverse:
/// `[input channels, output channels / groups, kernel height, kernel width]`.
fn turned<R: Real>(extent: &Extent, weight: &[R]) -> Vec<R> {
    let Extent { inputs, outputs, .. } = *extent;
    let taps = extent.taps();
    let mut turned = vec![R::default(); weight.len()];
    for_each_chunk(&mut turned, outputs * taps, |channel, to| {
        let (group, input) = (channel / inputs, channel % inputs);
        for (output, to) in to.chunks_exact_mut(taps).enumerate() {
            let from = &weight[((group * outputs + output) * inputs + input) * taps..][..taps];
            to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    });
    turned
}
