//! Calls to layers through ordinary Rust: iterators, patterns, conditions, helper functions and macros. Each call must
//! run the right layer, in its own mode and with its own path.

use std::collections::BTreeMap;

use sconce::IndexMap;
use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &DEVICE).expect("a tensor of ones should be created")
}

/// Returns the path of each launch of a forward pass in training mode. The paths lack the name of the network, because
/// `call`, unlike `forward`, does not add it.
fn paths<M: Forward<Signal, Output = Signal>>(network: &M, x: &Tensor) -> Vec<String> {
    let (result, launches) = sconce::trace(|| network.call(x.into(), Mode::Train).into_tensor());
    result.expect("the forward pass should succeed");
    let line = |launch: &sconce::Launch| launch.to_string();
    launches.iter().map(|launch| line(launch).split(':').next().unwrap_or_default().to_string()).collect()
}

/// A network with two lists of layers. The second list is pinned to evaluation mode.
macro_rules! two_lists {
    ($name:ident, $forward:expr) => {
        #[derive(Module)]
        #[module(forward = $forward)]
        struct $name {
            #[layer(3, 3; for _ in 0..2)]
            fcs: Vec<Linear>,
            #[layer(3; for _ in 0..2)]
            #[module(mode = eval)]
            norms: Vec<BatchNorm>,
        }
    };
}

two_lists!(Zipped, |mut x| {
    for (fc, norm) in fcs.iter().zip(norms) {
        x = norm(fc(x));
    }
    x
});
two_lists!(Indexed, |mut x| {
    for i in 0..2 {
        x = norms[i](fcs[i](x));
    }
    x
});
two_lists!(Folded, |x| fcs.iter().zip(norms.iter()).fold(x, |x, (fc, norm)| norm(fc(x))));
two_lists!(Enumerated, |mut x| {
    for (i, fc) in fcs.iter().enumerate() {
        let norm = &norms[i];
        x = norm(fc(x));
    }
    x
});
two_lists!(Matched, |x| match (&fcs[..], &norms[..]) {
    ([fc1, fc2], [norm1, norm2]) => norm2(fc2(norm1(fc1(x)))),
    _ => x,
});
two_lists!(Destructured, |x| {
    let Self { fcs, norms } = self;
    let [fc1, fc2] = &fcs[..] else { return Err(Error::msg("expected two layers")) };
    let pairs = [(fc1, &norms[0]), (fc2, &norms[1])];
    let mut x = x;
    for (fc, norm) in pairs {
        x = norm(fc(x));
    }
    x
});
two_lists!(Collected, |x| {
    let first: Vec<Signal> = fcs.iter().take(1).map(|fc| fc(x)).collect();
    let y = (norms.first().ok_or_else(|| Error::msg("no layer"))?)(first[0]);
    norms[1]((fcs.last().ok_or_else(|| Error::msg("no layer"))?)(y))
});
two_lists!(Shifted, |x| {
    let head = &fcs[..1];
    let tail = &fcs[1..];
    let mut x = x;
    for (fc, norm) in head.iter().chain(tail).zip(norms) {
        x = Some(x).map_or(Signal::from(ones(&[1])), |x| norm(fc(x)));
    }
    x
});

#[test]
fn indirect_calls_keep_the_mode_and_the_path() -> Result<()> {
    fn check<M: Network + Forward<Signal, Output = Signal>>(name: &str, network: &M) -> Result<()> {
        let x = Tensor::randn(0f32, 1., (4, 3), &DEVICE)?;
        let before = statistics(network)?;
        let expected = ["fcs[0]", "norms[0]", "fcs[1]", "norms[1]"];
        let found = unfused_paths(network, &x);
        assert_eq!(found, expected, "{name}");
        assert_eq!(statistics(network)?, before, "{name}: the pinned layers changed their statistics");
        Ok(())
    }

    fn statistics(network: &impl Network) -> Result<Vec<Vec<f32>>> {
        network
            .buffers()
            .iter()
            .map(|(_, buffer)| Ok(buffer.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
            .collect()
    }

    check("Zipped", &Zipped::new(&DEVICE)?)?;
    check("Indexed", &Indexed::new(&DEVICE)?)?;
    check("Folded", &Folded::new(&DEVICE)?)?;
    check("Enumerated", &Enumerated::new(&DEVICE)?)?;
    check("Matched", &Matched::new(&DEVICE)?)?;
    check("Destructured", &Destructured::new(&DEVICE)?)?;
    check("Collected", &Collected::new(&DEVICE)?)?;
    check("Shifted", &Shifted::new(&DEVICE)?)
}

/// Like [`paths`], but without fusion, so that each layer has its own launch.
fn unfused_paths<M: Forward<Signal, Output = Signal>>(network: &M, x: &Tensor) -> Vec<String> {
    sconce::no_fusion(|| paths(network, x))
}

#[derive(Module)]
#[module(forward = |x| relu(norm((self.conv)(x))))]
struct Block {
    #[layer(2, 2, 1)]
    conv: Conv2d,
    #[layer(2)]
    norm: BatchNorm,
}

fn run_in_order<L: Layer>(layers: &[L], x: Signal, mode: Mode) -> Signal {
    layers.iter().fold(x, |x, layer| layer.call(x, mode))
}

#[derive(Module)]
#[module(forward = |x| {
    let block = if deep { &blocks[1] } else { &blocks[0] };
    let x = (block.conv)(x);
    let x = (if deep { &pair.0 } else { &pair.1 })(x);
    let x = run_in_order(&blocks[1..], x, mode);
    let x = match last {
        Some(layer) => layer(x),
        None => x,
    };
    let apply = [relu, sigmoid];
    let x = apply.iter().fold(x, |x, activation| activation(x));
    heads["b"](maps[name](x) + (boxed[0])(x))
})]
struct Chosen {
    #[layer(; for _ in 0..2)]
    blocks: Vec<Block>,
    #[layer((2, 2, 1), (2, 2, 1))]
    pair: (Conv2d, Conv2d),
    #[layer(2, 2, 1; if true)]
    last: Option<Conv2d>,
    #[layer(with = heads)]
    heads: IndexMap<String, Conv2d>,
    #[layer(with = maps)]
    maps: BTreeMap<String, Conv2d>,
    #[layer(with = boxed)]
    boxed: Vec<Box<dyn Layer>>,
    #[module(skip = true)]
    deep: bool,
    #[module(skip = "a")]
    name: &'static str,
}

fn heads(vb: sconce::nn::VarBuilder) -> Result<IndexMap<String, Conv2d>> {
    ["b", "a"]
        .into_iter()
        .map(|name| Ok((name.into(), Conv2d::config(2, 2, 1).build(vb.pp(name))?)))
        .collect()
}

fn maps(vb: sconce::nn::VarBuilder) -> Result<BTreeMap<String, Conv2d>> {
    Ok(heads(vb)?.into_iter().collect())
}

fn boxed(vb: sconce::nn::VarBuilder) -> Result<Vec<Box<dyn Layer>>> {
    Ok(vec![Box::new(Conv2d::config(2, 2, 1).build(vb.pp(0))?)])
}

#[test]
fn chosen_layers_have_their_own_paths() -> Result<()> {
    let network = Chosen::new(&DEVICE)?;
    let (result, launches) = sconce::trace(|| sconce::no_fusion(|| network.forward(ones(&[1, 2, 3, 3]))));
    result?;
    let paths: Vec<String> = launches.iter().map(ToString::to_string).collect();
    let convolutions: Vec<&str> = paths
        .iter()
        .filter(|line| line.contains("conv2d"))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(
        convolutions,
        [
            "Chosen.blocks[1].conv",
            "Chosen.pair[0]",
            "Chosen.blocks[1].conv",
            "Chosen.last",
            "Chosen.maps.a",
            "Chosen.boxed[0]",
            "Chosen.heads.b",
        ]
    );
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    for (i, fc) in fcs.iter().enumerate().rev() {
        if i != 1 {
            fc(x).into_tensor()?;
        }
    }
    x
})]
struct Failing {
    #[layer(3 + i, 3; for i in 0..2)]
    fcs: Vec<Linear>,
}

#[test]
fn errors_name_the_layer_that_failed() -> Result<()> {
    let error = Failing::new(&DEVICE)?.forward(ones(&[1, 2])).expect_err("the width does not match");
    assert!(error.to_string().contains("Failing.fcs[0]"), "{error}");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| heads["c"](x))]
struct MissingKey {
    #[layer(with = heads)]
    heads: IndexMap<String, Conv2d>,
}

#[derive(Module)]
#[module(forward = |x| stages[1][2](x))]
struct MissingIndex {
    #[layer(2, 2, 1; for _ in 0..2, for _ in 0..2)]
    stages: Vec<Vec<Conv2d>>,
}

#[test]
fn missing_elements_are_errors() -> Result<()> {
    let x = ones(&[1, 2, 3, 3]);
    let error = MissingKey::new(&DEVICE)?.forward(&x).expect_err("there is no such head");
    assert_eq!(error.to_string(), r#"at MissingKey.heads.c: no layer `c` among ["b", "a"]"#);
    let error = MissingIndex::new(&DEVICE)?.forward(&x).expect_err("there is no such layer");
    assert_eq!(error.to_string(), "at MissingIndex.stages[1][2]: index 2 is out of range for 2 layers");
    Ok(())
}

macro_rules! twice {
    ($e:expr) => {{
        let a = $e;
        &a + &a
    }};
}

macro_rules! residual {
    ($x:ident, $branch:expr) => {{
        let h = $branch;
        $x + h
    }};
}

macro_rules! pick {
    ($condition:expr => $then:expr, else $otherwise:expr) => {
        if $condition { $then } else { $otherwise }
    };
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(Error::msg(format!($($message)*)));
        }
    };
}

#[derive(Module)]
#[module(forward = |x| {
    ensure!(fc(x).rank()? == 2, "expected 2 dimensions, found {}", x.rank()?);
    assert!(matches!(self.fc(x).dims(), Ok([_, 3])));
    assert!(matches!(norm, Some(norm) if norm.kind() == "LayerNorm"), "{depth}");
    let y = twice!(fc(x));
    let y = residual!(y, dbg!(fcs[0](x)));
    let y = pick!(depth > 1 => fcs[1](y), else y);
    let all = vec![fc(y), y];
    println!("{mode:?} {depth} {} {x:?}", fc(x).rank()?);
    all.into_iter().fold(x, |a, b| a + b)
})]
struct Macros {
    #[layer(3, 3)]
    fc: Linear,
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
    #[layer(3; if true)]
    norm: Option<LayerNorm>,
    #[module(skip = 2)]
    depth: usize,
}

#[test]
fn macros_may_call_layers() -> Result<()> {
    let network = Macros::new(&DEVICE)?;
    let x = Tensor::randn(0f32, 1., (2, 3), &DEVICE)?;
    let call = |layer: &Linear, x: &Tensor| layer.call(x.into(), Mode::Eval).into_tensor();
    let y = ((call(&network.fc, &x)? * 2.)? + call(&network.fcs[0], &x)?)?;
    let y = call(&network.fcs[1], &y)?;
    let expected = ((&x + call(&network.fc, &y)?)? + y)?;
    let difference = (network.forward(&x)? - expected)?.abs()?.flatten_all()?.to_vec1::<f32>()?;
    assert!(difference.iter().all(|difference| *difference < 1e-5), "{difference:?}");
    let error = network.forward(ones(&[3])).expect_err("there is one dimension");
    assert!(error.to_string().contains("expected 2 dimensions, found 1"), "{error}");
    Ok(())
}

/// A macro that calls its first argument.
macro_rules! apply {
    ($f:expr, $x:expr) => {
        $f($x)
    };
}

#[derive(Module)]
#[module(forward = |x| apply!(relu, apply!(|x| fcs[1](fcs[0](x)), x.clone())) + apply!(|y| fcs[0](y), x))]
struct Applied {
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
}

#[test]
fn a_macro_that_calls_its_argument_accepts_a_closure() -> Result<()> {
    let network = Applied::new(&DEVICE)?;
    assert_eq!(network.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    let error = network.forward(ones(&[1, 2])).expect_err("2 features are too few");
    assert_eq!(error.path(), "Applied.fcs[0]");
    Ok(())
}

/// A trait whose method `scales` has a name similar to that of the layer `scale`.
trait Scales {
    fn scales(&self, x: Signal) -> Signal;
}

impl Scales for SimilarNames {
    fn scales(&self, x: Signal) -> Signal {
        x * 3.0
    }
}

impl SimilarNames {
    fn clas(&self, x: Signal, factor: f64) -> Signal {
        x * factor
    }
}

#[derive(Module)]
#[module(forward = |x| self.clas(self.scales(x), 2.0) + self.class(scale(x)) * 0.0)]
struct SimilarNames {
    #[layer(3, 3)]
    class: Linear,
    scale: Relu,
}

#[test]
fn methods_may_have_names_similar_to_those_of_layers() -> Result<()> {
    let y = SimilarNames::new(&DEVICE)?.forward(ones(&[1, 3]))?;
    assert_eq!(y.to_vec2::<f32>()?, [[6.0; 3]]);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| mode(x))]
struct LayerNamedMode {
    #[layer(3, 3)]
    mode: Linear,
}

#[test]
fn a_layer_may_be_named_mode() -> Result<()> {
    assert_eq!(LayerNamedMode::new(&DEVICE)?.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    Ok(())
}

macro_rules! repeat_twice {
    ($($body:tt)*) => {
        for _ in 0..2 {
            $($body)*
        }
    };
}

macro_rules! entries {
    ($($key:expr => $value:expr),*) => {
        BTreeMap::from([$(($key, $value)),*])
    };
}

#[derive(Module)]
#[module(forward = |x| {
    macro_rules! with_x {
        ($y:expr) => {
            &x + $y
        };
    }
    let mut y = with_x!(fc(x));
    repeat_twice! {
        let z = (self.fc)(y);
        for fc in fcs {
            y = fc(z);
        }
    }
    let y = twice!(fcs.iter().fold(y, |y, fc| fc(y)));
    let entries = entries!["a" => pair.0(y), "b" => if fcs.len() == 2 { y } else { x }];
    assert!(matches!(fcs.first(), Some(fc) if fc(x).rank()? == 2));
    dbg!(fc(x));
    dbg!(entries["a"]) + entries["b"]
})]
struct MacrosOfStatements {
    #[layer(3, 3)]
    fc: Linear,
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
    #[layer((3, 3), (3, 3))]
    pair: (Linear, Linear),
}

#[test]
fn macros_may_contain_statements_closures_and_patterns() -> Result<()> {
    let network = MacrosOfStatements::new(&DEVICE)?;
    let x = Tensor::randn(0f32, 1., (2, 3), &DEVICE)?;
    let found = unfused_paths(&network, &x);
    let layers: Vec<&str> = found.iter().map(String::as_str).filter(|path| !path.is_empty()).collect();
    let iteration = ["fc", "fcs[0]", "fcs[1]"];
    let expected =
        [&["fc"], &iteration[..], &iteration, &["fcs[0]", "fcs[1]", "pair[0]", "fcs[0]", "fc"]].concat();
    assert_eq!(layers, expected);
    Ok(())
}

/// A type with the method `encode`, whose name differs from the field `encoder` by one letter.
struct Tools;

impl Tools {
    fn encode(&self, x: Signal) -> Signal {
        x + 1.0
    }
}

/// A value in a forward closure that dereferences to [`Tools`].
struct Handle(Tools);

impl std::ops::Deref for Handle {
    type Target = Tools;

    fn deref(&self) -> &Tools {
        &self.0
    }
}

trait Encode {
    fn encode(self, x: Signal) -> Signal;
}

macro_rules! networks_with_an_encoder {
    ($($name:ident [$($generics:tt)*] [$($arguments:tt)*] $forward:expr;)*) => {$(
        #[derive(Module)]
        #[module(forward = $forward)]
        struct $name<$($generics)*> {
            #[layer(3, 3, bias = false)]
            encoder: Linear,
            _marker: std::marker::PhantomData<[$($arguments)*]>,
        }
    )*};
}

networks_with_an_encoder! {
    Dereferenced [] [u8] |x| encoder(x) + self.encode(x);
    GenericDereferenced [T] [T] |x| encoder(x) + self.encode(x);
    ByTrait [] [u8] |x| encoder(x) + self.encode(x);
    GenericByTrait [T] [T] |x| encoder(x) + self.encode(x);
    OtherReceiver [] [u8] |x| encoder(x) + Handle(Tools).encode(x);
}

impl std::ops::Deref for Dereferenced {
    type Target = Tools;

    fn deref(&self) -> &Tools {
        &Tools
    }
}

impl<T> std::ops::Deref for GenericDereferenced<T> {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &Handle(Tools)
    }
}

impl Encode for &ByTrait {
    fn encode(self, x: Signal) -> Signal {
        x + 1.0
    }
}

impl<T> Encode for &GenericByTrait<T> {
    fn encode(self, x: Signal) -> Signal {
        x + 1.0
    }
}

#[test]
fn methods_by_deref_or_trait_may_have_names_similar_to_those_of_layers() -> Result<()> {
    fn check(network: &(impl Network + Layer)) -> Result<()> {
        // The encoder has no bias and maps zeros to zeros; the method `encode` adds 1.
        let y = network.call(Signal::from((ones(&[1, 3]) * 0.0)?), Mode::Eval).into_tensor()?;
        assert_eq!(y.to_vec2::<f32>()?, [[1.0; 3]]);
        Ok(())
    }
    check(&Dereferenced::new(&DEVICE)?)?;
    check(&GenericDereferenced::<u8>::new(&DEVICE)?)?;
    check(&ByTrait::new(&DEVICE)?)?;
    check(&GenericByTrait::<u8>::new(&DEVICE)?)?;
    check(&OtherReceiver::new(&DEVICE)?)
}
