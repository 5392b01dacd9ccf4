//! Fields that hold several layers: aliases of containers, and containers in containers.

use std::sync::Arc;

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

/// Returns the names of the weights.
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

type Shared = Arc<Linear>;
type Boxed = Box<Linear>;
type BoxedNetwork = Box<Narrow>;
type SharedList = Vec<Arc<Linear>>;
type Pair = (Linear, Shared);

mod networks {
    pub type Layers<T> = Vec<T>;
    pub type Shared<T> = std::sync::Arc<T>;
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

#[derive(Module)]
#[module(args(width: usize))]
struct Narrow {
    #[layer(3, width)]
    fc: Linear,
}

#[derive(Module)]
struct Pointers<A: Layer + Default, const N: usize> {
    #[layer(3, 3)]
    shared: Shared,
    #[layer(3, 3, bias = false)]
    boxed: Boxed,
    #[layer(3)]
    network: BoxedNetwork,
    #[layer(3, 3; for _ in 0..1)]
    list: Vec<Shared>,
    #[layer(3, 3; for _ in 0..1)]
    alias_of_list: SharedList,
    #[layer(3, 3)]
    always: Maybe,
    #[layer((3, 3, bias = true), (3, 3))]
    pair: Pair,
    #[layer(3, 3)]
    qualified: networks::Shared<Linear>,
    #[layer(3, 3; for _ in 0..N)]
    generic: Three<Linear>,
    act: A,
}

mod pointers_to_pointers {
    use super::*;

    pub type OptionalBox = Option<Box<Linear>>;
    pub type OptionalArc = Option<Shared>;
    pub type Nested = Box<Option<Arc<Linear>>>;
    pub type Boxes = Vec<Boxed>;
    pub type OptionalBoxes = Vec<OptionalBox>;
    pub type OptionalList = Option<Vec<Boxed>>;
    pub type Array = [OptionalArc; 2];
    pub type OptionalPair = Option<Arc<Pair>>;
    pub type Pairs = Vec<OptionalPair>;
    pub type Mixed = (OptionalBox, Nested);
}

/// Fields with aliases of pointers to pointers, with and without conditions and ranges.
#[derive(Module, Clone)]
#[module(args(on: bool))]
struct PointersToPointers {
    #[layer(3, 3)]
    optional_box: pointers_to_pointers::OptionalBox,
    #[layer(3, 3, bias = false)]
    optional_arc: pointers_to_pointers::OptionalArc,
    #[layer(3, 3; if on)]
    conditional: pointers_to_pointers::OptionalBox,
    #[layer(3, 3)]
    nested: pointers_to_pointers::Nested,
    #[layer(3, 3)]
    in_a_pointer: Box<pointers_to_pointers::OptionalArc>,
    #[layer(3, 3; for _ in 0..1)]
    boxes: pointers_to_pointers::Boxes,
    #[layer(3, 3; for _ in 0..1)]
    optional_boxes: pointers_to_pointers::OptionalBoxes,
    #[layer(3, 3; for i in 0..2, if i == 1)]
    some: pointers_to_pointers::OptionalBoxes,
    #[layer(3, 3; if on, for _ in 0..1)]
    optional_list: pointers_to_pointers::OptionalList,
    #[layer(3, 3; for _ in 0..2)]
    array: pointers_to_pointers::Array,
    #[layer((3, 3), (3, 3, bias = false))]
    optional_pair: pointers_to_pointers::OptionalPair,
    #[layer((3, 3), (3, 3); for _ in 0..1)]
    pairs: pointers_to_pointers::Pairs,
    #[layer((3, 3), (3, 3))]
    mixed: pointers_to_pointers::Mixed,
}

#[test]
fn aliases_of_pointers_may_be_nested() -> Result<()> {
    let net = PointersToPointers::new(true, &DEVICE)?;
    let expected = [
        "optional_box",
        "optional_arc",
        "conditional",
        "nested",
        "in_a_pointer",
        "boxes.0",
        "optional_boxes.0",
        "some.1",
        "optional_list.0",
        "array.0",
        "array.1",
        "optional_pair.0",
        "optional_pair.1",
        "pairs.0.0",
        "pairs.0.1",
        "mixed.0",
        "mixed.1",
    ];
    assert_eq!(names(&net), expected.map(|name| format!("{name}.weight")));
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    let net = PointersToPointers::new(false, &DEVICE)?;
    assert!(net.conditional.is_none() && net.optional_list.is_none() && net.optional_box.is_some());
    Ok(())
}

type Linears = (Linear, Linear);
type Two<T> = (T, T);

macro_rules! linears {
    () => {
        (Linear, Linear)
    };
}

mod tuples {
    use super::*;

    pub type List = Vec<Linears>;
    pub type Maybe = Option<Linears>;
    pub type Boxed = Box<(Linear, Linear)>;
    pub type Shared = Arc<Linears>;
    pub type Nested = (Linears, Two<Linear>);
    pub type Mixed = (Linears, Relu, Arc<Linear>);
    pub type One = (Linear,);
}

#[derive(Module)]
#[module(args(width: usize, widths: Vec<usize>, on: bool))]
struct Tuples {
    #[layer((3, width), (width, 3))]
    pair: Linears,
    #[layer((3, widths[0]), (widths[0], 3))]
    generic: Two<Linear>,
    #[layer(((3, width), (width, 3)), ((3, width), (width, 3)))]
    nested: tuples::Nested,
    #[layer(((3, width), (width, 3)), (), (3, 3))]
    mixed: tuples::Mixed,
    #[layer((3, width), (width, 3); for _ in 0..2)]
    list: tuples::List,
    #[layer((3, width), (width, 3); for _ in 0..1)]
    array: [Linears; 1],
    #[layer((3, width), (width, 3); if on)]
    maybe: tuples::Maybe,
    #[layer((3, width), (width, 3); if on)]
    optional: Option<Linears>,
    #[layer((3, width), (width, 3))]
    boxed: tuples::Boxed,
    #[layer((3, width), (width, 3))]
    shared: tuples::Shared,
    #[layer((3, width), (width, 3))]
    by_macro: linears!(),
    #[layer((3, 3))]
    one: tuples::One,
    #[layer((3, 3), (3, 3))]
    one_layer: Sides,
    #[layer((1, 3))]
    norm: LayerNorm,
}

/// A network whose arguments are tuples.
#[derive(Module)]
#[module(args(up: (usize, usize), down: (usize, usize)))]
struct Sides {
    #[layer(up.0, up.1)]
    up: Linear,
    #[layer(down.0, down.1)]
    down: Linear,
}

#[test]
fn aliases_of_tuples_are_tuples() -> Result<()> {
    let net = Tuples::new(5, vec![4], true, &DEVICE)?;
    let pairs = [
        "pair", "generic", "nested.0", "nested.1", "mixed.0", "list.0", "list.1", "array.0", "maybe",
        "optional", "boxed", "shared", "by_macro",
    ];
    let mut expected: Vec<String> =
        pairs.iter().flat_map(|name| [0, 1].map(|i| format!("{name}.{i}.weight"))).collect();
    // `mixed` has a third layer, which is not part of a pair.
    expected.insert(10, "mixed.2.weight".into());
    expected.extend(["one.0", "one_layer.up", "one_layer.down", "norm"].map(|name| format!("{name}.weight")));
    assert_eq!(names(&net), expected);
    assert_eq!(net.generic.0.weight().dims(), [4, 3]);
    let error = net.forward(ones(&[1, 2])).expect_err("2 features are too few");
    assert_eq!(error.path(), "Tuples.pair[0]");
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    assert!(Tuples::new(5, vec![4], false, &DEVICE)?.maybe.is_none());
    Ok(())
}

type Convolutions = (Conv2d, Conv2d);

#[derive(Module)]
#[module(args(kernel: usize), forward = |x| {
    let (first, second) = pair;
    second(first(x)) + pair(x) + pairs[0](x)
})]
struct CalledTuples {
    #[layer((3, 3, 1), (3, 3, kernel))]
    pair: Convolutions,
    #[layer((3, 3, 1), (3, 3, kernel); for _ in 0..1)]
    #[module(mode = eval)]
    pairs: Vec<Convolutions>,
}

#[test]
fn aliases_of_tuples_are_called_and_name_their_layers() -> Result<()> {
    let x = ones(&[1, 3, 4, 4]);
    assert_eq!(CalledTuples::new(1, &DEVICE)?.forward(&x)?.dims(), [1, 3, 4, 4]);
    let error = CalledTuples::new(0, &DEVICE).err().expect("a kernel has at least one pixel");
    assert_eq!(error.path(), "CalledTuples.pair[1]");
    let error = CalledTuples::new(5, &DEVICE)?.forward(&x).expect_err("the kernel is larger than the input");
    assert_eq!(error.path(), "CalledTuples.pair[1]");
    Ok(())
}

#[test]
fn aliases_of_pointers_are_pointers() -> Result<()> {
    let net = Pointers::<Relu, 3>::new(&DEVICE)?;
    let expected = [
        "shared",
        "boxed",
        "network.fc",
        "list.0",
        "alias_of_list.0",
        "always",
        "pair.0",
        "pair.1",
        "qualified",
        "generic.0",
        "generic.1",
        "generic.2",
    ];
    assert_eq!(names(&net), expected.map(|name| format!("{name}.weight")));
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    Ok(())
}

#[derive(Module)]
#[module(args(kernel: usize))]
struct Inner {
    #[layer(3, 3, 1; for _ in 0..1)]
    first: Vec<Conv2d>,
    #[layer(3, 3, kernel * i; for _ in 0..1, for i in 0..2)]
    #[module(rename = "grid{1..}")]
    grid: Vec<Vec<Conv2d>>,
}

#[derive(Module)]
#[module(args(kernel: usize, dim: usize))]
struct Invalid {
    #[layer(3, 3, 1; for _ in 0..2)]
    before: Vec<Conv2d>,
    #[layer((3, 3, 1, groups = 1), (3, 3, kernel))]
    pair: (Conv2d, Conv2d),
    #[layer(1 - i.min(dim); for i in 0..2)]
    inner: Vec<Inner>,
    #[layer(3, 3; for _ in 0..dim)]
    array: [Linear; 1],
}

#[test]
fn errors_name_the_element_that_cannot_be_built() -> Result<()> {
    // A convolution with a kernel of size 0 cannot be built. If `kernel` is 0, the second convolution of `pair` has
    // such a kernel. If `kernel` is 1, the first convolution of the grid in `inner[0]` has such a kernel, because its
    // size is `kernel * i` with `i` = 0.
    let path = |result: Result<Invalid>| result.err().map(|error| error.path().to_owned());
    assert_eq!(path(Invalid::new(0, 1, &DEVICE)).as_deref(), Some("Invalid.pair[1]"));
    assert_eq!(path(Invalid::new(1, 1, &DEVICE)).as_deref(), Some("Invalid.inner[0].grid[0][0]"));
    Ok(())
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

/// A layer with a function as an argument.
#[derive(Module)]
#[module(args(factor: f64, function: fn(Signal) -> Signal), forward = |x| function(x) * factor)]
struct Apply {
    #[module(skip = function)]
    function: fn(Signal) -> Signal,
    #[module(skip = factor)]
    factor: f64,
}

type ApplyTwice = (Apply, Apply);

/// Tuples of layers that have closures as arguments. The derive must pass the closures directly to `config`, which
/// determines the types of their parameters.
#[derive(Module)]
struct Closures {
    #[layer((2.0, |x| x.abs()), (3.0, move |x| x + 1.0))]
    inferred: ApplyTwice,
    #[layer((2.0, |x: Signal| x.abs()), (3.0, |x: Signal| x + 1.0))]
    annotated: ApplyTwice,
}

#[test]
fn closures_may_be_arguments_in_aliases_of_tuples() -> Result<()> {
    let y = Closures::new(&DEVICE)?.forward((ones(&[1]) * -1.0)?)?;
    // Each tuple maps `x` to `(2 · |x| + 1) · 3`.
    assert_eq!(y.to_vec1::<f32>()?, [57.0]);
    Ok(())
}
