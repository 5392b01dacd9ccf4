//! Convolution of f32 to an `Nchwc` output, alone or with a fused consumer. The input has either layout. A block
//! has as many channels as a vector of the instruction set has lanes.

use candle_core::Result;

use crate::blocked::policy::Refusal;
use crate::conv::ConvShape;
use crate::layout::Layout;
use crate::simd::{Isa, microarchitecture};

pub use super::fused_consumer::FusedConsumer;
pub use super::operand::Call;

use super::channel_lanes::{self, Target};
use super::elements::{ElementFormat, OutputPtr};
use super::fused_consumer::Consumer;
use super::packed::Packing;
use super::problem::{Algorithm, ConvProblem};
use super::{convolve, reference};

/// Returns `true` if an optimized algorithm supports `Nchwc` inputs of this shape: the convolution has one group, or it
/// is depthwise with one output channel for each input channel. For `Nchw` inputs, the optimized algorithms support
/// only one group.
pub fn supports(shape: &ConvShape) -> bool {
    shape.geometry.groups == 1 || is_depthwise(shape)
}

/// Returns `true` if a convolution of this shape can be fused as the consumer of another convolution.
pub fn is_consumer(shape: &ConvShape) -> bool {
    shape.geometry.groups > 1 && is_depthwise(shape)
}

fn is_depthwise(shape: &ConvShape) -> bool {
    shape.group_in_channels() == 1 && shape.group_out_channels() == 1
}

/// Convolves an f32 input of the layout `layout` and writes every element of `output`. The output and the residual are
/// `Nchwc` with the lanes of `isa`.
///
/// # Errors
/// Fails if there is not enough memory for the temporary data of the algorithm.
///
/// # Panics
/// Panics if the length of a slice does not match the shape.
pub fn conv2d(
    shape: &ConvShape,
    layout: Layout,
    call: &Call<'_>,
    output: &mut [f32],
    isa: Isa,
) -> Result<()> {
    let problem = problem(shape, layout, call, isa);
    assert_eq!(output.len(), Layout::Nchwc.elements(shape.output_dims(), isa.lanes()));
    if !convolve(&problem, call, OutputPtr::F32(output.as_mut_ptr()))? {
        let blocks = [layout, Layout::Nchwc].map(|layout| layout.block(isa.lanes()));
        reference::conv2d(shape, blocks, &call.widened(), call.activation, output);
    }
    Ok(())
}

/// Convolves like [`conv2d`] and runs `consumer` on each part of the results while that part is in the L1 or L2 cache.
/// The results are identical to those of two separate launches.
///
/// # Errors
/// Returns the reason and leaves `output` unchanged if the two operations cannot be fused.
///
/// # Panics
/// Panics if the length of a slice does not match the shapes.
pub fn conv2d_and_consume(
    shape: &ConvShape,
    layout: Layout,
    call: &Call<'_>,
    consumer: &FusedConsumer<'_>,
    output: &mut [f32],
    isa: Isa,
) -> std::result::Result<(), Refusal> {
    let problem = problem(shape, layout, call, isa);
    if let FusedConsumer::Depthwise(depthwise, call) = consumer {
        assert_eq!(
            depthwise.in_channels, shape.out_channels,
            "the consumer's input channels must be the producer's output channels"
        );
        check(depthwise, call, isa);
    }
    assert_eq!(Some(output.len()), consumer.output_len(shape, isa.lanes()));
    if output.is_empty() {
        return Err(Refusal::Empty);
    }
    if call.residual.is_some() {
        return Err(Refusal::Residual);
    }
    if Packing::algorithm(call.packing, &problem) != Algorithm::ChannelLanes {
        return Err(Refusal::Algorithm);
    }
    let windows = consumer.windows(shape.output).ok_or(Refusal::Windows)?;
    let packed = consumer.packed(isa);
    let output = OutputPtr::F32(output.as_mut_ptr());
    let consumer = Consumer::new(consumer, packed.as_deref(), shape.output, output);
    let consumer = consumer.ok_or(Refusal::Depthwise)?;
    let is_fused = channel_lanes::conv2d(&problem, call, Target::Consumer(&consumer, windows));
    is_fused.then_some(()).ok_or(Refusal::Chunks)
}

/// Returns the problem after checking the lengths of the operands.
fn problem(shape: &ConvShape, input: Layout, call: &Call<'_>, isa: Isa) -> ConvProblem {
    let dims = [shape.batch, shape.in_channels, shape.input[0], shape.input[1]];
    assert_eq!(call.input.as_f32().len(), input.elements(dims, isa.lanes()));
    check(shape, call, isa);
    ConvProblem {
        shape: *shape,
        format: ElementFormat::F32,
        input,
        output: Layout::Nchwc,
        weight_cached: call.packing.is_some(),
        isa,
        microarchitecture: microarchitecture(),
    }
}

/// Checks the lengths of all operands except the input, which a fused consumer does not have. The kernels rely on these
/// lengths for memory safety.
fn check(shape: &ConvShape, call: &Call<'_>, isa: Isa) {
    assert_eq!(call.weight.as_f32().len(), shape.weight_dims().iter().product::<usize>());
    assert!([call.scale, call.shift].into_iter().flatten().all(|x| x.len() == shape.out_channels));
    let output = Layout::Nchwc.elements(shape.output_dims(), isa.lanes());
    assert!(call.residual.is_none_or(|residual| residual.as_f32().len() == output));
}
