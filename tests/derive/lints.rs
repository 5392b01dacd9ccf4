//! No lint of rustc or clippy, pedantic included, fires on generated code.

#![deny(warnings, unused, missing_docs, clippy::all, clippy::pedantic, clippy::wildcard_imports)]

use sconce::layers::{Linear, Relu};
use sconce::prelude::{Every, Module, Sgd, Signal, StepLr, Tensor, mse_loss};

/// A network with every attribute.
#[derive(Module)]
#[module(
    args(
        /// The number of features.
        width: usize,
        /// The number of layers.
        depth: usize = 2,
        rate: f64 = 0.1,
        label: String = format!("{width}"),
    ),
    config_name = Settings,
    forward = |x| layers(x) * scale,
    loss = mse_loss,
    optimizer = Sgd::new(rate),
    schedule = (StepLr::new(10), Every::Epoch),
)]
pub struct Net {
    #[param((1, width), init = ones)]
    scale: Tensor,
    #[layer(width, width; for i in 0..depth, if i > 0)]
    #[module(rename = "{label}.{0..;2}")]
    layers: Vec<Option<Linear>>,
    #[module(skip = rate)]
    rate: f64,
    #[module(skip = label)]
    label: String,
}

/// A network without arguments.
#[derive(Module)]
pub struct Plain {
    #[layer((3, 3), ())]
    #[module(rename = "")]
    stem: (Linear, Relu),
    #[layer(3, 3, bias = false)]
    #[module(tie = "0.weight")]
    tied: Linear,
}

/// A network with two variants.
#[derive(Module)]
#[module(args(width: usize, deep: bool = false))]
pub enum Head {
    /// Two layers.
    #[module(when = deep)]
    Deep(#[layer(width, width)] Linear, #[layer(width, 2)] Linear),
    /// One layer.
    Shallow(#[layer(width, 2)] Linear),
}

const LIMIT: usize = 4;

/// A network that uses values while other values may borrow from them, matches constants in patterns, and calls
/// functions.
#[derive(Module)]
#[module(forward = |x, name: &'static str, hook: Box<dyn FnOnce(Signal) -> Signal>, log: &mut Vec<usize>| {
    let y = fc(x);
    let sizes = y.dims()?;
    let z = hook(y);
    log.push(sizes.len());
    let width = match sizes.len() {
        LIMIT => [1, 2].iter().map(move |i| i * LIMIT).sum::<usize>() + LIMIT + LIMIT,
        other => [1, 2].iter().map(move |i| i * other).sum::<usize>() + other + other,
    };
    let length = name.trim();
    let Named { z, name } = Named { z, name };
    let (mut z, mut name) = (z, name);
    Named { z, name } = Named { z, name };
    let scaled = z * (width + name.len());
    let last = log.last().copied();
    extend(log, length.len());
    scaled * last.unwrap_or_default()
})]
pub struct Values {
    #[layer(3, 3)]
    fc: Linear,
}

struct Named {
    z: Signal,
    name: &'static str,
}

fn extend(log: &mut Vec<usize>, value: usize) {
    log.push(value);
}

#[test]
fn values_are_used_again() -> sconce::Result<()> {
    let device = sconce::candle::Device::Cpu;
    let network = Values::new(&device)?;
    let x = Tensor::ones((1, 3), sconce::candle::DType::F32, &device)?;
    let mut log = Vec::new();
    let output = network.forward(&x, " ab ", Box::new(|y| y), &mut log)?;
    assert_eq!((output.dims(), log), (&[1, 3][..], vec![2, 2]));
    Ok(())
}

#[test]
fn networks_with_every_attribute_can_be_built() -> sconce::Result<()> {
    let settings: Settings = Net::config(3).depth(3);
    assert!(
        format!("{settings:?}").starts_with("Settings { width: 3, depth: Some(3), rate: None"),
        "{settings:?}"
    );
    assert_eq!(format!("{:?}", Plain::config()), "PlainConfig");
    let net = settings.clone().init(&sconce::candle::Device::Cpu)?;
    let names = sconce::Network::named_parameters(&net);
    assert_eq!(names.iter().map(|(name, _)| &**name).collect::<Vec<_>>()[1..3], ["3.2.weight", "3.2.bias"]);
    assert_eq!(Plain::new(&sconce::candle::Device::Cpu)?.tied.weight().dims(), [3, 3]);
    assert_eq!(Head::config(3).deep(true).init(&sconce::candle::Device::Cpu)?.to_string().lines().count(), 4);
    Ok(())
}
