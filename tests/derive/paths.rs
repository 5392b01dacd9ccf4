//! The paths of layers that the user's own functions call: free and generic functions, methods of a network, functions
//! that choose a layer, and layers behind pointers. Errors and traces must have the same path as for a direct call.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sconce::prelude::*;
use sconce::{Visitor, VisitorMut};

const DEVICE: Device = Device::Cpu;

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &DEVICE).expect("a tensor of ones should be created")
}

/// Returns the paths of the linear layers and convolutions that `forward` runs, in order.
fn paths(forward: impl FnOnce() -> Result<Tensor>) -> Result<Vec<String>> {
    let (result, launches) = sconce::trace(|| sconce::no_fusion(forward));
    result?;
    let is_layer = |line: &String| line.contains("linear") || line.contains("conv2d");
    let lines = launches.iter().map(ToString::to_string).filter(is_layer);
    Ok(lines.map(|line| line.split(':').next().unwrap_or_default().to_string()).collect())
}

fn linear(inputs: usize, outputs: usize) -> Result<Linear> {
    Linear::config(inputs, outputs).init(&DEVICE)
}

fn free(layer: &Linear, x: Signal, mode: Mode) -> Signal {
    layer.call(x, mode)
}

fn generic<M: Forward<Signal, Output = Signal>>(layer: &M, x: Signal, mode: Mode) -> Signal {
    layer.call(x, mode)
}

fn any(layer: &dyn Layer, x: Signal, mode: Mode) -> Signal {
    layer.call(x, mode)
}

fn second<L: Layer>(layers: &[L], x: Signal, mode: Mode) -> Signal {
    layers[1].call(x, mode)
}

fn tensors(layer: &Linear, x: &Signal) -> Result<Tensor> {
    layer.forward(x.tensor()?)
}

fn with_function(apply: impl Fn(Signal) -> Signal, x: Signal) -> Signal {
    apply(x)
}

#[derive(Module)]
#[module(forward = |x| {
    let x = free(&fcs[0], x, mode);
    let x = free(first, x, mode);
    let x = generic(&pair.1, x, mode);
    let x = generic(last, x, mode);
    let x = any(&pair.0, x, mode);
    let x = second(fcs, x, mode);
    let x = Signal::from(tensors(first, &x)?);
    let x = with_function(|x| free(&fcs[1], x, mode), x);
    self.method(x, mode)
})]
struct Helpers {
    #[layer(3, 3)]
    first: Linear,
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
    #[layer((3, 3), (3, 3))]
    pair: (Linear, Linear),
    #[layer(3, 3; if true)]
    last: Option<Linear>,
}

impl Helpers {
    fn method(&self, x: Signal, mode: Mode) -> Signal {
        free(&self.fcs[1], self.first.call(x, mode), mode)
    }
}

#[test]
fn helper_functions_name_the_layers_that_they_call() -> Result<()> {
    let network = Helpers::new(&DEVICE)?;
    let mut expected: Vec<String> =
        ["fcs[0]", "first", "pair[1]", "last", "pair[0]", "fcs[1]", "first", "fcs[1]"]
            .iter()
            .chain(&["first", "fcs[1]"])
            .map(|path| format!("Helpers.{path}"))
            .collect();
    assert_eq!(paths(|| network.forward(ones(&[2, 3])))?, expected);
    // With fusion, deferred operations keep the paths at which they were called.
    let (result, launches) = sconce::trace(|| network.forward(ones(&[2, 3])));
    result?;
    let found: Vec<&str> = launches.iter().map(|launch| launch.path.as_str()).collect();
    assert_eq!(found, expected);
    // Unlike `forward`, `call` does not add the name of the outermost network.
    expected.iter_mut().for_each(|path| *path = path.replace("Helpers.", ""));
    assert_eq!(paths(|| network.call(ones(&[2, 3]).into(), Mode::Eval).into_tensor())?, expected);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| if wide { free(&fcs[1], x, mode) } else { choose(fcs, &x, mode) })]
struct Chosen {
    #[layer(3 + i, 3; for i in 0..3)]
    fcs: Vec<Linear>,
    #[module(skip = false)]
    wide: bool,
}

/// Calls the layer whose number of inputs fits `x`, or the last layer if there is none.
fn choose(layers: &[Linear], x: &Signal, mode: Mode) -> Signal {
    let width = x.dims().map(|dims| dims[1]).unwrap_or_default();
    let fitting = layers.iter().find(|layer| layer.weight().dims()[1] == width);
    fitting.unwrap_or(&layers[2]).call(x.clone(), mode)
}

#[test]
fn errors_in_helper_functions_name_the_layer() -> Result<()> {
    let mut network = Chosen::new(&DEVICE)?;
    assert_eq!(paths(|| network.forward(ones(&[1, 4])))?, ["Chosen.fcs[1]"]);
    let error = network.forward(ones(&[1, 7])).expect_err("no layer has 7 inputs").to_string();
    assert!(error.starts_with("at Chosen.fcs[2] (Linear 5→3)"), "{error}");
    network.wide = true;
    let error = network.forward(ones(&[1, 3])).expect_err("the layer has 4 inputs").to_string();
    assert!(error.starts_with("at Chosen.fcs[1] (Linear 4→3)"), "{error}");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| generic(act, free(fc, x, mode), mode))]
struct Block {
    #[layer(3, 3)]
    #[module(rename = "0")]
    fc: Linear,
    act: Relu,
}

/// A network whose fields run in order.
#[derive(Module)]
struct Stage {
    #[layer(3, 3)]
    fc: Linear,
    #[layer(; for _ in 0..2)]
    blocks: Vec<Block>,
}

#[derive(Module)]
#[module(forward = |x| {
    let x = second(blocks, x, mode);
    let x = stage(x);
    let x = generic(stage, x, mode);
    let x = free(&stage.blocks[1].fc, x, mode);
    let x = Signal::from(stage.blocks[0].forward(x.tensor()?)?);
    let x = with_function(|x| blocks[0](x), x);
    with_function(|x| free(&pair.0, pair.1(x), mode), x)
})]
struct Nested {
    #[layer(; for _ in 0..2)]
    #[module(rename = "layer{1..}")]
    blocks: Vec<Block>,
    #[layer()]
    #[module(rename = "")]
    stage: Stage,
    #[layer()]
    #[module(rename = "tail")]
    pair: Pair,
}

#[derive(Module)]
struct Pair(#[layer(3, 3)] Linear, #[layer(3, 3)] Linear);

#[test]
fn nested_networks_find_their_own_layers() -> Result<()> {
    let network = Nested::new(&DEVICE)?;
    let stage = ["stage.fc", "stage.blocks[0].fc", "stage.blocks[1].fc"];
    let expected = [
        &["blocks[1].fc"][..],
        &stage,
        &stage,
        &["stage.blocks[1].fc", "stage.blocks[0].fc", "blocks[0].fc", "pair[1]", "pair[0]"],
    ]
    .concat();
    let expected: Vec<String> = expected.iter().map(|path| format!("Nested.{path}")).collect();
    assert_eq!(paths(|| network.forward(ones(&[2, 3])))?, expected);
    Ok(())
}

/// A network that calls one of its own layers, and a layer that the caller passes as an input.
#[derive(Module)]
#[module(forward = |x, shared: Arc<Linear>| free(&shared, fc(x), mode))]
struct Borrower {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x| borrowers[1](borrowers[0](x, Arc::clone(shared)), Arc::clone(skipped)))]
struct Lender {
    #[layer(3, 3)]
    shared: Arc<Linear>,
    #[layer(; for _ in 0..2)]
    borrowers: Vec<Borrower>,
    /// A layer that the network does not contain as a module.
    #[module(skip = Arc::new(linear(3, 3)?))]
    skipped: Arc<Linear>,
}

#[test]
fn layers_of_outer_networks_have_their_own_path_and_skipped_layers_have_the_path_of_the_caller() -> Result<()>
{
    let network = Lender::new(&DEVICE)?;
    let expected = ["borrowers[0].fc", "shared", "borrowers[1].fc", "borrowers[1]"];
    let expected: Vec<String> = expected.iter().map(|path| format!("Lender.{path}")).collect();
    assert_eq!(paths(|| network.forward(ones(&[2, 3])))?, expected);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let x = any(&*layers[1], x, mode);
    let x = any(layers[0].as_ref(), x, mode);
    let layer = &*layers[1];
    let x = layer(x);
    let x = layers.iter().fold(x, |x, layer| generic(layer, x, mode));
    let alias = Arc::clone(shared);
    let x = alias(x);
    let x = free(shared, x, mode);
    let x = generic(&alias, x, mode);
    let x = maybe.as_ref().map_or(x.clone(), |layer| layer.call(x, mode));
    free(boxed, x, mode)
})]
struct Pointers {
    #[layer(with = boxed_layers)]
    layers: Vec<Box<dyn Layer>>,
    #[layer(3, 3)]
    shared: Arc<Linear>,
    #[layer(3, 3; if true)]
    maybe: Option<Box<Linear>>,
    #[layer(3, 3)]
    boxed: Box<Linear>,
}

fn boxed_layers(vb: sconce::nn::VarBuilder) -> Result<Vec<Box<dyn Layer>>> {
    Ok(vec![
        Box::new(Linear::config(3, 3).build(vb.pp(0))?),
        Box::new(vec![Linear::config(3, 3).build(vb.pp(1).pp(0))?]),
    ])
}

#[test]
fn layers_behind_pointers_have_the_paths_of_the_pointers() -> Result<()> {
    let network = Pointers::new(&DEVICE)?;
    let layers = ["layers[1][0]", "layers[0]", "layers[1][0]", "layers[0]", "layers[1][0]"];
    let expected = layers.iter().chain(&["shared", "shared", "shared", "maybe", "boxed"]);
    let expected: Vec<String> = expected.map(|path| format!("Pointers.{path}")).collect();
    assert_eq!(paths(|| network.forward(ones(&[2, 3])))?, expected);
    Ok(())
}

/// A network that implements the traits by hand, and calls its layers without stating their names.
struct ByHand {
    fcs: Vec<Linear>,
    head: Box<dyn Layer>,
}

impl Module for ByHand {
    fn kind(&self) -> Cow<'static, str> {
        "ByHand".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.child("fcs", &self.fcs);
        visitor.child("head", &self.head);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.child("fcs", &mut self.fcs);
        visitor.child("head", &mut self.head);
    }

    fn share(&self) -> Self {
        Self { fcs: self.fcs.share(), head: self.head.share() }
    }
}

impl Forward for ByHand {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        let x = self.fcs.iter().fold(x, |x, fc| fc.call(x, mode));
        self.head.call(x, mode)
    }
}

impl Default for ByHand {
    fn default() -> Self {
        let linear = || linear(3, 3).expect("the layer is valid");
        Self { fcs: vec![linear(), linear()], head: Box::new(linear()) }
    }
}

#[derive(Module)]
#[module(forward = |x| generic(body, body(x), mode))]
struct AroundByHand {
    body: ByHand,
}

#[test]
fn a_network_written_by_hand_need_not_name_the_layers_that_it_calls() -> Result<()> {
    let network = AroundByHand::new(&DEVICE)?;
    let layers = ["fcs[0]", "fcs[1]", "head"];
    let around: Vec<String> = layers.iter().map(|path| format!("AroundByHand.body.{path}")).collect();
    assert_eq!(paths(|| network.forward(ones(&[2, 3])))?, [&around[..], &around].concat());
    let by_hand = network.body;
    assert_eq!(paths(|| by_hand.call(ones(&[2, 3]).into(), Mode::Eval).into_tensor())?, layers);
    let error = by_hand.call(ones(&[2, 4]).into(), Mode::Eval).error().map(ToString::to_string);
    assert!(error.as_ref().is_some_and(|error| error.starts_with("at fcs[0] (Linear 3→3)")), "{error:?}");
    let evaluated = || Ok(sconce::candle::Module::forward(&by_hand.eval(), &ones(&[2, 3]))?);
    assert_eq!(paths(evaluated)?, layers.map(|path| format!("ByHand.{path}")));
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let (y, (h, c)) = run_lstm(lstm, x, state, mode);
    let weights = attend(&attentions[1], &y, mode);
    let [h, c] = [h, c].map(|state| state.squeeze(0));
    (y, weights + (h + c).unsqueeze(1))
})]
struct SeveralInputs {
    #[layer(3, 4)]
    lstm: LSTM,
    #[layer(4, 2, batch_first = true; for _ in 0..2)]
    attentions: Vec<MultiheadAttention>,
    #[module(skip = Tensor::zeros((1, 2, 4), DType::F32, &DEVICE)?)]
    state: Tensor,
}

fn run_lstm(lstm: &LSTM, x: Signal, state: &Tensor, mode: Mode) -> (Signal, (Signal, Signal)) {
    lstm.call_with((x, (state.into(), state.into())), mode)
}

fn attend(attention: &MultiheadAttention, x: &Signal, mode: Mode) -> Signal {
    attention.call_with((x.transpose(0, 1), x.transpose(0, 1), x.transpose(0, 1)), mode).0
}

#[test]
fn layers_with_several_inputs_have_paths() -> Result<()> {
    let network = SeveralInputs::new(&DEVICE)?;
    let (result, launches) = sconce::trace(|| network.forward(ones(&[5, 2, 3])));
    result?;
    let lines: Vec<String> = launches.iter().map(ToString::to_string).collect();
    for expected in ["SeveralInputs.lstm: lstm", "SeveralInputs.attentions[1]: multi_head_attention"] {
        assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
    }
    let error = network.forward(ones(&[5, 2, 7])).expect_err("the LSTM has 3 inputs").to_string();
    assert!(error.starts_with("at SeveralInputs.lstm "), "{error}");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let output = std::thread::scope(|scope| {
        scope.spawn(|| (fcs[0].call(x.clone(), mode), fcs[0].call(ones(&[1, 5]).into(), mode))).join()
    });
    let (y, failed) = output.map_err(|_| Error::msg("the thread panicked"))?;
    match failed.error() {
        Some(error) => assert!(error.to_string().starts_with("Linear 3→3"), "{error}"),
        None => return Err(Error::msg("expected an error")),
    }
    free(&fcs[1], y, mode)
})]
struct Threads {
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
}

#[test]
fn layers_on_other_threads_have_no_path() -> Result<()> {
    let network = Threads::new(&DEVICE)?;
    let (result, launches) = sconce::trace(|| network.forward(ones(&[2, 3])));
    result?;
    let found: Vec<&str> = launches.iter().map(|launch| launch.path.as_str()).collect();
    assert_eq!(found, ["", "Threads.fcs[1]"]);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let attempt = catch_unwind(AssertUnwindSafe(|| panicking(fcs, x.clone(), mode)));
    assert!(attempt.is_err());
    free(&fcs[1], x, mode)
})]
struct Panics {
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
}

/// A module that panics after its layer has run.
struct Panicking<'a>(&'a Linear);

impl Module for Panicking<'_> {
    fn kind(&self) -> Cow<'static, str> {
        "Panicking".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.child("layer", self.0);
    }

    fn visit_mut(&mut self, _: &mut dyn VisitorMut) {}

    fn share(&self) -> Self {
        Self(self.0)
    }
}

impl Forward for Panicking<'_> {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        let y = self.0.call(x, mode).into_tensor().expect("the layer fits");
        panic!("{:?}", y.dims())
    }
}

fn panicking(layers: &[Linear], x: Signal, mode: Mode) -> Signal {
    Panicking(&layers[0]).call(x, mode)
}

#[test]
fn a_panic_restores_the_path() -> Result<()> {
    let network = Panics::new(&DEVICE)?;
    // The name of a layer in a path comes from the innermost module around the layer. Here, this module is `Panicking`,
    // which names its layer `layer`.
    assert_eq!(paths(|| network.forward(ones(&[2, 3])))?, ["Panics.layer", "Panics.fcs[1]"]);
    let outside =
        catch_unwind(AssertUnwindSafe(|| panicking(&network.fcs, ones(&[2, 3]).into(), Mode::Eval)));
    assert!(outside.is_err());
    let error = network.fcs[0].forward(ones(&[2, 4])).expect_err("the layer has 3 inputs").to_string();
    assert!(error.starts_with("Linear 3→3"), "{error}");
    Ok(())
}

/// A zero-sized layer. Several layers of this type in a network have the same address, so the search for a called layer
/// cannot tell them apart.
#[derive(Clone, Copy, Default, Module)]
#[module(forward = |x| relu(x))]
struct ZeroSized;

#[derive(Module)]
#[module(forward = |x| {
    let mut x = free(fc, x, mode);
    for act in acts.iter().rev() {
        x = generic(act, x, mode);
    }
    generic(only, generic(&units[0], x, mode), mode)
})]
struct Activations {
    #[layer(3, 3)]
    fc: Linear,
    acts: [Relu; 2],
    units: [ZeroSized; 2],
    only: Sigmoid,
}

#[test]
fn layers_without_settings_have_a_path_unless_they_are_zero_sized() -> Result<()> {
    let network = Activations::new(&DEVICE)?;
    let (result, launches) = sconce::trace(|| sconce::no_fusion(|| network.forward(ones(&[2, 3]))));
    result?;
    let found: Vec<&str> = launches.iter().map(|launch| launch.path.as_str()).collect();
    // The path of the called layer in `units` is unknown, so its launch has the path of the network.
    let expected = ["fc", "acts[1]", "acts[0]"].map(|path| format!("Activations.{path}"));
    assert_eq!(found, [&expected[..], &["Activations".into(), "Activations.only".into()]].concat());
    Ok(())
}

/// Calls its subtrees as trait objects.
#[derive(Module)]
enum Tree {
    #[module(forward = |x| free(fc, x, mode))]
    Leaf { fc: Linear },
    #[module(forward = |x| children.iter().fold(x, |x, child| any(child, x, mode)))]
    Node { children: Vec<Tree> },
}

#[test]
fn recursive_networks_have_paths_of_any_depth() -> Result<()> {
    let leaf = || Ok::<_, Error>(Tree::Leaf { fc: linear(3, 3)? });
    let inner = Tree::Node { children: vec![leaf()?, leaf()?] };
    let tree = Tree::Node { children: vec![leaf()?, inner] };
    let expected = ["children[0].fc", "children[1].children[0].fc", "children[1].children[1].fc"];
    let expected: Vec<String> = expected.iter().map(|path| format!("Tree.{path}")).collect();
    assert_eq!(paths(|| tree.forward(ones(&[2, 3])))?, expected);
    Ok(())
}
