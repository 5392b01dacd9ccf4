//! Random networks of all operations that read or write channel-blocked activations. The layout of a signal must not
//! affect its values, so each network is compared with the same operations run one by one in `Nchw`.

use proptest::prelude::*;
use sconce::prelude::*;

use crate::common::process::assert_passes_with_narrower_vectors;
use crate::common::{Rng, config, fail, operations, values};

/// An operation of a network. `Keep` stores the current signal; `Combine` and `Cat` combine the current signal with the
/// stored one.
enum Op {
    Conv(Conv2d),
    Norm(BatchNorm),
    /// The index of a function in [`ACTIVATIONS`].
    Activation(usize),
    Max(MaxPool2d),
    Average(AvgPool2d),
    /// Adaptive pooling to an output of this height and width: max pooling if the flag is true, average pooling if not.
    Adaptive(usize, bool),
    Keep,
    /// Arithmetic with the stored signal: an index in [`ARITHMETIC`].
    Combine(usize),
    /// Arithmetic with a number for each channel: an index in [`ARITHMETIC`], and the numbers.
    PerChannel(usize, Tensor),
    /// A gate for each channel: squeeze-and-excitation.
    Gate(Conv2d),
    /// An elementwise function: an index in [`FUNCTIONS`].
    Function(usize),
    /// The mean over all pixels.
    Mean,
    Cat,
    /// `Signal::map`.
    Map,
    Dropout,
    /// A layer of candle.
    CandleLayer,
}

const ACTIVATIONS: [fn(Signal) -> Signal; 5] =
    [|x| relu(x), |x| sigmoid(x), |x| silu(x), |x| leaky_relu(x, 0.1), |x| hardswish(x)];

const ARITHMETIC: [fn(Signal, Signal) -> Signal; 6] = [
    |a, b| a + b,
    |a, b| b + a,
    |a, b| a - b,
    |a, b| b * a,
    |a, b| a / (b.sqr() + 1.),
    |a, b| b / (a.sqr() + 1.),
];

const FUNCTIONS: [fn(Signal) -> Signal; 6] = [
    |x| x * 0.5 + 1.,
    |x| 1. / (x.abs() + 2.),
    |x| (-x).clamp(-1., 2.),
    |x| (x.sqr() + 0.5).sqrt(),
    |x| (x.abs() + 1.).log(),
    |x| (-x.abs()).exp() - 2.,
];

/// Returns a copy of the operation. If it is a layer with parameters, the copy is an inference copy if `inference` is
/// true, and otherwise detached.
fn copy(op: &Op, inference: bool) -> Result<Op> {
    Ok(match op {
        Op::Conv(conv) if inference => Op::Conv(conv.inference()?),
        Op::Conv(conv) => Op::Conv(conv.detached()),
        Op::Norm(norm) if inference => Op::Norm(norm.inference()?),
        Op::Norm(norm) => Op::Norm(norm.detached()),
        Op::Activation(index) => Op::Activation(*index),
        Op::Max(pool) => Op::Max(*pool),
        Op::Average(pool) => Op::Average(*pool),
        Op::Adaptive(size, max) => Op::Adaptive(*size, *max),
        Op::Keep => Op::Keep,
        Op::Combine(index) => Op::Combine(*index),
        Op::PerChannel(index, tensor) => Op::PerChannel(*index, tensor.clone()),
        Op::Gate(conv) if inference => Op::Gate(conv.inference()?),
        Op::Gate(conv) => Op::Gate(conv.detached()),
        Op::Function(index) => Op::Function(*index),
        Op::Mean => Op::Mean,
        Op::Cat => Op::Cat,
        Op::Map => Op::Map,
        Op::Dropout => Op::Dropout,
        Op::CandleLayer => Op::CandleLayer,
    })
}

fn run(ops: &[Op], x: &Tensor) -> Result<Tensor> {
    let (mut x, mut stored): (Signal, Option<Signal>) = (x.into(), None);
    for op in ops {
        x = match op {
            Op::Conv(conv) => conv.call(x, Mode::Eval),
            Op::Norm(norm) => norm.call(x, Mode::Eval),
            Op::Activation(index) => ACTIVATIONS[*index](x),
            Op::Max(pool) => pool.call(x, Mode::Eval),
            Op::Average(pool) => pool.call(x, Mode::Eval),
            Op::Adaptive(size, true) => adaptive_max_pool2d(x, *size),
            Op::Adaptive(size, false) => adaptive_avg_pool2d(x, *size),
            Op::Keep => {
                stored = Some(x.clone());
                x
            }
            Op::Combine(index) => match &stored {
                Some(stored) if stored.dims()? == x.dims()? => ARITHMETIC[*index](x, stored.clone()),
                _ => x,
            },
            Op::PerChannel(index, tensor) => ARITHMETIC[*index](x, tensor.into()),
            Op::Gate(conv) => {
                let gate = sigmoid(conv.call(x.mean_keepdim((2, 3)), Mode::Eval));
                x * gate
            }
            Op::Function(index) => FUNCTIONS[*index](x),
            Op::Mean => {
                let (batch, channels, _, _) = x.dims4()?;
                x.mean((-1, -2)).reshape((batch, channels, 1, 1))
            }
            Op::Cat => match &stored {
                Some(stored) if stored.dims()?[2..] == x.dims()?[2..] => cat([stored, &x], 1),
                _ => x,
            },
            Op::Map => x.map(|x| x.affine(0.5, 0.1)),
            Op::Dropout => dropout(x, 0.5, Mode::Eval),
            Op::CandleLayer => sconce::nn::Activation::Elu(1.).call(x, Mode::Eval),
        };
    }
    // A clone of the signal gives the same values.
    let shared = x.clone();
    let (dtype, shape) = (x.dtype()?, x.shape()?.clone());
    let tensor = x.into_tensor()?;
    assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &shape));
    assert_eq!(values(&shared.tensor()?)?, values(&tensor)?);
    Ok(tensor)
}

/// Returns random operations, each of which fits the shape of the signal before it.
fn random_ops(numbers: &mut Rng, batch: usize, mut channels: usize, mut size: [usize; 2]) -> Result<Vec<Op>> {
    let mut vectors = Rng::new(numbers.uniform().to_bits());
    let mut random_below = |n: usize| (((numbers.uniform() + 1.) / 2. * n as f64) as usize).min(n - 1);
    let (mut ops, mut stored) = (Vec::new(), None);
    for _ in 0..3 + random_below(9) {
        let smallest = size[0].min(size[1]);
        ops.push(match random_below(20) {
            0..5 => {
                let depthwise = random_below(4) == 0;
                let out_channels =
                    if depthwise { channels } else { [1, 7, 16, 24, 32, 33, 48][random_below(7)] };
                let kernel = if smallest > 3 { [1, 3, 3, 5][random_below(4)] } else { 1 };
                let (stride, padding) = (1 + random_below(2), kernel / 2);
                let conv = Conv2d::config(channels, out_channels, kernel).stride(stride).padding(padding);
                let conv = conv.groups(if depthwise { channels } else { 1 }).bias(random_below(2) == 0);
                size = size.map(|size| (size + 2 * padding - kernel) / stride + 1);
                channels = out_channels;
                Op::Conv(conv.init(&Device::Cpu)?)
            }
            5 | 6 => Op::Norm(BatchNorm::config(channels).init(&Device::Cpu)?),
            7 | 8 => Op::Activation(random_below(ACTIVATIONS.len())),
            9 if smallest > 3 => {
                let (kernel, padding) = [(3, 1), (2, 0)][random_below(2)];
                size = size.map(|size| (size + 2 * padding - kernel) / 2 + 1);
                Op::Max(MaxPool2d::config(kernel).stride(2).padding(padding))
            }
            10 if smallest > 3 => {
                size = size.map(|size| (size + 2 - 3) / 2 + 1);
                Op::Average(AvgPool2d::config(3).stride(2).padding(1).count_include_pad(random_below(2) == 0))
            }
            11 => {
                let side = [1, 2, 5][random_below(3)];
                size = [side; 2];
                Op::Adaptive(side, random_below(2) == 0)
            }
            12 => Op::Combine(random_below(ARITHMETIC.len())),
            15 => {
                let batch = [1, batch][random_below(2)];
                let vector = vectors.tensor(&[batch, channels, 1, 1], 1.).to_dtype(DType::F32)?;
                Op::PerChannel(random_below(ARITHMETIC.len()), vector)
            }
            16 => Op::Gate(Conv2d::config(channels, channels, 1).init(&Device::Cpu)?),
            17 => Op::Function(random_below(FUNCTIONS.len())),
            18 if random_below(3) == 0 => {
                size = [1; 2];
                Op::Mean
            }
            13 => {
                if stored.is_some_and(|(_, stored_size)| stored_size == size) {
                    channels += stored.map_or(0, |(channels, _)| channels);
                }
                Op::Cat
            }
            14 => [Op::Map, Op::Dropout, Op::CandleLayer]
                .into_iter()
                .nth(random_below(3))
                .expect("the index is below 3"),
            _ => {
                stored = Some((channels, size));
                Op::Keep
            }
        });
    }
    Ok(ops)
}

/// Randomizes the statistics and parameters of batch norms. With the default values, a batch norm changes
/// almost nothing.
fn randomize_norms(ops: &mut [Op], numbers: &mut Rng) -> Result<()> {
    for op in ops {
        let Op::Norm(norm) = op else { continue };
        let initial = norm.state_dict();
        let mut state = initial.clone();
        for (name, tensor) in initial.iter().filter(|(_, tensor)| tensor.rank() == 1) {
            let middle = if ["weight", "running_var"].contains(&name) { 1. } else { 0. };
            let noise = numbers.tensor(tensor.dims(), 0.3).affine(1., middle)?;
            state.insert(name, noise.to_dtype(DType::F32)?);
        }
        norm.load_state_dict(&state)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn random_networks_agree_with_nchw(
        batch in 1usize..4,
        channels in prop::sample::select(&[1usize, 3, 16, 20, 32][..]),
        size in prop::array::uniform2(4usize..24),
        seed: u64,
    ) {
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let mut ops = random_ops(&mut numbers, batch, channels, size)?;
            randomize_norms(&mut ops, &mut numbers)?;
            let x = numbers.tensor(&[batch, channels, size[0], size[1]], 1.).to_dtype(DType::F32)?;
            let copies = |inference| ops.iter().map(|op| copy(op, inference)).collect::<Result<Vec<_>>>();
            let actual = run(&copies(true)?, &x)?;
            let expected = sconce::no_fusion(|| run(&copies(false)?, &x))?;
            if actual.dims() != expected.dims() {
                return Err(Error::msg(format!("expected shape {:?}, found {:?}", expected.dims(), actual.dims())));
            }
            let scale = expected.abs()?.max_all()?.to_scalar::<f32>()?.max(0.1);
            let worst = (actual - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
            // The bound leaves room for the rounding errors of Winograd's algorithm (see `set_exact`).
            let convolutions = ops.iter().filter(|op| matches!(op, Op::Conv(_) | Op::Gate(_))).count();
            if worst / scale < 2e-5 * convolutions.max(1) as f32 {
                Ok(())
            } else {
                Err(Error::msg(format!("largest difference {worst}, largest value {scale}")))
            }
        };
        check().map_err(fail)?;
    }
}

#[test]
fn random_networks_agree_with_nchw_with_narrower_vectors() {
    assert_passes_with_narrower_vectors(module_path!(), "random_networks_agree_with_nchw");
}

/// Returns inference copies of consecutive 3×3 convolutions. `channels` has the number of input channels of the first
/// convolution, and the number of output channels of each.
fn convs(channels: &[usize]) -> Result<Vec<Conv2d>> {
    let layers: Result<Vec<Conv2d>> = channels
        .windows(2)
        .map(|pair| Conv2d::config(pair[0], pair[1], 3).padding(1).init(&Device::Cpu))
        .collect();
    layers?.inference()
}

#[test]
fn a_trace_shows_every_change_of_layout() -> Result<()> {
    let layers = convs(&[3, 32, 32])?;
    let x = Tensor::randn(0f32, 1., (2, 3, 9, 11), &Device::Cpu)?;
    let run = |mode| operations(|| relu(layers.call((&x).into(), mode)).into_tensor());
    let expected = ["conv2d + bias", "conv2d + bias + relu", "to_nchw"];
    assert_eq!(run(Mode::Eval)?, expected);
    // A residual in `Nchw` is converted to the channel-blocked layout, `Nchwc`.
    let nchw = Tensor::ones((2, 32, 9, 11), DType::F32, &Device::Cpu)?;
    let added = operations(|| (layers.call((&x).into(), Mode::Eval) + &nchw).into_tensor())?;
    assert_eq!(added, ["conv2d + bias", "conv2d + bias + residual", "to_nchwc", "to_nchw"]);
    let unfused = sconce::no_fusion(|| run(Mode::Eval))?;
    assert_eq!(unfused, ["conv2d + bias", "conv2d + bias", "relu"]);
    Ok(())
}

/// Squeeze-and-excitation and layer scale between convolutions cause no change of layout.
#[test]
fn gates_and_layer_scale_stay_channel_blocked() -> Result<()> {
    let layers = convs(&[3, 32, 28, 32])?;
    let pointwise = |inputs, outputs| Conv2d::config(inputs, outputs, 1).init(&Device::Cpu)?.inference();
    let (squeeze, excite) = (pointwise(32, 8)?, pointwise(8, 32)?);
    let gamma = Tensor::randn(0f32, 1., (28, 1, 1), &Device::Cpu)?;
    let x = Tensor::randn(0f32, 1., (2, 3, 9, 11), &Device::Cpu)?;
    let run = || {
        let x = silu(layers[0].call((&x).into(), Mode::Eval));
        let gate = silu(squeeze.call(x.mean_keepdim((2, 3)), Mode::Eval));
        let x = &x * sigmoid(excite.call(gate, Mode::Eval));
        let x = tanh(layers[1].call(x, Mode::Eval));
        // The lanes beyond the 28 channels must stay zero, although subtracting 0.5 from them would make them nonzero.
        let y = (&x * &gamma - 0.5) / (x.sqr() + 1.);
        layers[2].call(y, Mode::Eval).into_tensor()
    };
    let trace = operations(run)?;
    let changes: Vec<_> = trace.iter().filter(|operation| operation.starts_with("to_")).collect();
    assert_eq!(changes, ["to_nchw"], "{trace:?}");
    assert_eq!(trace.last().map(String::as_str), Some("to_nchw"));
    let expected = sconce::no_fusion(run)?;
    let worst = (run()? - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(worst < 1e-5, "{worst}");
    Ok(())
}

#[test]
fn the_only_consumer_of_a_convolution_is_fused_into_it() -> Result<()> {
    let layers = convs(&[3, 32])?;
    let depthwise = Conv2d::config(32, 32, 3).stride(2).groups(32).init(&Device::Cpu)?.inference()?;
    let x = Tensor::randn(0f32, 1., (2, 3, 9, 11), &Device::Cpu)?;
    let conv = || relu(layers.call((&x).into(), Mode::Eval));
    let pooled = || max_pool2d(conv(), 2).into_tensor();
    assert_eq!(operations(pooled)?, ["conv2d + bias + relu + max_pool2d", "to_nchw"]);
    let convolved = || relu6(depthwise.call(conv(), Mode::Eval)).into_tensor();
    assert_eq!(operations(convolved)?, ["conv2d + bias + relu + conv2d + bias + relu6", "to_nchw"]);
    // If the output of a convolution is used twice, the convolution runs once and is not fused with the pooling.
    let shared = operations(|| {
        let y = conv();
        let pooled = max_pool2d(&y, 2).into_tensor()?;
        y.into_tensor()?;
        Ok::<_, Error>(pooled)
    })?;
    assert_eq!(shared, ["conv2d + bias + relu", "max_pool2d", "to_nchw", "to_nchw"]);
    for f in [&pooled as &dyn Fn() -> Result<Tensor>, &convolved] {
        let (actual, expected) = (f()?, sconce::no_fusion(f)?);
        assert!((actual - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
    }
    Ok(())
}

#[test]
fn everything_stays_nchw_if_gradients_are_needed() -> Result<()> {
    let layers = convs(&[16, 32, 32])?;
    let x = sconce::candle::Var::randn(0f32, 1., (1, 16, 8, 8), &Device::Cpu)?;
    let (y, launches) = sconce::trace(|| layers.call(x.as_tensor().into(), Mode::Eval).into_tensor());
    assert!(launches.iter().all(|launch| !launch.changes_layout()));
    let grads = y?.sqr()?.sum_all()?.backward()?;
    assert!(grads.get(&x).is_some());
    // The parameters of a norm have gradients, even if the convolutions before the norm need none.
    let norm = BatchNorm::config(32).init(&Device::Cpu)?;
    let y = norm.call(layers.call(x.as_detached_tensor().into(), Mode::Eval), Mode::Eval).into_tensor()?;
    let grads = y.sqr()?.sum_all()?.backward()?;
    assert!(norm.parameters().iter().all(|parameter| grads.get(parameter).is_some()));
    // Dtypes other than f32 have no channel-blocked kernels.
    for dtype in [DType::F64, DType::F16, DType::BF16] {
        let mut layers = layers.share();
        layers.to_dtype(dtype)?;
        let x = x.as_detached_tensor().to_dtype(dtype)?;
        let launches = operations(|| layers.call((&x).into(), Mode::Eval).into_tensor())?;
        assert_eq!(launches, ["conv2d + bias", "conv2d + bias"]);
    }
    Ok(())
}

/// If a norm or a residual follows channel-blocked convolutions or a fused pair of convolutions, its gradients agree
/// with those of the unfused operations.
#[test]
fn operations_after_a_channel_blocked_convolution_get_their_gradients() -> Result<()> {
    let layers = convs(&[16, 32, 32])?;
    let depthwise = Conv2d::config(32, 32, 3).padding(1).groups(32).init(&Device::Cpu)?.inference()?;
    let x = Tensor::randn(0f32, 1., (1, 16, 8, 8), &Device::Cpu)?;
    let residual = sconce::candle::Var::randn(0f32, 1., (1, 32, 8, 8), &Device::Cpu)?;
    let norm = BatchNorm::config(32).init(&Device::Cpu)?;
    let pair = || depthwise.call(layers[0].call((&x).into(), Mode::Eval), Mode::Eval);
    let chain = || layers.call((&x).into(), Mode::Eval);
    for signal in [&pair as &dyn Fn() -> Signal, &chain] {
        let normalized = || (norm.call(signal(), Mode::Eval) + residual.as_tensor()).into_tensor();
        let added = || (signal() + residual.as_tensor()).into_tensor();
        for run in [&normalized as &dyn Fn() -> Result<Tensor>, &added] {
            let gradients = |y: Tensor| y.sqr()?.sum_all()?.backward();
            let (actual, expected) = (gradients(run()?)?, gradients(sconce::no_fusion(run)?)?);
            for tensor in norm.parameters().iter().chain([residual.as_tensor()]) {
                let (actual, expected) = (actual.get(tensor), expected.get(tensor));
                assert_eq!(actual.is_some(), expected.is_some());
                let (Some(actual), Some(expected)) = (actual, expected) else { continue };
                let worst = (actual - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(worst < 1e-3, "largest difference {worst}");
            }
        }
    }
    Ok(())
}

#[test]
fn statistics_changed_by_training_are_used_in_inference() -> Result<()> {
    let (conv, norm) =
        (Conv2d::config(3, 32, 3).init(&Device::Cpu)?, BatchNorm::config(32).init(&Device::Cpu)?);
    let (conv, norm) = (conv.inference()?, norm.inference()?);
    let next = convs(&[32, 32])?;
    let x = Tensor::randn(3f32, 2., (4, 3, 12, 12), &Device::Cpu)?;
    let run = |mode| next.call(relu(norm.call(conv.call((&x).into(), mode), mode)), mode).into_tensor();
    let before = run(Mode::Eval)?;
    run(Mode::Train)?;
    let (after, expected) = (run(Mode::Eval)?, sconce::no_fusion(|| run(Mode::Eval))?);
    let distance = |a: &Tensor, b: &Tensor| -> Result<f32> { Ok((a - b)?.abs()?.max_all()?.to_scalar()?) };
    let (changed, wrong) = (distance(&before, &after)?, distance(&after, &expected)?);
    assert!(
        changed > 1e-2 && wrong < 1e-4,
        "expected changed statistics and correct results: changed by {changed}, wrong by {wrong}"
    );
    Ok(())
}

#[test]
fn errors_name_the_layer() -> Result<()> {
    let layers = convs(&[16, 32])?;
    let wrong = convs(&[16, 16])?;
    let x = Tensor::randn(0f32, 1., (1, 16, 8, 8), &Device::Cpu)?;
    let error = wrong.call(relu(layers.call((&x).into(), Mode::Eval)), Mode::Eval).into_tensor().unwrap_err();
    let expected = "at [0] (Conv2d 16→16, 3×3): expected 16 input channels, found 32 (input [1, 32, 8, 8])";
    assert_eq!(error.to_string(), expected);
    let pooled = max_pool2d(layers.call((&x).into(), Mode::Eval), MaxPool2d::config(20)).into_tensor();
    assert!(pooled.unwrap_err().to_string().contains("the output would be empty"));
    Ok(())
}
