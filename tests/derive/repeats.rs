//! Fields that hold several layers: aliases of containers, and containers in containers.

use std::sync::Arc;

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn names(network: &impl Network) -> Vec<String> {
    let names = network.named_parameters().into_iter().map(|(name, _)| name);
    names.filter(|name| name.ends_with("weight")).collect()
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &DEVICE).expect("a tensor of ones should be created")
}

type Blocks = Vec<Linear>;
type Three<T> = [T; 3];
type Maybe = Option<Linear>;
type Stem = (Linear, Relu);
type Stages = Vec<Option<Linear>>;
type Grid = Vec<Blocks>;
type Stems = Vec<Stem>;
type Dynamic = Vec<Box<dyn Layer>>;

mod networks {
    pub type Layers<T> = Vec<T>;
}

#[derive(Module)]
#[module(args(on: bool))]
struct Aliases {
    #[layer(3, 3; for _ in 0..2)]
    list: Blocks,
    #[layer(3, 3; for _ in 0..3)]
    array: Three<Linear>,
    #[layer(3, 3; if on)]
    maybe: Maybe,
    #[layer((3, 3), ())]
    stem: Stem,
    #[layer((3, 3, bias = false), (0.5))]
    pair: (Linear, Dropout),
    #[layer((3, 3, bias = true), (); for _ in 0..1)]
    stems: Stems,
    #[layer(3, 3; for _ in 0..1)]
    qualified: networks::Layers<Linear>,
    act: Activation,
}

type Activation = Relu;

#[derive(Module)]
#[module(args(on: bool, depth: usize = 2))]
struct Nested {
    #[layer(3, 3; if on, for _ in 0..depth)]
    optional_list: Option<Vec<Linear>>,
    #[layer(3, 3, bias = i == j; for i in 0..depth, for j in 0..depth)]
    grid: Vec<Vec<Linear>>,
    #[layer(3, 3; for i in 0..3, if i != 1)]
    some: Vec<Option<Linear>>,
    #[layer(3, 3; for _ in 0..2, for _ in 0..1)]
    alias: Grid,
    #[layer(3, 3; for i in 0..2, if i == 1)]
    alias_of_options: Stages,
    #[layer(3, 3; for _ in 0..2, for _ in 0..depth)]
    arrays: [Vec<Arc<Linear>>; 2],
    #[layer(with = |vb| Ok(Box::new(Linear::config(3, 3).build(vb)?)); for _ in 0..2)]
    dynamic: Dynamic,
    #[layer(3, 3; for _ in 0..1)]
    shared: Vec<Option<Arc<Linear>>>,
}

#[test]
fn aliases_of_containers_are_containers() -> Result<()> {
    let net = Aliases::new(true, &DEVICE)?;
    let expected = [
        "list.0",
        "list.1",
        "array.0",
        "array.1",
        "array.2",
        "maybe",
        "stem.0",
        "pair.0",
        "stems.0.0",
        "qualified.0",
    ];
    assert_eq!(names(&net), expected.map(|name| format!("{name}.weight")));
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    assert!(Aliases::new(false, &DEVICE)?.maybe.is_none());
    Ok(())
}

#[test]
fn containers_can_be_in_containers() -> Result<()> {
    let net = Nested::new(true, &DEVICE)?;
    let expected = [
        "optional_list.0",
        "optional_list.1",
        "grid.0.0",
        "grid.0.1",
        "grid.1.0",
        "grid.1.1",
        "some.0",
        "some.2",
        "alias.0.0",
        "alias.1.0",
        "alias_of_options.1",
        "arrays.0.0",
        "arrays.0.1",
        "arrays.1.0",
        "arrays.1.1",
        "dynamic.0",
        "dynamic.1",
        "shared.0",
    ];
    assert_eq!(names(&net), expected.map(|name| format!("{name}.weight")));
    assert!(net.grid[0][0].bias().is_some() && net.grid[0][1].bias().is_none());
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    assert!(Nested::new(false, &DEVICE)?.optional_list.is_none());
    let small = Nested::config(true).depth(1).init(&DEVICE)?;
    assert_eq!(small.grid.len(), 1);
    Ok(())
}
