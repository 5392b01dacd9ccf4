//! Convolution + batch norm or bias + residual + activation into NCHWc activations.

use crate::activation::Activation;
use crate::conv::ConvShape;
use crate::conv::cpu::{
    Call, ConvProblem, ElementFormat, FusedConsumer, Packing, convolve_and_consume, convolve_to_nchwc,
};
use crate::layout::Layout;
use crate::pool::PoolGeometry;
use crate::simd::{Isa, microarchitecture};
use candle_core::Result;
use std::borrow::Cow;

/// An activation `[batch, channels, height, width]` of f32.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The elements, in the given layout.
    pub elements: &'a [f32],
    /// The memory layout.
    pub layout: Layout,
}

/// A weight `[out_channels, in_channels / groups, kernel height, kernel width]`.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    /// The elements, contiguous.
    pub values: &'a [f32],
    /// The cache of its packed form, if that is kept from call to call.
    pub packing: Option<Packing<'a>>,
}

/// What happens to a sum before it is stored: `activation((sum * scale[c] + shift[c]) + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `[out_channels]`.
    pub scale: Option<&'a [f32]>,
    /// `[out_channels]`.
    pub shift: Option<&'a [f32]>,
    /// As the output.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// An operation that reads a convolution's results in the same task.
#[derive(Clone, Copy)]
pub enum Consumer<'a> {
    /// The largest element of each window.
    MaxPool(PoolGeometry),
    /// A depthwise convolution, whose input is what the producer makes.
    Depthwise {
        /// The sizes of the convolution.
        shape: &'a ConvShape,
        /// Its weight.
        weight: Weight<'a>,
        /// Applied to its sums.
        epilogue: Epilogue<'a>,
    },
}

/// Returns whether an algorithm other than the reference convolves NCHWc activations of this shape: one group, or one
/// for each channel of input and output alike. NCHW inputs have one if there is one group.
pub fn supports(shape: &ConvShape) -> bool {
    shape.geometry.groups == 1 || is_depthwise(shape)
}

/// Returns whether a convolution of this shape can consume another one's results in the same task.
pub fn is_consumer(shape: &ConvShape) -> bool {
    shape.geometry.groups > 1 && is_depthwise(shape)
}

fn is_depthwise(shape: &ConvShape) -> bool {
    shape.group_inputs() == 1 && shape.group_outputs() == 1
}

/// Convolves `input` into `output`, an NCHWc activation with the lanes of `isa`, as the residual, and writes all of it.
///
/// # Panics
/// If a slice's length does not fit the shape.
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

/// Convolves `input`, and runs `consumer` on each piece of the results while that is in a near cache: the same numbers
/// as one after the other. Returns `false`, with `output` as it was, if the two cannot be fused.
///
/// # Panics
/// If a slice's length does not fit the shapes.
pub fn conv2d_and_consume(
    shape: &ConvShape,
    input: Input<'_>,
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    consumer: &Consumer<'_>,
    output: &mut [f32],
    isa: Isa,
) -> bool {
    let first = problem(shape, input.layout, &weight, isa);
    let producer = call(&first, input, &weight, epilogue);
    let none = Input { elements: &[], layout: Layout::Nchwc };
    let consume = |consumer: &FusedConsumer<'_>, output: &mut [f32]| {
        assert_eq!(Some(output.len()), consumer.output_len(shape, isa.lanes()));
        convolve_and_consume(&first, &producer, weight.packing, consumer, output)
    };
    match consumer {
        Consumer::MaxPool(geometry) => consume(&FusedConsumer::MaxPool(*geometry), output),
        Consumer::Depthwise { shape, weight, epilogue } => {
            let call = operands(none, weight, epilogue);
            consume(&FusedConsumer::Depthwise { shape, call: &call, packing: weight.packing }, output)
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

/// Returns the operands. The kernels' bounds follow from the lengths that this checks.
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
    assert_eq!(weight.values.len(), shape.weight_dims().iter().product::<usize>());
    assert!([epilogue.scale, epilogue.shift].into_iter().flatten().all(|x| x.len() == shape.out_channels));
    let output = Layout::Nchwc.elements(shape.output_dims(), lanes);
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == output));
    operands(input, weight, epilogue)
}

fn operands<'a>(input: Input<'a>, weight: &Weight<'a>, epilogue: &Epilogue<'a>) -> Call<'a> {
    Call {
        input: input.elements.into(),
        weight: weight.values.into(),
        scale: epilogue.scale.map(Cow::Borrowed),
        shift: epilogue.shift.map(Cow::Borrowed),
        residual: epilogue.residual.map(Into::into),
        activation: epilogue.activation,
    }
}
