//! Buffers whose initial values are a tensor.

use std::collections::HashMap;

use sconce::nn::VarBuilder;
use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn message<T>(outcome: Result<T>) -> String {
    outcome.err().expect("expected an error").to_string()
}

/// Returns the numbers `size - 1`, …, 0.
fn reversed(size: usize) -> Result<Tensor> {
    Ok(Tensor::from_iter((0..size as i64).rev(), &DEVICE)?)
}

#[derive(Module)]
#[module(args(width: usize, size: usize = width), forward = |x| x.index_select(1, order) * scale + shift)]
struct Reversed {
    #[buffer(width, init = reversed(size)?)]
    order: Tensor,
    #[buffer(width, init = Tensor::new(&[0.5f64], &DEVICE)?.repeat(size)?)]
    scale: Tensor,
    #[buffer(width, init = ones)]
    shift: Tensor,
}

fn order(network: &Reversed) -> Result<Vec<i64>> {
    Ok(network.order.to_vec1()?)
}

#[test]
fn integers_keep_their_type_and_floats_get_that_of_the_network() -> Result<()> {
    let mut network = Reversed::new(3, &DEVICE)?;
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        network.to_dtype(dtype)?;
        assert_eq!((network.scale.dtype(), order(&network)?), (dtype, vec![2, 1, 0]));
    }
    let network = Reversed::config(3).build(VarBuilder::zeros(DType::F64, &DEVICE))?;
    assert_eq!((network.scale.dtype(), order(&network)?), (DType::F64, vec![2, 1, 0]));
    let y = network.forward(Tensor::new(&[[2f64, 4., 6.]], &DEVICE)?)?;
    assert_eq!(y.to_vec2::<f64>()?, [[3., 2., 1.]]); // `VarBuilder::zeros` also gives zeros for `ones`.
    Ok(())
}

#[test]
fn buffers_are_neither_trainable_nor_shared() -> Result<()> {
    let values = reversed(2)?;
    let shared = values.clone();
    #[derive(Module)]
    #[module(args(values: Tensor), forward = |x| x + values.to_dtype(DType::F32)?)]
    struct Given {
        #[buffer(2, init = values)]
        values: Tensor,
    }
    let network = Given::new(values, &DEVICE)?;
    assert_eq!((network.num_parameters(), network.state_dict().len()), (0, 1));
    shared.slice_set(&Tensor::new(&[7i64], &DEVICE)?, 0, 0)?;
    assert_eq!(network.values.to_vec1::<i64>()?, [1, 0]);
    Ok(())
}

#[test]
fn checkpoints_replace_the_values() -> Result<()> {
    let path = std::env::temp_dir().join(format!("sconce-buffers-{}.safetensors", std::process::id()));
    let tensors: HashMap<&str, Tensor> = HashMap::from([
        ("order", Tensor::new(&[1i64, 2, 0], &DEVICE)?),
        ("scale", Tensor::new(&[1f32, 2., 3.], &DEVICE)?),
        ("shift", Tensor::new(&[4f32, 5., 6.], &DEVICE)?),
    ]);
    sconce::candle::safetensors::save(&tensors, &path)?;
    let built = Reversed::config(3).load(&path, &DEVICE)?;
    let mut loaded = Reversed::new(3, &DEVICE)?;
    loaded.load_with(Load::new(&path))?;
    // candle's own source of tensors.
    let own = Reversed::config(3).build(VarBuilder::from_tensors(
        tensors.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect(),
        DType::F32,
        &DEVICE,
    ))?;
    for network in [built, loaded, own] {
        assert_eq!(order(&network)?, [1, 2, 0]);
        assert_eq!(network.scale.to_vec1::<f32>()?, [1., 2., 3.]);
    }

    let without = tensors.into_iter().filter(|(name, _)| *name == "shift").collect::<HashMap<_, _>>();
    sconce::candle::safetensors::save(&without, &path)?;
    assert!(message(Reversed::config(3).load(&path, &DEVICE)).contains("order"));
    let (partial, _) = Reversed::config(3).load_with(Load::new(&path).partial(), &DEVICE)?;
    assert_eq!(order(&partial)?, [2, 1, 0]);
    assert_eq!(partial.scale.to_vec1::<f32>()?, [0.5; 3]);
    assert_eq!(partial.shift.to_vec1::<f32>()?, [4., 5., 6.]);

    // Tensors of other shapes are not loaded either.
    let other: HashMap<&str, Tensor> = HashMap::from([
        ("order", Tensor::new(&[1i64, 2, 0, 3], &DEVICE)?),
        ("scale", Tensor::new(&[1f32, 2., 3., 4.], &DEVICE)?),
        ("shift", Tensor::new(&[4f32, 5., 6.], &DEVICE)?),
    ]);
    sconce::candle::safetensors::save(&other, &path)?;
    let (partial, _) = Reversed::config(3).load_with(Load::new(&path).partial(), &DEVICE)?;
    assert_eq!((order(&partial)?, partial.scale.to_vec1::<f32>()?), (vec![2, 1, 0], vec![0.5; 3]));
    Ok(std::fs::remove_file(path)?)
}

#[test]
fn candles_sources_give_the_values_or_an_error() -> Result<()> {
    let map = sconce::nn::VarMap::new();
    let network = Reversed::config(3).build(VarBuilder::from_varmap(&map, DType::F32, &DEVICE))?;
    assert_eq!((order(&network)?, network.scale.to_vec1::<f32>()?), (vec![2, 1, 0], vec![0.5; 3]));
    let shift = HashMap::from([("shift".to_string(), Tensor::ones(3, DType::F32, &DEVICE)?)]);
    let error = message(Reversed::config(3).build(VarBuilder::from_tensors(shift, DType::F32, &DEVICE)));
    assert!(error.contains("order"), "{error}");
    Ok(())
}

#[test]
fn values_of_another_shape_are_an_error() {
    let error = message(Reversed::config(3).size(4).init(&DEVICE));
    assert!(error.contains("order: expected shape [3], found [4]"), "{error}");
}
