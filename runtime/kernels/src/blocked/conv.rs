//! Convolution with a fused epilogue: batch norm or bias, then residual, then activation. The results are `Nchwc`.

use std::borrow::Cow;

use candle_core::Result;

use crate::activation::Activation;
use crate::conv::ConvShape;
use crate::conv::cpu::{
    Call, ConvProblem, ElementFormat, FusedConsumer, Packing, convolve_and_consume, convolve_to_nchwc,
};
use crate::layout::Layout;
use crate::pool::PoolGeometry;
use crate::simd::{Isa, microarchitecture};

/// An activation `[batch, channels, height, width]` of f32.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The elements, in the order of `layout`.
    pub elements: &'a [f32],
    /// The memory layout.
    pub layout: Layout,
}

/// A weight `[out_channels, in_channels / groups, kernel height, kernel width]`.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    /// The elements, contiguous.
    pub values: &'a [f32],
    /// The cache of the packed weight, if it is kept between calls.
    pub packing: Option<Packing<'a>>,
}

/// The operations on a sum before it is stored: `activation((sum * scale[c] + shift[c]) + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `[out_channels]`.
    pub scale: Option<&'a [f32]>,
    /// `[out_channels]`.
    pub shift: Option<&'a [f32]>,
    /// A tensor in the shape and layout of the output.
    pub residual: Option<&'a [f32]>,
    /// The activation, applied last.
    pub activation: Activation,
}

/// An operation that runs in the same task as the convolution whose results it reads.
#[derive(Clone, Copy)]
pub enum Consumer<'a> {
    /// Max pooling.
    MaxPool(PoolGeometry),
    /// A depthwise convolution of the results.
    Depthwise {
        /// The sizes of the convolution.
        shape: &'a ConvShape,
        /// The weight.
        weight: Weight<'a>,
        /// The epilogue of the depthwise convolution.
        epilogue: Epilogue<'a>,
    },
}

/// Returns whether an optimized algorithm supports `Nchwc` inputs of this shape: the convolution has one group, or it
/// is depthwise with one output channel for each input channel. For `Nchw` inputs, the optimized algorithms support
/// only one group.
pub fn supports(shape: &ConvShape) -> bool {
    shape.geometry.groups == 1 || is_depthwise(shape)
}

/// Returns whether a convolution of this shape can be fused as the consumer of another convolution.
pub fn is_consumer(shape: &ConvShape) -> bool {
    shape.geometry.groups > 1 && is_depthwise(shape)
}

fn is_depthwise(shape: &ConvShape) -> bool {
    shape.group_inputs() == 1 && shape.group_outputs() == 1
}

/// Convolves `input` and writes every element of `output`. The output and the residual are `Nchwc` with the lanes of
/// `isa`.
///
/// # Errors
/// Fails if there is not enough memory for the temporary data of the algorithm.
///
/// # Panics
/// Panics if the length of a slice does not match the shape.
pub fn conv2d(
    shape: &ConvShape,
    input: Input<'_>,
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    output: &mut [f32],
    isa: Isa,
) -> Result<()> {
    let problem = problem(shape, input.layout, &weight, isa);
    assert_eq!(output.len(), Layout::Nchwc.elements(shape.output_dims(), isa.lanes()));
    let call = call(&problem, input, &weight, epilogue);
    convolve_to_nchwc(&problem, &call, weight.packing, output)
}

/// Convolves `input` and runs `consumer` on each part of the results while that part is in the cache. The results are
/// identical to those of two separate launches. Returns `false` and leaves `output` unchanged if the two operations
/// cannot be fused.
///
/// # Panics
/// Panics if the length of a slice does not match the shapes.
pub fn conv2d_and_consume(
    shape: &ConvShape,
    input: Input<'_>,
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    consumer: &Consumer<'_>,
    output: &mut [f32],
    isa: Isa,
) -> bool {
    let problem = problem(shape, input.layout, &weight, isa);
    let producer = call(&problem, input, &weight, epilogue);
    let no_input = Input { elements: &[], layout: Layout::Nchwc };
    let consume = |consumer: &FusedConsumer<'_>, output: &mut [f32]| {
        assert_eq!(Some(output.len()), consumer.output_len(shape, isa.lanes()));
        convolve_and_consume(&problem, &producer, weight.packing, consumer, output)
    };
    match consumer {
        Consumer::MaxPool(geometry) => consume(&FusedConsumer::MaxPool(*geometry), output),
        Consumer::Depthwise { shape: consumer, weight, epilogue } => {
            assert_eq!(
                consumer.in_channels, shape.out_channels,
                "the consumer reads the producer's channels"
            );
            let call = operands(consumer, isa.lanes(), no_input, weight, epilogue);
            consume(
                &FusedConsumer::Depthwise { shape: consumer, call: &call, packing: weight.packing },
                output,
            )
        }
    }
}

fn problem(shape: &ConvShape, input: Layout, weight: &Weight<'_>, isa: Isa) -> ConvProblem {
    ConvProblem {
        shape: *shape,
        format: ElementFormat::F32,
        input,
        output: Layout::Nchwc,
        weight_cached: weight.packing.is_some(),
        isa,
        microarchitecture: microarchitecture(),
    }
}

/// Returns the operands after checking their lengths. The kernels rely on these lengths for memory safety.
fn call<'a>(
    problem: &ConvProblem,
    input: Input<'a>,
    weight: &Weight<'a>,
    epilogue: &Epilogue<'a>,
) -> Call<'a> {
    let (shape, lanes) = (&problem.shape, problem.isa.lanes());
    let [height, width] = shape.input;
    let dims = [shape.batch, shape.in_channels, height, width];
    assert_eq!(input.elements.len(), input.layout.elements(dims, lanes));
    operands(shape, lanes, input, weight, epilogue)
}

/// Does the same as [`call`], except that it does not check the input, which a fused consumer does not have.
fn operands<'a>(
    shape: &ConvShape,
    lanes: usize,
    input: Input<'a>,
    weight: &Weight<'a>,
    epilogue: &Epilogue<'a>,
) -> Call<'a> {
    assert_eq!(weight.values.len(), shape.weight_dims().iter().product::<usize>());
    assert!([epilogue.scale, epilogue.shift].into_iter().flatten().all(|x| x.len() == shape.out_channels));
    let output = Layout::Nchwc.elements(shape.output_dims(), lanes);
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == output));
    Call {
        input: input.elements.into(),
        weight: weight.values.into(),
        scale: epilogue.scale.map(Cow::Borrowed),
        shift: epilogue.shift.map(Cow::Borrowed),
        residual: epilogue.residual.map(Into::into),
        activation: epilogue.activation,
    }
}
