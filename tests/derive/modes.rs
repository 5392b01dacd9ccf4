//! Layers pinned to a mode: by `#[module(mode = …)]`, `set_mode` and `freeze_in_eval`.

use std::sync::Arc;

use sconce::nn;
use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn ones(shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::ones(shape, DType::F32, &DEVICE)?)
}

/// Returns `true` if a training pass of `network` changes a buffer, such as a running mean or the number of batches.
fn updates_statistics<M: Network + Forward<Signal, Output = Signal>>(network: &M) -> Result<bool> {
    let statistics = || -> Result<Vec<f64>> {
        let sum = |(_, buffer): (String, Tensor)| -> Result<f64> {
            Ok(buffer.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)
        };
        network.buffers().into_iter().map(sum).collect()
    };
    let before = statistics()?;
    let x = Tensor::randn(5f32, 2., (4, 3, 5, 5), &DEVICE)?;
    network.call(x.into(), Mode::Train).into_tensor()?;
    Ok(statistics()? != before)
}

/// Returns `true` if `layer` zeroes any of 1000 ones in a training pass.
fn drops(layer: &impl Forward<Signal, Output = Signal>) -> Result<bool> {
    let y = layer.call(ones(&[10, 100])?.into(), Mode::Train).into_tensor()?;
    Ok(y.min_all()?.to_scalar::<f32>()? == 0.)
}

#[derive(Module)]
#[module(forward = |mut x| {
    for (conv, norm) in convs.iter().zip(norms) {
        x = norm(conv(x));
    }
    x
})]
struct Zipped {
    #[layer(3, 3, 1; for _ in 0..2)]
    convs: Vec<Conv2d>,
    #[layer(3; for _ in 0..2)]
    #[module(mode = eval)]
    norms: Vec<BatchNorm>,
}

#[derive(Module)]
#[module(forward = |mut x| { for layer in live.iter().chain(&fixed) { x = layer(x); } x })]
struct Chained {
    #[layer(0.0; for _ in 0..1)]
    live: Vec<Dropout>,
    #[layer(0.5; for _ in 0..1)]
    #[module(mode = eval)]
    fixed: Vec<Dropout>,
}

/// Calls a layer, without knowing whether the field of the layer is pinned.
fn apply(layer: &impl Layer, x: Signal, mode: Mode) -> Signal {
    layer.call(x, mode)
}

#[derive(Module)]
#[module(forward = |x| apply(&fixed, x, mode))]
struct Helper {
    #[module(mode = eval)]
    fixed: Dropout,
}

#[test]
fn the_attribute_pins_layers_that_are_called_indirectly() -> Result<()> {
    assert!(!updates_statistics(&Zipped::new(&DEVICE)?)?);
    assert!(!drops(&Chained::new(&DEVICE)?)?);
    assert!(!drops(&Helper::new(&DEVICE)?)?);
    Ok(())
}

#[derive(Module)]
struct Backbone {
    #[layer(3, 3, 1)]
    conv: Conv2d,
    #[layer(3; for _ in 0..2)]
    norms: Vec<BatchNorm>,
    dropout: Box<Dropout>,
}

#[derive(Module)]
struct Model {
    #[layer()]
    backbone: Backbone,
    #[layer(3)]
    norm: BatchNorm,
}

/// Returns the sum of each buffer whose name starts with `prefix`.
fn buffer_sums(network: &impl Network, prefix: &str) -> Result<Vec<f64>> {
    let buffers = network.buffers().into_iter().filter(|(name, _)| name.starts_with(prefix));
    buffers.map(|(_, buffer)| Ok(buffer.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)).collect()
}

#[test]
fn set_mode_pins_a_part_until_it_is_unpinned() -> Result<()> {
    let mut model = Model::new(&DEVICE)?;
    let initial = buffer_sums(&model, "backbone")?;
    model.backbone.set_mode(Mode::Eval)?;
    assert!(updates_statistics(&model)?, "the last norm is not pinned");
    assert_eq!(buffer_sums(&model, "backbone")?, initial);
    assert!(!updates_statistics(&model.backbone)?);
    assert!(!drops(&model.backbone.dropout)?);

    model.backbone.set_mode(None)?;
    assert!(updates_statistics(&model.backbone)?);
    assert!(drops(&model.backbone.dropout)?);

    model.set_mode(Mode::Train)?;
    let x = Tensor::randn(0f32, 1., (2, 3, 4, 4), &DEVICE)?;
    let counts =
        || model.state_dict().get("norm.num_batches_tracked").map(Tensor::to_scalar::<i64>).transpose();
    let before = counts()?;
    model.forward(&x)?;
    assert_eq!(
        counts()?,
        before.map(|count| count + 1),
        "a norm pinned to training should also count evaluation batches"
    );
    Ok(())
}

#[test]
fn copies_keep_the_mode() -> Result<()> {
    let mut norm = BatchNorm::config(3).init(&DEVICE)?;
    norm.set_mode(Mode::Eval)?;
    let mut converted = norm.clone();
    converted.to_dtype(DType::F32)?;
    for copy in
        [norm.clone(), norm.share(), norm.detached(), norm.inference()?, norm.deep_clone()?, converted]
    {
        assert!(!updates_statistics(&copy)?);
    }
    Ok(())
}

#[test]
fn every_layer_that_depends_on_the_mode_can_be_pinned() -> Result<()> {
    let mut layers: Vec<Box<dyn Layer>> = vec![
        Box::new(Dropout::config(0.5)),
        Box::new(Dropout1d::config(0.5)),
        Box::new(Dropout2d::config(0.5)),
        Box::new(StochasticDepth::config(0.5, "row")),
        Box::new(BatchNorm::config(8).init(&DEVICE)?),
        Box::new(BatchNorm1d::config(8).init(&DEVICE)?),
        Box::new(InstanceNorm1d::config(8).track_running_stats(true).init(&DEVICE)?),
        Box::new(Attention::new(&DEVICE)?),
        Box::new(Recurrent::new(&DEVICE)?),
    ];
    let x = Tensor::randn(1f32, 2., (16, 8, 8), &DEVICE)?;
    for layer in &mut layers {
        let run = |layer: &dyn Layer, mode| -> Result<Vec<f32>> {
            Ok(layer.call((&x).into(), mode).into_tensor()?.flatten_all()?.to_vec1()?)
        };
        let evaluated = run(&**layer, Mode::Eval)?;
        assert_ne!(run(&*layer.deep_clone()?, Mode::Train)?, evaluated, "{layer}");
        layer.set_mode(Mode::Eval)?;
        assert_eq!(run(&**layer, Mode::Train)?, evaluated, "{layer}");
    }
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| attn(x, x, x).0)]
struct Attention {
    #[layer(8, 2, dropout = 0.5)]
    attn: MultiheadAttention,
}

#[derive(Module)]
#[module(forward = |x| lstm(x).0)]
struct Recurrent {
    #[layer(8, 8, num_layers = 2, dropout = 0.5)]
    lstm: LSTM,
}

#[derive(Module)]
struct Foreign {
    dropout: Dropout,
    #[layer(with = |_| Ok(nn::Dropout::new(0.5)))]
    candle: nn::Dropout,
}

#[test]
fn candle_layers_cannot_be_pinned() -> Result<()> {
    let mut network = Foreign::new(&DEVICE)?;
    let error = network.set_mode(Mode::Eval).unwrap_err().to_string();
    assert!(error.starts_with("at candle: candle-nn's layers cannot be pinned"), "{error}");
    assert!(drops(&network.dropout)?, "a failed call changes nothing");
    network.set_mode(None)
}

/// A layer of candle-nn cannot be pinned by `set_mode`, but direct calls of the field use the mode of the attribute.
#[derive(Module)]
struct ForeignPinned {
    #[layer(with = |_| Ok(nn::Dropout::new(0.5)))]
    #[module(mode = eval)]
    candle: nn::Dropout,
}

#[test]
fn the_attribute_applies_to_direct_calls_of_candle_layers() -> Result<()> {
    assert!(!drops(&ForeignPinned::new(&DEVICE)?)?);
    Ok(())
}

#[test]
fn freeze_alone_does_not_stop_running_statistics() -> Result<()> {
    let mut model = Model::new(&DEVICE)?;
    model.freeze("**")?;
    assert!(updates_statistics(&model)?);
    model.freeze_in_eval("backbone.**")?;
    assert!(!updates_statistics(&model.backbone)?);
    assert!(!drops(&model.backbone.dropout)?);
    assert!(updates_statistics(&model)?, "the last norm does not match");
    Ok(())
}

#[test]
fn freeze_in_eval_finds_layers_by_parameters_and_by_buffers() -> Result<()> {
    let mut model = Model::new(&DEVICE)?;
    model.freeze_in_eval("backbone.norms.*.weight")?;
    assert!(!updates_statistics(&model.backbone)?);
    assert!(drops(&model.backbone.dropout)?);
    assert_eq!(model.trainable_parameters().len(), model.parameters().len() - 2);

    let mut norm = BatchNorm::config(3).affine(false).init(&DEVICE)?;
    norm.freeze_in_eval("running_mean")?;
    assert!(!updates_statistics(&norm)?);

    let error = model.freeze_in_eval("bakcbone.**").unwrap_err().to_string();
    assert_eq!(error, r#"no parameter or layer of Model matches "bakcbone.**""#);
    Ok(())
}

#[derive(Module)]
#[module(args(norm: Arc<BatchNorm>))]
struct TwoUses {
    #[layer(with = |_| Ok(Arc::clone(&norm)))]
    #[module(mode = eval)]
    pinned: Arc<BatchNorm>,
    #[layer(with = |_| Ok(norm))]
    live: Arc<BatchNorm>,
}

#[test]
fn a_pin_affects_one_use_of_a_shared_layer() -> Result<()> {
    let norm = Arc::new(BatchNorm::config(3).init(&DEVICE)?);
    let network = TwoUses::new(norm, &DEVICE)?;
    assert!(!updates_statistics(&network.pinned)?);
    assert!(updates_statistics(&network.live)?);
    assert_eq!(network.parameters().len(), 2, "the parameters stay tied");
    Ok(())
}

#[test]
fn set_mode_overrides_the_attribute() -> Result<()> {
    let mut helper = Helper::new(&DEVICE)?;
    helper.fixed.set_mode(Mode::Train)?;
    assert!(drops(&helper)?);
    let mut direct = Direct::new(&DEVICE)?;
    direct.fixed.set_mode(Mode::Train)?;
    assert!(drops(&direct)?);
    direct.fixed.set_mode(None)?;
    assert!(!drops(&direct)?, "direct calls pass the mode of the attribute");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| fixed(x))]
struct Direct {
    #[module(mode = eval)]
    fixed: Dropout,
}

/// A part that is pinned and frozen keeps its values in `fit`.
#[test]
fn training_does_not_change_a_part_frozen_in_eval() -> Result<()> {
    let mut model = Trained::new(&DEVICE)?;
    model.norm.freeze_in_eval("**")?;
    let before = values(&model.norm)?;
    let x = Tensor::randn(3f32, 2., (16, 4), &DEVICE)?;
    let y = Tensor::zeros((16, 2), DType::F32, &DEVICE)?;
    let head = values(&model.head)?;
    model.fit(&TensorDataset::new(x, y)?, &(), Epochs(2))?;
    assert_eq!(values(&model.norm)?, before);
    assert_ne!(values(&model.head)?, head);
    Ok(())
}

fn values(network: &impl Network) -> Result<Vec<Vec<f64>>> {
    let tensors = network.named_parameters().into_iter().chain(network.buffers());
    let value = |(_, tensor): (String, Tensor)| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1();
    Ok(tensors.map(value).collect::<sconce::candle::Result<_>>()?)
}

#[derive(Module)]
#[module(loss = mse_loss, optimizer = Sgd::new(0.1))]
struct Trained {
    #[layer(4)]
    norm: BatchNorm,
    #[layer(4, 2)]
    head: Linear,
}
