//! `#[derive(Module)]` on every kind of item, with every field attribute.

use std::sync::Arc;

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn names(network: &impl Network) -> Vec<String> {
    network.named_parameters().into_iter().map(|(name, _)| name).collect()
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &DEVICE).expect("a tensor of ones should be created")
}

/// A unit struct is the identity.
#[derive(Module)]
struct Unit;

#[derive(Module)]
struct Pair(#[layer(3, 4)] Linear, Relu, #[layer(4, 2, bias = false)] Linear);

#[derive(Module)]
#[module(args(width: usize))]
struct Generic<A: Layer + Default, const N: usize>
where
    A: Send,
{
    #[layer(width, width; for _ in 0..N)]
    blocks: [Linear; N],
    act: A,
}

#[derive(Module)]
#[module(args(width: usize))]
struct Phantom<T: 'static + Send + Sync> {
    #[layer(width, width)]
    fc: Linear,
    marker: std::marker::PhantomData<T>,
}

#[derive(Module)]
#[module(args(deep: bool = false, bias: Option<bool> = None))]
struct Containers {
    #[layer(3, 3; if deep)]
    maybe: Option<Linear>,
    #[layer(3, 3, bias = bias.unwrap_or(true))]
    always: Option<Linear>,
    #[layer(3, 3; for _ in 0..2)]
    list: Vec<Linear>,
    pair: (Relu, Identity),
    #[layer(3, 3)]
    boxed: Box<Linear>,
    #[layer(with = |vb| Ok(Linear::config(3, 3).build(vb)?))]
    dynamic: Box<dyn Layer>,
    #[layer(3, 3)]
    shared: Arc<Linear>,
    #[layer(3, 3; for _ in 0..2)]
    many_shared: Vec<Arc<Linear>>,
    #[layer(with = |vb| sconce::nn::linear(3, 3, vb))]
    candle: sconce::nn::Linear,
}

/// Fields that are tuples of layers. Each layer has its own arguments.
#[derive(Module)]
#[module(args(width: usize), forward = |x| {
    let x = stem(x);
    let x = blocks.iter().fold(x, |x, block| block(x));
    nested(x)
})]
struct Tuples {
    #[layer((3, width, bias = false), (), (width, width))]
    stem: (Linear, Relu, Linear),
    #[layer((width, width), (0.5); for _ in 0..2)]
    blocks: Vec<(Linear, Dropout)>,
    #[layer(((width, 2), ()), ())]
    nested: Option<((Linear, Identity), Relu)>,
}

/// Lists between other fields. Two lists have a `rename` that contains the list index, and a function builds the third.
#[derive(Module)]
#[module(args(depth: usize))]
struct Numbered {
    #[layer(3, 3, bias = false)]
    #[module(rename = "features.0")]
    stem: Linear,
    #[layer(3, 3, bias = false; for i in 0..depth)]
    #[module(rename = "features.{1..}")]
    blocks: Vec<Linear>,
    #[layer(3, 3, bias = false; for _ in 0..2)]
    #[module(rename = "layer{0..}.fc")]
    layers: [Arc<Linear>; 2],
    #[layer(with = alternating)]
    tail: Vec<Box<dyn Layer>>,
    #[layer(3, 3, bias = false)]
    #[module(tie = "layer1.fc.weight")]
    head: Linear,
}

fn alternating(vb: sconce::nn::VarBuilder) -> sconce::candle::Result<Vec<Box<dyn Layer>>> {
    let linear = Linear::config(3, 3).bias(false).build(vb.pp(1))?;
    Ok(vec![Box::new(Relu), Box::new(linear)])
}

#[derive(Module)]
#[module(args(width: usize, deep: bool = false))]
enum Head {
    #[module(when = deep, forward = |x| out(relu(hidden(x))))]
    Deep {
        #[layer(width, width)]
        hidden: Linear,
        #[layer(width, 2)]
        out: Linear,
    },
    Shallow(#[layer(width, 2)] Linear),
}

/// An enum whose variants hold networks that are already built. It has no config.
#[derive(Module)]
enum Either {
    Left(Pair),
    Right(Unit),
}

#[derive(Module)]
#[module(args(depth: usize, names: Vec<String>, label: String = names.join("-")), forward = |x| {
    assert_eq!(label, "a-b");
    (x * scale + shift) * gain
})]
struct Data {
    #[param((1, 3), init = ones)]
    scale: Tensor,
    #[buffer((3,), init = constant(0.5))]
    shift: Tensor,
    #[param(4)]
    #[module(rename = "extra.bias")]
    _bias: Tensor,
    #[module(skip = depth as f64)]
    gain: f64,
    #[module(skip = names)]
    _names: Vec<String>,
    #[module(skip = label)]
    label: String,
    #[module(skip)]
    _cache: Vec<usize>,
}

#[derive(Module)]
#[module(forward = |x| head(embed(x)))]
struct Tied {
    #[layer(3, 3, bias = false)]
    embed: Linear,
    #[layer(3, 3, bias = false)]
    #[module(tie = "embed.weight")]
    head: Linear,
}

#[derive(Module)]
#[module(forward = |x| x.matmul(weight.t()?) + fc(x))]
struct TiedParam {
    #[layer(3, 3)]
    fc: Linear,
    #[param((3, 3))]
    #[module(tie = "fc.weight")]
    weight: Tensor,
}

#[derive(Module)]
struct TiedToMissing {
    #[layer(3, 3)]
    fc: Linear,
    #[layer(3, 3)]
    #[module(tie = "fc.wieght")]
    head: Linear,
}

#[derive(Clone)]
struct Sizes {
    inputs: usize,
    widths: Vec<usize>,
}

#[derive(Module)]
#[module(config = Sizes)]
struct FromSizes {
    #[layer(
        if i == 0 { config.inputs } else { config.widths[i - 1] },
        config.widths[i];
        for i in 0..config.widths.len()
    )]
    layers: Vec<Linear>,
}

#[derive(Module)]
#[module(forward = Self::run)]
struct Function {
    #[layer(3, 3)]
    fc: Linear,
}

impl Function {
    fn run(&self, x: Signal, mode: Mode) -> Result<Signal> {
        assert_eq!(mode, Mode::Eval);
        Ok(self.fc.call(x, mode) * 2.0)
    }
}

#[derive(Module)]
struct Pinned {
    #[layer(0.5)]
    #[module(mode = eval)]
    dropout: Dropout,
}

#[derive(Module)]
#[module(forward = |x, mask: Option<Signal>, times: usize| {
    let y = match mask {
        Some(mask) => fc(x) * mask,
        None => fc(x),
    };
    (y, y * times as f64)
})]
struct Several {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x| several(x, None, 1).0)]
struct Outer {
    #[layer]
    several: Inner,
}

#[derive(Module)]
#[module(forward = |x, mask: Option<Signal>, times: usize| (several(x, mask, times).0, identity(x)))]
struct Inner {
    #[layer()]
    several: Several,
    identity: Identity,
}

#[test]
fn unit_and_tuple_structs_are_supported() -> Result<()> {
    assert_eq!(Unit::new(&DEVICE)?.forward(ones(&[2]))?.dims(), [2]);
    let pair = Pair::new(&DEVICE)?;
    assert_eq!(names(&pair), ["0.weight", "0.bias", "2.weight"]);
    assert_eq!(pair.forward(ones(&[5, 3]))?.dims(), [5, 2]);
    Ok(())
}

#[test]
fn generics_are_supported() -> Result<()> {
    let net = Generic::<Relu, 2>::new(3, &DEVICE)?;
    assert_eq!(names(&net), ["blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias"]);
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    assert_eq!(Phantom::<String>::config(3).init(&DEVICE)?.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    Ok(())
}

#[test]
fn containers_are_supported() -> Result<()> {
    let net = Containers::config().init(&DEVICE)?;
    assert_eq!(names(&net)[..3], ["always.weight", "always.bias", "list.0.weight"]);
    assert_eq!(net.parameters().len(), 2 * 9);
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    let net = Containers::config().deep(true).bias(false).init(&DEVICE)?;
    assert_eq!(names(&net)[..3], ["maybe.weight", "maybe.bias", "always.weight"]);
    assert_eq!(names(&net)[3], "list.0.weight");
    Ok(())
}

#[test]
fn tuples_are_supported() -> Result<()> {
    let net = Tuples::new(4, &DEVICE)?;
    let expected = [
        "stem.0.weight",
        "stem.2.weight",
        "stem.2.bias",
        "blocks.0.0.weight",
        "blocks.0.0.bias",
        "blocks.1.0.weight",
        "blocks.1.0.bias",
        "nested.0.0.weight",
        "nested.0.0.bias",
    ];
    assert_eq!(names(&net), expected);
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 2]);
    Ok(())
}

#[test]
fn enums_are_supported() -> Result<()> {
    let deep = Head::config(3).deep(true).init(&DEVICE)?;
    assert_eq!(names(&deep), ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]);
    let shallow = Head::new(3, &DEVICE)?;
    assert_eq!(names(&shallow), ["0.weight", "0.bias"]);
    for head in [deep, shallow] {
        assert_eq!(head.forward(ones(&[1, 3]))?.dims(), [1, 2]);
    }
    let either = [Either::Left(Pair::new(&DEVICE)?), Either::Right(Unit)];
    assert_eq!(either[0].forward(ones(&[1, 3]))?.dims(), [1, 2]);
    assert_eq!(either[1].forward(ones(&[1, 3]))?.dims(), [1, 3]);
    Ok(())
}

#[test]
fn tensors_and_data_fields_are_supported() -> Result<()> {
    let net = Data::new(2, vec!["a".into(), "b".into()], &DEVICE)?;
    assert_eq!(names(&net), ["scale", "extra.bias"]);
    let buffers: Vec<_> = net.buffers().into_iter().map(|(name, _)| name).collect();
    assert_eq!(buffers, ["shift"]);
    assert_eq!(net.forward(ones(&[1, 3]))?.to_vec2::<f32>()?, [[3., 3., 3.]]);
    Ok(())
}

#[test]
fn tied_tensors_are_shared() -> Result<()> {
    let net = Tied::new(&DEVICE)?;
    assert_eq!(names(&net), ["embed.weight"]);
    assert_eq!(net.embed.weight().id(), net.head.weight().id());
    let net = TiedParam::new(&DEVICE)?;
    assert_eq!(names(&net), ["fc.weight", "fc.bias"]);
    assert_eq!(net.weight.id(), net.fc.weight().id());
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    let error = TiedToMissing::new(&DEVICE)
        .err()
        .expect("a tie to a missing parameter should be an error")
        .to_string();
    assert!(error.contains("fc.wieght") && error.contains("head"), "{error}");
    Ok(())
}

#[test]
fn a_custom_config_is_supported() -> Result<()> {
    let net = FromSizes::new(Sizes { inputs: 3, widths: vec![4, 2] }, &DEVICE)?;
    assert_eq!(net.forward(ones(&[1, 3]))?.dims(), [1, 2]);
    Ok(())
}

#[test]
fn a_named_forward_function_and_a_pinned_mode_are_supported() -> Result<()> {
    assert_eq!(Function::new(&DEVICE)?.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    let x = ones(&[64]);
    let y = Pinned { dropout: Dropout::config(0.5) }.forward_t(&x, true)?;
    assert_eq!(y.to_vec1::<f32>()?, x.to_vec1::<f32>()?);
    Ok(())
}

#[test]
fn several_inputs_and_outputs_are_supported() -> Result<()> {
    let net = Several::new(&DEVICE)?;
    let (y, three) = net.forward(ones(&[1, 3]), None, 3)?;
    assert_eq!((y * 3.)?.to_vec2::<f32>()?, three.to_vec2::<f32>()?);
    let (y, _) = net.forward(ones(&[1, 3]), Some(ones(&[1, 3]).into()), 3)?;
    assert_eq!(y.dims(), [1, 3]);
    assert_eq!(Outer::new(&DEVICE)?.forward(ones(&[1, 3]))?.dims(), [1, 3]);
    Ok(())
}

#[test]
fn a_network_implements_candles_module_t() -> Result<()> {
    use sconce::nn::ModuleT;
    let pair: &dyn ModuleT = &Pair::new(&DEVICE)?;
    assert_eq!(pair.forward_t(&ones(&[1, 3]), true)?.dims(), [1, 2]);
    Ok(())
}

#[test]
fn a_struct_inside_a_function_is_supported() -> Result<()> {
    #[derive(Module)]
    #[module(args(width: usize = 3))]
    struct Local {
        #[layer(width, width)]
        fc: Linear,
    }
    assert_eq!(Local::config().width(4).init(&DEVICE)?.num_parameters(), 20);
    Ok(())
}

#[test]
fn the_names_in_a_renamed_list_contain_the_index() -> Result<()> {
    let network = Numbered::new(2, &DEVICE)?;
    let expected = ["features.0", "features.1", "features.2", "layer0.fc", "layer1.fc", "tail.1"]
        .map(|name| format!("{name}.weight"));
    assert_eq!(names(&network), expected);
    let y = network.forward(ones(&[1, 3]))?;
    let mut state = StateDict::default();
    for (name, tensor) in network.state_dict().iter() {
        state.insert(name.to_string(), tensor.copy()?);
    }
    let mut other = Numbered::new(2, &DEVICE)?;
    other.load_state_dict(&state)?;
    assert_eq!(other.forward(ones(&[1, 3]))?.to_vec2::<f32>()?, y.to_vec2::<f32>()?);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("numbered.safetensors");
    network.save(&path)?;
    let loaded = Numbered::config(2).load(&path, &DEVICE)?;
    assert_eq!(loaded.forward(ones(&[1, 3]))?.to_vec2::<f32>()?, y.to_vec2::<f32>()?);
    let error = network.forward(ones(&[1, 4])).unwrap_err().to_string();
    assert!(error.starts_with("at Numbered.stem"), "{error}");
    let text = network.to_string();
    assert!(text.contains("(features.2): Linear(in_features=3"), "{text}");
    Ok(())
}
