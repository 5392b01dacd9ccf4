//! Copies of networks: `Clone`, `Debug`, shared layers and `eval`.

use std::sync::Arc;

use candle_core::TensorId;
use sconce::prelude::*;
use sconce::{candle, nn};

const DEVICE: Device = Device::Cpu;

/// Returns the id of every tensor, by path.
fn ids(network: &impl Network) -> Vec<(String, TensorId)> {
    let tensors = network.named_parameters().into_iter().chain(network.buffers());
    tensors.map(|(name, tensor)| (name, tensor.id())).collect()
}

#[derive(Module, Clone, Debug)]
#[module(args(width: usize))]
struct Block {
    #[layer(width, width)]
    fc: Linear,
    #[layer(width)]
    norm: BatchNorm,
}

#[derive(Module, Clone, Debug)]
struct Printed {
    #[layer(3; for _ in 0..2)]
    blocks: Vec<Block>,
    #[layer(with = |_| Ok(Dropout::config(0.5)))]
    dynamic: Box<dyn Layer>,
    #[param(3)]
    scale: Tensor,
    #[module(skip = 7)]
    count: usize,
}

#[test]
fn a_derived_clone_shares_the_tensors() -> Result<()> {
    let network = Printed::new(&DEVICE)?;
    assert_eq!(ids(&network).len(), 15);
    assert_eq!(ids(&network.clone()), ids(&network));
    assert_eq!(network.clone().count, 7);
    Ok(())
}

#[test]
fn a_derived_debug_prints_the_layers() -> Result<()> {
    let text = format!("{:?}", Printed::new(&DEVICE)?);
    let block = "Block { fc: Linear(in_features=3, out_features=3, bias=True), norm: BatchNorm(3, eps=1e-05, \
                 momentum=0.1, affine=True, track_running_stats=True) }";
    let layers = format!("Printed {{ blocks: [{block}, {block}], dynamic: Dropout(p=0.5, inplace=False), ");
    assert!(text.starts_with(&layers), "{text}");
    assert!(text.ends_with(", count: 7 }"), "{text}");
    Ok(())
}

/// A network whose fields `first` and `second` hold the same layer.
#[derive(Module, Clone, Debug)]
#[module(args(shared: Arc<Linear>))]
struct Twice {
    #[layer(with = |_| Ok(Arc::clone(&shared)))]
    first: Arc<Linear>,
    act: Relu,
    #[layer(with = |_| Ok(shared))]
    second: Arc<Linear>,
}

#[test]
fn an_argument_can_be_a_shared_layer() -> Result<()> {
    let shared = Arc::new(Linear::config(3, 3).init(&DEVICE)?);
    let config = Twice::config(Arc::clone(&shared));
    assert!(format!("{config:?}").contains("Linear(in_features=3"), "{config:?}");
    let network = config.init(&DEVICE)?;
    assert!(Arc::ptr_eq(&network.first, &network.second) && Arc::ptr_eq(&network.first, &shared));
    assert_eq!(network.parameters().len(), 2);
    Ok(())
}

#[test]
fn eval_returns_a_module_for_candles_sequential() -> Result<()> {
    let mut block = Block::new(3, &DEVICE)?;
    let sequence = nn::seq().add(block.eval()).add(nn::Activation::Relu).add(Relu.eval());
    let run = |x: &Tensor| candle::Module::forward(&sequence, x);
    let x = Tensor::randn(0f32, 1., (2, 3), &DEVICE)?;
    let expected = block.forward(&x)?.relu()?;
    assert_eq!(run(&x)?.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
    assert!(
        !run(&x)?.sum_all()?.backward()?.get_ids().count().eq(&0),
        "the module should share the variables"
    );

    let zeros = block.state_dict().into_iter().map(|(name, tensor)| Ok((name, tensor.zeros_like()?)));
    block.load_state_dict(&zeros.collect::<Result<StateDict>>()?)?;
    assert_eq!(block.fc.bias().map(Tensor::to_vec1::<f32>).transpose()?, Some(vec![0.; 3]));
    let error = run(&Tensor::ones((2, 4), DType::F32, &DEVICE)?).unwrap_err().to_string();
    assert!(error.starts_with("at Block.fc (Linear 3→3): "), "{error}");
    Ok(())
}
