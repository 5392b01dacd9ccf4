//! `#[module(recompute)]`: the outputs, gradients and buffers are those of the same network without it.

use std::collections::BTreeMap;

use sconce::candle::Var;
use sconce::prelude::*;
use sconce::train::mixed_precision;

use crate::common::{Rng, values};

const DEVICE: Device = Device::Cpu;

/// A residual block with buffers.
#[derive(Module)]
#[module(args(channels: usize), forward = |x| relu(bn2(conv2(relu(bn1(conv1(x))))) + x))]
struct Block {
    #[layer(channels, channels, 3, padding = 1, bias = false)]
    conv1: Conv2d,
    #[layer(channels)]
    bn1: BatchNorm,
    #[layer(channels, channels, 3, padding = 1)]
    conv2: Conv2d,
    #[layer(channels)]
    bn2: BatchNorm,
}

/// A masked projection, scaled by a number.
#[derive(Module)]
#[module(forward = |x, mask: Option<Tensor>, scale: f64| -> Signal {
    let y = masked(x, mask);
    y * scale
})]
struct Scaled {
    #[layer(8)]
    masked: Masked,
}

/// Adds the mask to a projection.
#[derive(Module)]
#[module(args(width: usize), forward = |x, mask: Option<Tensor>| -> Signal {
    let y = tanh(fc(x));
    match mask {
        Some(mask) => y + mask,
        None => y,
    }
})]
struct Masked {
    #[layer(width, width)]
    fc: Linear,
}

/// Defines a network twice: with and without `recompute`.
macro_rules! networks {
    ($($(#[$recompute:meta])? $name:ident)*) => {$(
        #[derive(Module)]
        #[module(forward = |x| {
            let mut x = stem(x);
            for i in 0..2 {
                x = blocks[i](x);
            }
            let features = x.mean((2, 3));
            let features = scaled(features, Some(Tensor::ones(8, DType::F32, &DEVICE)?), 0.5);
            head(scaled(features, None, 2.0))
        })]
        struct $name {
            #[layer(3, 8, 3)]
            $(#[$recompute])?
            stem: Conv2d,
            #[layer(8; for _ in 0..2)]
            $(#[$recompute])?
            blocks: Vec<Block>,
            $(#[$recompute])?
            scaled: Scaled,
            #[layer(8, 4)]
            head: Linear,
        }
    )*};
}

networks! { Plain #[module(recompute)] Recomputed }

/// The results of a forward and a backward pass in training: the output, the gradients by name, and the state dict
/// afterwards. The gradient of the input has the name `""`.
struct Passes {
    output: Tensor,
    gradients: BTreeMap<String, Tensor>,
    state: StateDict,
}

/// Runs both passes. `cotangent` is the gradient of the output.
fn run_passes<N: Module + Forward<Signal, Output = Signal>>(
    network: &N,
    x: &Var,
    cotangent: &Tensor,
) -> Result<Passes> {
    let output = network.call(x.as_tensor().into(), Mode::Train).into_tensor()?;
    let loss = (&output * cotangent)?.sum_all()?;
    let grads = sconce::backward(&loss)?;
    let mut gradients = BTreeMap::new();
    for (name, parameter) in network.trainable_parameters() {
        gradients.insert(name, grads.get(&parameter).expect("each parameter has a gradient").clone());
    }
    gradients.insert(String::new(), grads.get(x).expect("the input has a gradient").clone());
    Ok(Passes { output, gradients, state: network.state_dict() })
}

fn assert_same_bits(expected: &Passes, actual: &Passes) -> Result<()> {
    assert_eq!(values(&expected.output)?, values(&actual.output)?);
    let names = |passes: &Passes| passes.gradients.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(actual));
    for (name, gradient) in &expected.gradients {
        assert_eq!(values(gradient)?, values(&actual.gradients[name])?, "gradient of `{name}`");
        assert!(values(gradient)?.iter().any(|x| *x != 0.), "gradient of `{name}`");
    }
    assert_eq!(expected.state.len(), actual.state.len());
    for (name, tensor) in &expected.state {
        let found = actual.state.get(name).expect("both networks have the same names");
        assert_eq!(values(tensor)?, values(found)?, "`{name}`");
    }
    Ok(())
}

/// Returns two networks with equal tensors, without and with `recompute`.
fn pair() -> Result<(Plain, Recomputed)> {
    let plain = Plain::new(&DEVICE)?;
    let mut recomputed = Recomputed::new(&DEVICE)?;
    recomputed.load_state_dict(&plain.state_dict())?;
    Ok((plain, recomputed))
}

#[test]
fn outputs_gradients_and_buffers_have_the_same_bits() -> Result<()> {
    let (plain, recomputed) = pair()?;
    let mut rng = Rng::new(1);
    for batch in [2, 5] {
        let x = Var::from_tensor(&rng.tensor(&[batch, 3, 7, 6], 1.).to_dtype(DType::F32)?)?;
        let cotangent = rng.tensor(&[batch, 4], 1.).to_dtype(DType::F32)?;
        assert_same_bits(&run_passes(&plain, &x, &cotangent)?, &run_passes(&recomputed, &x, &cotangent)?)?;
    }
    Ok(())
}

#[test]
fn a_loss_has_the_same_gradients_in_each_backward_pass() -> Result<()> {
    let (_, recomputed) = pair()?;
    let x = Tensor::randn(0f32, 1., (2, 3, 6, 6), &DEVICE)?;
    let loss = recomputed.forward_t(&x, true)?.sqr()?.sum_all()?;
    let weight = recomputed.blocks[0].conv1.weight();
    let gradient =
        |grads: sconce::candle::backprop::GradStore| values(grads.get(weight).expect("a gradient"));
    let first = gradient(sconce::backward(&loss)?)?;
    assert_eq!(first, gradient(sconce::backward(&loss)?)?);
    assert_eq!(first, gradient(loss.backward()?)?);
    Ok(())
}

#[test]
fn mixed_precision_has_the_same_bits() -> Result<()> {
    let (plain, recomputed) = pair()?;
    let (plain_16, recomputed_16) =
        (mixed_precision(&plain.blocks[0], DType::BF16)?, OneBlock { block: recomputed.blocks[0].share() });
    let recomputed_16 = mixed_precision(&recomputed_16, DType::BF16)?;
    let x = Tensor::randn(0f32, 1., (2, 8, 6, 6), &DEVICE)?.to_dtype(DType::BF16)?;
    let gradient = |output: Tensor, weight: &Tensor| {
        let grads = sconce::backward(&output.to_dtype(DType::F32)?.sqr()?.sum_all()?)?;
        let gradient = grads.get(weight).expect("the weight has a gradient");
        assert_eq!(gradient.dtype(), DType::F32);
        values(gradient)
    };
    let expected = gradient(plain_16.forward_t(&x, true)?, plain.blocks[0].conv1.weight())?;
    let actual = gradient(recomputed_16.forward_t(&x, true)?, recomputed.blocks[0].conv1.weight())?;
    assert_eq!(expected, actual);
    Ok(())
}

/// A network that contains one block.
#[derive(Module)]
struct OneBlock {
    #[layer(8)]
    #[module(recompute)]
    block: Block,
}

/// A network with a recomputed field. The network is itself a recomputed field of another one.
#[derive(Module)]
struct Nested {
    #[module(recompute)]
    inner: Inner,
    #[layer(0.4)]
    dropout: Dropout,
}

#[derive(Module)]
struct Inner {
    #[layer(0.5)]
    #[module(recompute)]
    dropout: Dropout,
}

/// The two dropout layers multiply each element by a number, which is also its gradient. The gradient shows whether the
/// repeated forward pass drops the same elements as the first one.
#[test]
fn recomputation_draws_the_same_random_values() -> Result<()> {
    #[derive(Module)]
    struct Net {
        #[module(recompute)]
        nested: Nested,
    }
    let net = Net::new(&DEVICE)?;
    let x = Var::from_tensor(&Tensor::rand(1f32, 2., 500, &DEVICE)?)?;
    let state = sconce::random::state();
    let outputs = [net.forward_t(x.as_tensor(), true)?, net.forward_t(x.as_tensor(), true)?];
    let after = sconce::random::state();
    assert_ne!(state, after);
    let [first, second] = outputs.each_ref().map(values);
    assert_ne!(first?, second?);
    for output in &outputs {
        let grads = sconce::backward(&output.sum_all()?)?;
        let expected = output.div(x.as_tensor())?;
        let gradient = grads.get(&x).expect("the input has a gradient");
        assert!((gradient - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
        assert!(values(gradient)?.contains(&0.));
    }
    Ok(())
}

#[test]
fn without_gradients_the_outputs_agree() -> Result<()> {
    let (plain, recomputed) = pair()?;
    let x = Tensor::randn(0f32, 1., (2, 3, 6, 6), &DEVICE)?;
    let (expected, actual) = (plain.forward(&x)?, recomputed.detached().forward(&x)?);
    assert!((expected - &actual)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
    assert!(!actual.track_op());
    Ok(())
}

/// The parameters of a frozen layer have no gradients, but its input has one.
#[test]
fn frozen_layers_pass_gradients_to_their_inputs() -> Result<()> {
    let mut net = OneBlock::new(&DEVICE)?;
    net.freeze("block.conv1.**")?;
    let x = Var::from_tensor(&Tensor::randn(0f32, 1., (2, 8, 5, 5), &DEVICE)?)?;
    let grads = sconce::backward(&net.forward_t(x.as_tensor(), true)?.sqr()?.sum_all()?)?;
    assert!(grads.get(net.block.conv1.weight()).is_none());
    assert!(grads.get(net.block.conv2.weight()).is_some() && grads.get(&x).is_some());
    Ok(())
}

#[test]
fn errors_have_the_path_of_the_layer() -> Result<()> {
    let (_, recomputed) = pair()?;
    let x = Tensor::zeros((2, 4, 6, 6), DType::F32, &DEVICE)?;
    let error = recomputed.forward_t(&x, true).unwrap_err().to_string();
    assert!(
        error.starts_with("at Recomputed.stem") && error.contains("expected 3 input channels, found 4"),
        "{error}"
    );
    let x = Tensor::zeros((1, 8, 1, 1), DType::F32, &DEVICE)?;
    let error = OneBlock::new(&DEVICE)?.forward_t(&x, true).unwrap_err().to_string();
    assert!(
        error.starts_with("at OneBlock.block.bn1") && error.contains("expected more than one value"),
        "{error}"
    );
    Ok(())
}

/// A network whose layer `unused` has no effect on the output.
#[derive(Module)]
#[module(forward = |x| match unused.bias() {
    Some(_) => used(x),
    None => unused(x),
})]
struct Unused {
    #[layer(3, 3)]
    used: Linear,
    #[layer(3, 3)]
    unused: Linear,
}

/// A network that fails when it is recomputed.
#[derive(Module)]
#[module(forward = |x| if sconce::is_recomputing() { Signal::fail(Error::msg("again")) } else { fc(x) })]
struct Once {
    #[layer(3, 3)]
    fc: Linear,
}

/// Defines networks with a recomputed part that itself contains a recomputed part.
macro_rules! nested {
    ($($outer:ident $around:ident $inner:ty;)*) => {$(
        #[derive(Module)]
        struct $around {
            #[module(recompute)]
            inner: $inner,
        }

        #[derive(Module)]
        struct $outer {
            #[module(recompute)]
            around: $around,
        }
    )*};
}

nested! {
    OuterUnused AroundUnused Unused;
    OuterOnce AroundOnce Once;
}

#[derive(Module)]
struct CandleLayers {
    #[layer(with = |vb| sconce::nn::batch_norm(3, 1e-5, vb))]
    #[module(recompute)]
    norm: sconce::nn::BatchNorm,
    #[layer(with = |_| Ok(sconce::nn::Dropout::new(0.5)); if false)]
    #[module(recompute)]
    dropout: Option<sconce::nn::Dropout>,
}

fn input() -> Result<Var> {
    Ok(Var::from_tensor(&Tensor::randn(0f32, 1., (4, 3), &DEVICE)?)?)
}

#[test]
fn unused_parameters_have_no_gradient() -> Result<()> {
    let net = OuterUnused::new(&DEVICE)?;
    let x = input()?;
    let grads = sconce::backward(&net.forward_t(x.as_tensor(), true)?.sqr()?.sum_all()?)?;
    assert!(grads.get(&x).is_some() && grads.get(net.around.inner.used.weight()).is_some());
    assert!(grads.get(net.around.inner.unused.weight()).is_none());
    Ok(())
}

#[test]
fn errors_of_a_nested_recomputation_have_the_whole_path() -> Result<()> {
    let net = OuterOnce::new(&DEVICE)?;
    let output = net.forward_t(input()?.as_tensor(), true)?;
    let error = sconce::backward(&output.sum_all()?).unwrap_err().to_string();
    assert!(error.contains("OuterOnce.around.inner"), "{error}");
    Ok(())
}

#[test]
fn layers_of_candle_are_recomputed_exactly_or_rejected() -> Result<()> {
    let mut recomputed = CandleLayers::new(&DEVICE)?;
    let plain = recomputed.deep_clone()?.norm;
    let x = input()?;
    let mut gradients = Vec::new();
    let outputs =
        [plain.call(x.as_tensor().into(), Mode::Train), recomputed.call(x.as_tensor().into(), Mode::Train)];
    for output in outputs {
        let grads = sconce::backward(&output.into_tensor()?.powf(3.)?.sum_all()?)?;
        gradients.push(values(grads.get(&x).expect("the input has a gradient"))?);
    }
    assert_eq!(gradients[0], gradients[1]);
    assert_eq!(values(plain.running_mean())?, values(recomputed.norm.running_mean())?);
    assert!(values(plain.running_mean())?.iter().all(|mean| *mean != 0.));

    recomputed.dropout = Some(sconce::nn::Dropout::new(0.5));
    let error = recomputed.forward_t(x.as_tensor(), true).unwrap_err().to_string();
    assert!(error.contains("`candle_nn::Dropout` cannot be recomputed"), "{error}");
    Ok(())
}

#[test]
fn backward_passes_of_two_threads_are_independent() -> Result<()> {
    let net = OuterUnused::new(&DEVICE)?;
    let loss = net.forward_t(input()?.as_tensor(), true)?.sqr()?.sum_all()?;
    let weight = net.around.inner.used.weight();
    let gradient = || values(sconce::backward(&loss)?.get(weight).expect("the weight has a gradient"));
    let expected = gradient()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..2).map(|_| scope.spawn(|| (0..20).map(|_| gradient()).collect::<Vec<_>>())).collect();
        for actual in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            assert_eq!(expected, actual.unwrap());
        }
    });
    Ok(())
}
