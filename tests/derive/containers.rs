//! Containers and networks as fields: nested lists, maps, recursive types, and networks without arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use sconce::IndexMap;
use sconce::nn::VarBuilder;
use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn names(network: &impl Network) -> Vec<String> {
    network.named_parameters().into_iter().map(|(name, _)| name).collect()
}

fn linear(vb: VarBuilder) -> sconce::candle::Result<Linear> {
    Ok(Linear::config(2, 2).bias(false).build(vb)?)
}

fn list(vb: VarBuilder) -> sconce::candle::Result<Vec<Linear>> {
    (0..2).map(|i| linear(vb.pp(i))).collect()
}

#[derive(Module, Clone, Debug)]
struct Nested {
    #[layer(with = list)]
    optional: Option<Vec<Linear>>,
    #[layer(with = list; if false)]
    absent: Option<Vec<Linear>>,
    #[layer(with = |vb| (0..2).map(|i| list(vb.pp(i))).collect())]
    grid: Vec<Vec<Linear>>,
    #[layer(with = |vb| (0..3).map(|i| (i != 1).then(|| linear(vb.pp(i))).transpose()).collect())]
    gaps: Vec<Option<Linear>>,
    #[layer(with = |vb| linear(vb))]
    dynamic: Box<dyn Layer>,
}

#[test]
fn nested_lists_run_in_order() -> Result<()> {
    let network = Nested::new(&DEVICE)?;
    let weights = [
        "optional.0",
        "optional.1",
        "grid.0.0",
        "grid.0.1",
        "grid.1.0",
        "grid.1.1",
        "gaps.0",
        "gaps.2",
        "dynamic",
    ];
    assert_eq!(names(&network), weights.map(|layer| format!("{layer}.weight")));
    let x = Tensor::randn(0f32, 1., (3, 2), &DEVICE)?;
    let product = |x: Tensor, weight: Tensor| x.matmul(&weight.t()?);
    let expected = network.parameters().into_iter().try_fold(x.clone(), product)?;
    let difference = (network.forward(&x)? - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(difference < 1e-6, "{difference}");
    assert_eq!(names(&network.deep_clone()?), names(&network));

    let wrong = network.forward(Tensor::ones((3, 5), DType::F32, &DEVICE)?).unwrap_err();
    assert_eq!(wrong.path(), "Nested.optional[0]");
    Ok(())
}

fn named<M: FromIterator<(String, Linear)>>(vb: VarBuilder) -> sconce::candle::Result<M> {
    ["right", "left"].into_iter().map(|name| Ok((name.to_owned(), linear(vb.pp(name))?))).collect()
}

#[derive(Module, Clone, Debug)]
#[module(forward = |x| self.inserted["right"].call(self.sorted["left"].call(x, mode), mode))]
struct Maps {
    #[layer(with = named)]
    inserted: IndexMap<String, Linear>,
    #[layer(with = named)]
    sorted: BTreeMap<String, Linear>,
}

#[test]
fn maps_name_their_layers_by_key() -> Result<()> {
    let mut network = Maps::new(&DEVICE)?;
    let expected = ["inserted.right", "inserted.left", "sorted.left", "sorted.right"];
    assert_eq!(names(&network), expected.map(|layer| format!("{layer}.weight")));
    let text = network.to_string();
    assert!(text.contains("(inserted): ModuleDict(\n    (right): Linear("), "{text}");

    let x = Tensor::randn(0f32, 1., (3, 2), &DEVICE)?;
    let expected = network.inserted["right"].forward(network.sorted["left"].forward(&x)?)?;
    assert_eq!(network.forward(&x)?.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);

    network.freeze("inserted.**")?;
    assert_eq!(network.trainable_parameters().len(), 2);
    let copy = network.inference()?;
    assert_eq!(copy.forward(&x)?.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
    let mut other = Maps::new(&DEVICE)?;
    other.load_state_dict(&network.state_dict())?;
    assert_eq!(other.forward(&x)?.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
    Ok(())
}

/// A binary tree of layers.
#[derive(Module, Clone, Debug)]
#[module(args(depth: usize))]
struct Tree {
    #[layer(2, 2, bias = false)]
    fc: Linear,
    #[layer(depth - 1; if depth > 0)]
    left: Option<Box<Tree>>,
    #[layer(depth - 1; if depth > 1)]
    right: Option<Box<Tree>>,
}

#[test]
fn a_network_can_contain_itself() -> Result<()> {
    let tree = Tree::new(2, &DEVICE)?;
    let nodes = ["", "left.", "left.left.", "right.", "right.left."];
    assert_eq!(names(&tree), nodes.map(|node| format!("{node}fc.weight")));
    assert_eq!(tree.forward(Tensor::ones((1, 2), DType::F32, &DEVICE)?)?.dims(), [1, 2]);
    let error = tree.forward(Tensor::ones((1, 3), DType::F32, &DEVICE)?).unwrap_err();
    assert_eq!(error.path(), "Tree.fc");
    assert_eq!(names(&tree.deep_clone()?), names(&tree));
    Ok(())
}

#[derive(Module)]
#[module(args(width: usize = 2))]
struct Inner {
    #[layer(2, width)]
    fc: Linear,
}

#[derive(Module)]
struct Outer {
    inner: Inner,
    boxed: Box<Inner>,
    shared: Arc<Inner>,
    act: Relu,
    generic: Wrapper<Relu>,
}

#[derive(Module)]
struct Wrapper<A: Layer + Default> {
    inner: Inner,
    act: A,
}

#[test]
fn a_network_without_required_arguments_needs_no_attribute() -> Result<()> {
    let network = Outer::new(&DEVICE)?;
    let layers = ["inner.fc", "boxed.fc", "shared.fc", "generic.inner.fc"];
    let expected = layers.iter().flat_map(|layer| ["weight", "bias"].map(|name| format!("{layer}.{name}")));
    assert_eq!(names(&network), expected.collect::<Vec<_>>());
    assert_eq!(network.forward(Tensor::ones((1, 2), DType::F32, &DEVICE)?)?.dims(), [1, 2]);

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("outer.safetensors");
    network.save(&path)?;
    let loaded = Outer::config().load(&path, &DEVICE)?;
    let values =
        |network: &Outer| network.parameters().iter().map(|p| p.flatten_all()?.to_vec1::<f32>()).collect();
    let [found, expected]: [sconce::candle::Result<Vec<Vec<f32>>>; 2] = [values(&loaded), values(&network)];
    assert_eq!(found?, expected?);
    Ok(())
}
