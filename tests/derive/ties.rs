//! Tied parameters stay tied after every method that copies or replaces tensors.

use std::sync::Arc;

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

#[derive(Module, Clone, Debug)]
struct Block {
    #[layer(4, 4)]
    fc: Linear,
    #[layer(4)]
    norm: BatchNorm,
}

/// A network with a tied parameter and one block in two fields.
#[derive(Module, Clone)]
#[module(args(block: Arc<Block>))]
struct Tied {
    #[layer(4, 4, bias = false)]
    first: Linear,
    #[layer(4, 4, bias = false)]
    #[module(tie = "first.weight")]
    last: Linear,
    #[layer(with = |_| Ok(Arc::clone(&block)))]
    one: Arc<Block>,
    #[layer(with = |_| Ok(block))]
    two: Arc<Block>,
}

const PARAMETERS: [&str; 5] =
    ["first.weight", "one.fc.weight", "one.fc.bias", "one.norm.weight", "one.norm.bias"];
const BUFFERS: usize = 3;

fn tied() -> Result<Tied> {
    Tied::new(Arc::new(Block::new(&DEVICE)?), &DEVICE)
}

/// Checks that tied parameters are listed once, and that `network` and `original` return the same output.
#[track_caller]
fn assert_tied(network: &Tied, original: &Tied) -> Result<()> {
    let names: Vec<String> = network.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, PARAMETERS);
    assert_eq!(network.buffers().len(), BUFFERS);
    let x = Tensor::arange(0f32, 8., &DEVICE)?.reshape((2, 4))?;
    let run = |network: &Tied| -> Result<Vec<f64>> {
        let dtype = network.parameters()[0].dtype();
        let y = network.forward(x.to_dtype(dtype)?)?;
        Ok(y.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
    };
    for (found, expected) in run(network)?.into_iter().zip(run(original)?) {
        assert!((found - expected).abs() < 1e-4, "found {found}, expected {expected}");
    }
    Ok(())
}

/// Returns the names of the trainable parameters.
fn trainable(network: &Tied) -> Vec<String> {
    network.trainable_parameters().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn copies_are_tied() -> Result<()> {
    let network = tied()?;
    let copies =
        [network.clone(), network.share(), network.detached(), network.inference()?, network.deep_clone()?];
    for copy in &copies {
        assert_tied(copy, &network)?;
        assert_tied(&copy.deep_clone()?, &network)?;
        assert_tied(&copy.detached(), &network)?;
    }
    Ok(())
}

#[test]
fn converted_networks_are_tied() -> Result<()> {
    let network = tied()?;
    let mut copy = network.deep_clone()?;
    copy.to_dtype(DType::F64)?;
    assert_tied(&copy, &network)?;
    assert_eq!(trainable(&copy), PARAMETERS);
    copy.to_device(&DEVICE)?;
    assert_tied(&copy, &network)?;
    copy.set_mode(Mode::Eval)?;
    assert_tied(&copy, &network)
}

/// A parameter that is frozen by one of its names is frozen under all of them.
#[test]
fn frozen_networks_are_tied() -> Result<()> {
    let network = tied()?;
    for pattern in ["first.weight", "last.weight", "last.**"] {
        let mut copy = network.deep_clone()?;
        copy.freeze(pattern)?;
        assert_tied(&copy, &network)?;
        assert_eq!(trainable(&copy), PARAMETERS[1..], "{pattern}");
        copy.unfreeze("last.weight")?;
        assert_tied(&copy, &network)?;
        assert_eq!(trainable(&copy), PARAMETERS, "{pattern}");
    }
    for pattern in ["one.**", "two.**"] {
        let mut copy = network.deep_clone()?;
        copy.freeze_in_eval(pattern)?;
        assert_tied(&copy, &network)?;
        assert_eq!(trainable(&copy), PARAMETERS[..1], "{pattern}");
    }
    Ok(())
}

#[test]
fn loaded_networks_are_tied() -> Result<()> {
    let network = tied()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("tied.safetensors");
    network.save(&path)?;
    let (trained, frozen) = (tied()?, tied()?.inference()?);
    for mut other in [trained, frozen] {
        other.load_state_dict(&network.state_dict())?;
        assert_tied(&other, &network)?;
        let mut partial = other.deep_clone()?;
        partial.load_with(Load::new(&path).partial())?;
        assert_tied(&partial, &network)?;
    }
    let built = Tied::config(Arc::new(Block::new(&DEVICE)?)).load(&path, &DEVICE)?;
    assert_tied(&built, &network)
}

#[test]
fn a_deep_clone_has_its_own_storage() -> Result<()> {
    let network = tied()?;
    let mut frozen = network.deep_clone()?;
    frozen.freeze("first.**")?;
    let copy = frozen.deep_clone()?;
    assert_eq!(trainable(&copy), PARAMETERS[1..], "frozen parameters stay frozen");

    let copy = network.deep_clone()?;
    let before = network.parameters()[0].to_vec2::<f32>()?;
    let (name, weight) = &copy.trainable_parameters()[0];
    assert_eq!(name, "first.weight");
    weight.set(&weight.zeros_like()?)?;
    assert_eq!(network.parameters()[0].to_vec2::<f32>()?, before);
    assert_eq!(copy.last.weight().sum_all()?.to_scalar::<f32>()?, 0., "both names see the change");

    let x = Tensor::randn(5f32, 2., (8, 4), &DEVICE)?;
    copy.forward_t(&x, true)?;
    let batches = |network: &Tied| network.buffers()[2].1.to_scalar::<i64>();
    // The block of `copy` has run twice, once for each of its two fields.
    assert_eq!((batches(&copy)?, batches(&network)?), (2, 0));
    Ok(())
}
