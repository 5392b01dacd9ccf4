//! Builds the layers of steps for a shape.

use sconce::prelude::*;

use crate::models::uniform;

use super::combined::Combined;
use super::step::{Join, Step, Window};

/// Networks with larger activations would only take longer.
const MAX_ELEMENTS: usize = 3000;

/// Builds a network for images of this shape, `[channels, height, width]`, and changes `shape` to that of the result.
/// Leaves out steps that do not fit the shape, and calls `count` with the others.
pub fn build(steps: &[Step], shape: &mut [usize; 3], count: &dyn Fn(&Step)) -> Result<Sequential> {
    let mut network = Sequential::new();
    for step in steps {
        let layer = layer(step, *shape, count).map(|layer| Sequential::from(vec![layer]));
        let Ok(output) = layer.as_ref().map_err(Clone::clone).and_then(|layer| output(layer, *shape)) else {
            continue;
        };
        if output.iter().product::<usize>() > MAX_ELEMENTS || output.contains(&0) {
            continue;
        }
        *shape = output;
        count(step);
        network = network.push(layer?);
    }
    randomize(&network)?;
    Ok(network)
}

fn output(layer: &Sequential, [channels, height, width]: [usize; 3]) -> Result<[usize; 3]> {
    let x = Signal::meta((2, channels, height, width), DType::F32);
    let (_, channels, height, width) = layer.call(x, Mode::Eval).dims4()?;
    Ok([channels, height, width])
}

/// Changes the numbers of norms, which are zeros and ones initially.
fn randomize(network: &Sequential) -> Result<()> {
    for (name, tensor) in network.named_parameters().into_iter().chain(network.buffers()) {
        let range = match name.rsplit('.').next() {
            Some("running_var" | "weight") if tensor.rank() == 1 => [0.5, 1.5],
            Some("running_mean" | "bias") => [-0.3, 0.3],
            _ => continue,
        };
        tensor.slice_set(&uniform(tensor.shape(), range)?, 0, 0)?;
    }
    Ok(())
}

fn layer(
    step: &Step,
    [channels, height, width]: [usize; 3],
    count: &dyn Fn(&Step),
) -> Result<Box<dyn Layer>> {
    let device = &Device::Cpu;
    let pixels = height * width;
    Ok(match step {
        Step::Conv { out, window, grouped, bias, mode } => {
            let Window { kernel, stride, padding, dilation } = *window;
            let (out, groups) = if *grouped { (out * channels, channels) } else { (*out, 1) };
            let conv =
                Conv2d::config(channels, out, kernel).stride(stride).padding(padding).dilation(dilation);
            Box::new(conv.groups(groups).bias(*bias).padding_mode(*mode).init(device)?)
        }
        Step::Transposed { out, window, output_padding } => {
            let Window { kernel, stride, padding, dilation } = *window;
            let conv = ConvTranspose2d::config(channels, *out, kernel).stride(stride).padding(padding);
            Box::new(conv.dilation(dilation).output_padding(*output_padding).init(device)?)
        }
        Step::MaxPool { window, ceil } => {
            let Window { kernel, stride, padding, dilation } = *window;
            let pool = MaxPool2d::config(kernel).stride(stride).padding(padding).dilation(dilation);
            Box::new(pool.ceil_mode(*ceil).init(device)?)
        }
        Step::AvgPool { window, ceil, count_padding } => {
            let pool = AvgPool2d::config(window.kernel).stride(window.stride).padding(window.padding);
            Box::new(pool.ceil_mode(*ceil).count_include_pad(*count_padding).init(device)?)
        }
        Step::Adaptive { size, max: true } => Box::new(AdaptiveMaxPool2d::config(*size).init(device)?),
        Step::Adaptive { size, max: false } => Box::new(AdaptiveAvgPool2d::config(*size).init(device)?),
        // A norm over one pixel is zero or only rounding errors.
        Step::Norm(_) if pixels == 1 => return Err(Error::msg("one pixel")),
        Step::Norm(index) => norm(*index, channels, width)?,
        Step::Activation(index) => activation(*index, channels)?,
        Step::Softmax { dim, log: false } => Box::new(Softmax::config(*dim).init(device)?),
        Step::Softmax { dim, log: true } => Box::new(LogSoftmax::config(*dim).init(device)?),
        Step::Function(index) => {
            let (name, function) = FUNCTIONS[index % FUNCTIONS.len()];
            Box::new(Combined::new(name, Vec::new(), move |_, x, _| function(x)))
        }
        Step::Resize { size, mode, align_corners } => {
            let align_corners = mode.starts_with("bi").then_some(*align_corners);
            Box::new(Upsample::config().size(*size).mode(*mode).align_corners(align_corners).init(device)?)
        }
        Step::Pad { sides: [left, right, top, bottom], mode } => {
            let (sides, mode) = ((*left, *right, *top, *bottom), PadMode::from(*mode));
            Box::new(Combined::new("Pad", Vec::new(), move |_, x, _| pad(x, sides, mode)))
        }
        Step::Shuffle { factor, inverse: false } => Box::new(PixelShuffle::config(*factor).init(device)?),
        Step::Shuffle { factor, inverse: true } => Box::new(PixelUnshuffle::config(*factor).init(device)?),
        Step::Linear { out, bias } => Box::new(Linear::config(width, *out).bias(*bias).init(device)?),
        Step::Attention { heads } => tokens(SelfAttention::config(channels, *heads).init(device)?),
        Step::Recurrent { hidden, bidirectional, lstm: true } => {
            tokens(LongMemory::config(channels, *hidden, *bidirectional).init(device)?)
        }
        Step::Recurrent { hidden, bidirectional, lstm: false } => {
            tokens(Gated::config(channels, *hidden, *bidirectional).init(device)?)
        }
        Step::Branches { join, branches } => {
            self::branches(*join, branches, [channels, height, width], count)?
        }
    })
}

fn norm(index: usize, channels: usize, width: usize) -> Result<Box<dyn Layer>> {
    let device = &Device::Cpu;
    Ok(match index % 6 {
        0 => Box::new(InstanceNorm2d::config(channels).affine(true).init(device)?),
        1 => Box::new(
            GroupNorm::config(if channels.is_multiple_of(2) { 2 } else { 1 }, channels).init(device)?,
        ),
        2 => Box::new(LayerNorm::config(width).init(device)?),
        3 => Box::new(RmsNorm::config(width).init(device)?),
        4 => Box::new(LayerNorm2d::config(channels).init(device)?),
        _ => Box::new(BatchNorm2d::config(channels).init(device)?),
    })
}

fn activation(index: usize, channels: usize) -> Result<Box<dyn Layer>> {
    let device = &Device::Cpu;
    Ok(match index % 14 {
        0 => Box::new(Relu),
        1 => Box::new(Relu6),
        2 => Box::new(LeakyRelu::config().negative_slope(0.2).init(device)?),
        3 => Box::new(PRelu::config().num_parameters(channels).init(device)?),
        4 => Box::new(Elu::config().alpha(0.7).init(device)?),
        5 => Box::new(Gelu::config().init(device)?),
        6 => Box::new(Gelu::config().approximate("tanh").init(device)?),
        7 => Box::new(Silu),
        8 => Box::new(Sigmoid),
        9 => Box::new(Tanh),
        10 => Box::new(Hardswish),
        11 => Box::new(Mish),
        12 => Box::new(Softplus::config().init(device)?),
        _ => Box::new(Glu::config(1).init(device)?),
    })
}

type Function = fn(Signal) -> Signal;

/// Functions of signals, which keep the batch.
const FUNCTIONS: [(&str, Function); 12] = [
    ("affine", |x| x * 0.5 + 1.),
    ("quotient", |x| 1. / (x.abs() + 2.)),
    ("clamp", |x| (-x).clamp(-1., 1.5)),
    ("root", |x| (x.sqr() + 0.5).sqrt()),
    ("logarithm", |x| (x.abs() + 1.).log()),
    ("exponential", |x| (-x.abs()).exp() - 2.),
    ("roll", |x| x.roll([1, -1], (2, 3))),
    ("transpose", |x| x.transpose(2, 3)),
    ("centered", |x| &x - x.mean_keepdim((2, 3))),
    ("masked", |x| x.masked_fill(x.gt(0.5), 0.25)),
    ("rows", |x| {
        let mut parts: Vec<Signal> = x.chunk(2, 2);
        parts.reverse();
        cat(parts, 2)
    }),
    ("products", |x| {
        let y = x.matmul(x.transpose(2, 3));
        y * 0.1
    }),
];

/// Calls a layer for sequences `[batch, tokens, features]` with the pixels of an image.
fn tokens(layer: impl Layer + 'static) -> Box<dyn Layer> {
    let layers = vec![Sequential::new().push(layer)];
    Box::new(Combined::new("Tokens", layers, |layers, x, mode| {
        let (batch, _, height, width) = match x.dims4() {
            Ok(dims) => dims,
            Err(error) => return Signal::fail(error),
        };
        let y = layers[0].call(x.flatten(2, 3).transpose(1, 2), mode);
        y.transpose(1, 2).reshape((batch, (), height, width))
    }))
}

#[derive(Module)]
#[module(args(features: usize, heads: usize), forward = |x| {
    let (y, _) = attention(x, x, x);
    y
})]
struct SelfAttention {
    #[layer(features, heads, batch_first = true, need_weights = false)]
    attention: MultiheadAttention,
}

#[derive(Module)]
#[module(args(features: usize, hidden: usize, bidirectional: bool), forward = |x| {
    let (y, _) = lstm(x);
    y
})]
struct LongMemory {
    #[layer(features, hidden, bidirectional = bidirectional, batch_first = true)]
    lstm: LSTM,
}

#[derive(Module)]
#[module(args(features: usize, hidden: usize, bidirectional: bool), forward = |x| {
    let (y, _) = gru(x);
    y
})]
struct Gated {
    #[layer(features, hidden, bidirectional = bidirectional, batch_first = true)]
    gru: GRU,
}

/// Builds branches with the same input, whose outputs are brought to the shape of the first.
fn branches(
    join: Join,
    branches: &[Vec<Step>],
    shape: [usize; 3],
    count: &dyn Fn(&Step),
) -> Result<Box<dyn Layer>> {
    let mut target = None;
    let mut layers = Vec::new();
    for steps in branches {
        let mut output = shape;
        let mut branch = build(steps, &mut output, count)?;
        let [channels, height, width] = *target.get_or_insert(output);
        if output[1..] != [height, width] {
            branch = branch.push(AdaptiveAvgPool2d::config((height, width)).init(&Device::Cpu)?);
        }
        if output[0] != channels {
            branch = branch.push(Conv2d::config(output[0], channels, 1).init(&Device::Cpu)?);
        }
        layers.push(branch);
    }
    let name = match join {
        Join::Cat => "Cat",
        Join::Sum => "Sum",
        Join::Product => "Product",
        Join::Maximum => "Maximum",
    };
    Ok(Box::new(Combined::new(name, layers, move |layers, x, mode| {
        let mut outputs = layers.iter().map(|layer| layer.call(x.clone(), mode));
        let pairwise: fn(Signal, Signal) -> Signal = match join {
            Join::Cat => return cat(outputs, 1),
            Join::Sum => |a, b| a + b,
            Join::Product => |a, b| a * b,
            Join::Maximum => |a, b| a.gt(&b).where_cond(&a, &b),
        };
        let first = outputs.next().unwrap_or_else(|| x.clone());
        outputs.fold(first, pairwise)
    })))
}
