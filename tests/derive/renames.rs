//! `rename`: the registry, saving and loading use the same names.

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

/// Asserts the names of the weights. Then saves `network`, loads the file with `config`, and compares the outputs.
fn check<C>(network: &C::Output, config: C, expected: &[&str]) -> Result<()>
where
    C: Config,
    C::Output: Layer,
{
    let expected: Vec<String> = expected.iter().map(|name| format!("{name}.weight")).collect();
    assert_eq!(names(network), expected);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("network.safetensors");
    network.save(&path)?;
    let state = sconce::checkpoint::read(&path, &DEVICE)?;
    assert!(expected.iter().all(|name| state.get(name).is_some()), "{:?}", state.keys().collect::<Vec<_>>());
    let mut loaded = config.load(&path, &DEVICE)?;
    let output = |network: &C::Output| -> Result<Vec<Vec<f32>>> {
        Ok(network.call(ones(&[1, 3]).into(), Mode::Eval).into_tensor()?.to_vec2()?)
    };
    assert_eq!(output(&loaded)?, output(network)?);
    loaded.load_state_dict(&network.state_dict())?;
    assert_eq!(names(&loaded), expected);
    Ok(())
}

/// The layers in `net` have the names of the linear layers in PyTorch's
/// `Sequential(Linear, ReLU, Linear, ReLU, Linear)`.
#[derive(Module)]
#[module(forward = |x| {
    let x = net.iter().fold(x, |x, layer| relu(layer(x)));
    stages(tail(x))
})]
struct EverySecond {
    #[layer(3, 3; for _ in 0..3)]
    #[module(rename = "net.{0..;2}")]
    net: Vec<Linear>,
    #[layer(3, 3; if true, for _ in 0..2)]
    #[module(rename = "tail{1..;10}")]
    tail: Option<Vec<Linear>>,
    #[layer(3, 3; for _ in 0..2, for _ in 0..2)]
    #[module(rename = "stage{1..}.blocks")]
    stages: Vec<Vec<Linear>>,
}

#[test]
fn numbers_have_a_start_and_a_step() -> Result<()> {
    let expected = [
        "net.0",
        "net.2",
        "net.4",
        "tail1",
        "tail11",
        "stage1.blocks.0",
        "stage1.blocks.1",
        "stage2.blocks.0",
        "stage2.blocks.1",
    ];
    check(&EverySecond::new(&DEVICE)?, EverySecond::config(), &expected)
}

#[derive(Module)]
struct Inner {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
struct Wrapper {
    #[layer]
    #[module(rename = "")]
    inner: Inner,
    #[layer(3, 3; for _ in 0..2)]
    #[module(rename = "")]
    layers: Vec<Linear>,
    #[layer((3, 3); if false)]
    #[module(rename = "")]
    absent: Option<(Linear,)>,
    #[layer(3, 3, bias = false)]
    #[module(tie = "fc.weight")]
    tied: Linear,
}

#[test]
fn a_field_with_an_empty_name_keeps_the_names_of_its_tensors() -> Result<()> {
    let net = Wrapper::new(&DEVICE)?;
    check(&net, Wrapper::config(), &["fc", "0", "1"])?;
    assert_eq!(net.tied.weight().id(), net.inner.fc.weight().id());
    let modules: Vec<String> = net.named_modules().into_iter().map(|(name, _)| name).collect();
    assert_eq!(modules, ["", "fc", "0", "1", "tied"]);
    let error = net.forward(ones(&[1, 4])).unwrap_err().to_string();
    assert!(error.starts_with("at Wrapper.inner.fc"), "{error}");
    Ok(())
}

/// A network whose tied field has an empty name.
#[derive(Module)]
struct TiedWrapper {
    #[layer(3, 3)]
    fc: Linear,
    #[layer(3, 3, bias = false)]
    #[module(rename = "", tie = "fc.weight")]
    inner: Linear,
}

#[test]
fn a_field_with_an_empty_name_can_be_tied() -> Result<()> {
    let net = TiedWrapper::new(&DEVICE)?;
    assert_eq!(net.fc.weight().id(), net.inner.weight().id());
    check(&net, TiedWrapper::config(), &["fc"])
}

#[derive(Module)]
#[module(args(stage: usize, kind: String), forward = |x| norm(blocks(x)))]
struct Stage<const N: usize> {
    #[layer(3, 3; for _ in 0..N)]
    #[module(rename = "block{stage}-{0..}")]
    blocks: Vec<Linear>,
    #[layer(3)]
    #[module(rename = "{kind}.norm{N}")]
    norm: LayerNorm,
    #[module(skip = stage)]
    stage: usize,
    #[module(skip = kind)]
    kind: String,
}

#[derive(Module)]
#[module(args(number: usize = 1))]
enum Head {
    #[module(when = number > 1)]
    Many {
        #[module(skip = number)]
        _number: usize,
        #[layer(3, 3)]
        #[module(rename = "head{_number}")]
        fc: Linear,
    },
    One(#[layer(3, 3)] Linear),
}

#[test]
fn a_name_can_contain_the_value_of_a_field() -> Result<()> {
    let config = || Stage::<2>::config(4, "pre".to_string());
    check(&config().init(&DEVICE)?, config(), &["block4-0", "block4-1", "pre.norm2"])?;
    check(&Head::config().number(3).init(&DEVICE)?, Head::config().number(3), &["head3"])?;
    check(&Head::config().init(&DEVICE)?, Head::config(), &["0"])
}
