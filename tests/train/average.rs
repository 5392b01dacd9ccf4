//! Averaged weights: ties, frozen parameters, swapping, resuming and errors. `tests/golden/averaging.rs` checks the
//! values.

use sconce::Result;
use sconce::candle::{DType, Device, Tensor};
use sconce::prelude::{BatchNorm, Config, Linear, Module, Network, Relu, Sgd, StateDict};
use sconce::prelude::{Optimizer, mse_loss};
use sconce::train::{Ema, Swa, update_bn};

use crate::common::{Rng, values};

const CPU: Device = Device::Cpu;

#[derive(Module)]
#[module(args(width: usize = 3))]
struct Net {
    #[layer(3, width)]
    fc: Linear,
    #[layer(width)]
    norm: BatchNorm,
}

/// An encoder and a decoder with the same weight.
#[derive(Module)]
struct Tied {
    #[layer(2, 2)]
    encoder: Linear,
    relu: Relu,
    #[layer(2, 2)]
    #[module(tie = "encoder.weight")]
    decoder: Linear,
}

fn all_values(network: &impl Module) -> Vec<(String, Vec<f64>)> {
    network.state_dict().iter().map(|(name, tensor)| (name.to_owned(), values(tensor).unwrap())).collect()
}

/// Takes one step of training on random inputs.
fn train(net: &Net, rng: &mut Rng) -> Result<()> {
    let x = rng.tensor(&[5, 3], 1.).to_dtype(DType::F32)?;
    let loss = mse_loss(&net.forward_t(&x, true)?, &x)?;
    Sgd::new(0.1).build(net.trainable_parameters())?.step(&sconce::backward(&loss)?)
}

#[test]
fn a_resumed_average_continues_exactly() -> Result<()> {
    let net = Net::new(&CPU)?;
    let mut rng = Rng::new(1);
    let mut ema = Ema::new(&net, 0.9)?.use_buffers(true);
    for _ in 0..3 {
        train(&net, &mut rng)?;
        ema.update(&net)?;
    }
    let state = ema.state_dict()?;
    let names: Vec<&str> = state.keys().take(2).collect();
    assert_eq!(names, ["n_averaged", "module.fc.weight"]);
    let mut resumed = Ema::new(&Net::new(&CPU)?, 0.9)?.use_buffers(true);
    resumed.load_state_dict(&state)?;
    for _ in 0..3 {
        train(&net, &mut rng)?;
        ema.update(&net)?;
        resumed.update(&net)?;
    }
    assert_eq!((resumed.updates(), all_values(resumed.network())), (6, all_values(ema.network())));
    assert_ne!(all_values(ema.network()), all_values(&net));
    // The state loads into a network, except for `n_averaged`. The prefix `module` is recognized as a wrapper.
    let mut loaded = Net::new(&CPU)?;
    let tensors = state.iter().filter(|(name, _)| *name != "n_averaged");
    loaded.load_state_dict(&tensors.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect())?;
    assert_eq!(values(&state.get("module.fc.weight").unwrap().clone())?, values(loaded.fc.weight())?);
    Ok(())
}

#[test]
fn swapping_twice_restores_the_network_in_place() -> Result<()> {
    let mut net = Net::new(&CPU)?;
    let mut ema = Ema::new(&net, 0.5)?;
    ema.update(&net)?;
    train(&net, &mut Rng::new(2))?;
    ema.update(&net)?;
    let [own, averaged] = [all_values(&net), all_values(ema.network())];
    let [(_, weight), ..] = &net.trainable_parameters()[..] else { panic!("expected parameters") };
    let alias = weight.as_detached_tensor();
    ema.swap(&mut net)?;
    assert_eq!((all_values(&net), all_values(ema.network())), (averaged.clone(), own.clone()));
    assert_eq!(values(&alias)?, averaged[0].1, "an optimizer should see the exchanged weights");
    ema.swap(&mut net)?;
    assert_eq!((all_values(&net), all_values(ema.network())), (own, averaged.clone()));
    ema.copy_to(&mut net)?;
    assert_eq!((all_values(&net), all_values(ema.network())), (averaged.clone(), averaged));
    Ok(())
}

#[test]
fn ties_stay_ties_and_frozen_parameters_are_averaged_exactly() -> Result<()> {
    let mut tied = Tied::new(&CPU)?;
    tied.freeze("decoder.bias")?;
    let frozen = values(tied.decoder.bias().unwrap())?;
    let mut ema = Ema::new(&tied, 0.7)?;
    let mut swa = Swa::new(&tied)?;
    for step in 0..9 {
        tied.trainable_parameters().iter().try_for_each(|(_, var)| var.set(&(var.as_tensor() + 1.)?))?;
        ema.update(&tied)?;
        swa.update(&tied)?;
        let average = ema.network();
        assert_eq!(average.encoder.weight().id(), average.decoder.weight().id(), "step {step}");
        assert_eq!(values(average.decoder.bias().unwrap())?, frozen);
        assert_eq!(values(swa.network().decoder.bias().unwrap())?, frozen);
    }
    let state = ema.state_dict()?;
    let mut resumed = Ema::new(&Tied::new(&CPU)?, 0.7)?;
    resumed.load_state_dict(&state)?;
    assert_eq!(all_values(resumed.network()), all_values(ema.network()));
    assert_eq!(resumed.network().encoder.weight().id(), resumed.network().decoder.weight().id());
    // The average of w + 1, …, w + 9 is w + 5, where w is the initial weight. The weight is now w + 9.
    let mean = (tied.encoder.weight() - 4.)?;
    for (found, expected) in values(swa.network().encoder.weight())?.iter().zip(values(&mean)?) {
        assert!((found - expected).abs() < 1e-5);
    }
    Ok(())
}

#[test]
fn an_average_in_f32_follows_a_network_in_bf16() -> Result<()> {
    let mut linear = Linear::config(1, 1).bias(false).init(&CPU)?;
    let mut ema = Ema::new(&linear, 0.999)?;
    linear.to_dtype(DType::BF16)?;
    let [(_, weight)] = &linear.trainable_parameters()[..] else { panic!("expected one parameter") };
    weight.set(&weight.zeros_like()?)?;
    ema.update(&linear)?;
    weight.set(&weight.ones_like()?)?;
    (0..100).try_for_each(|_| ema.update(&linear))?;
    let average = values(ema.network().weight())?[0];
    assert!((average - (1. - 0.999f64.powi(100))).abs() < 1e-5, "{average}");
    assert_eq!(ema.network().weight().dtype(), DType::F32);
    let error = ema.swap(&mut linear).unwrap_err().to_string();
    assert!(error.contains("expected `weight` of dtype F32 as in the average, found BF16"), "{error}");
    ema.copy_to(&mut linear)?;
    assert_eq!(linear.weight().dtype(), DType::BF16);
    assert!((values(linear.weight())?[0] - average).abs() < 1e-3);
    Ok(())
}

#[test]
fn networks_and_states_that_do_not_fit_are_errors() -> Result<()> {
    let net = Net::new(&CPU)?;
    let mut ema = Ema::new(&net, 0.9)?;
    ema.update(&net)?;
    let before = all_values(ema.network());
    let mut wide = Net::config().width(4).init(&CPU)?;
    let error = ema.update(&wide).unwrap_err().to_string();
    assert_eq!(error, "Net: expected `fc.weight` of shape [3, 3] as in the average, found [4, 3]");
    let own = all_values(&wide);
    assert!(ema.copy_to(&mut wide).is_err() && ema.swap(&mut wide).is_err());
    assert_eq!(all_values(&wide), own);
    let mut lists = Ema::new(&vec![Linear::config(2, 2).init(&CPU)?], 0.9)?;
    let error = lists.update(&Vec::new()).unwrap_err().to_string();
    assert!(error.contains("`0.weight` is in the average, but not in the network"), "{error}");
    let error = Ema::new(&Vec::new(), 0.9)?.update(&lists.network().to_vec()).unwrap_err().to_string();
    assert!(error.contains("`0.weight` is in the network, but not in the average"), "{error}");
    for decay in [-0.1, 1.1, f64::NAN] {
        let error = Ema::new(&net, decay).err().expect("an error").to_string();
        assert_eq!(error, format!("Ema: expected a decay between 0 and 1, found {decay}"));
    }

    let state = ema.state_dict()?;
    let mut message = |change: &dyn Fn(&str) -> Option<Tensor>| {
        let changed: StateDict =
            state.keys().filter_map(|name| Some((name.to_owned(), change(name)?))).collect();
        ema.load_state_dict(&changed).unwrap_err().to_string()
    };
    let keep = |name: &str| state.get(name).cloned();
    assert!(message(&|name| keep(name).filter(|_| name != "n_averaged")).contains("`n_averaged` is missing"));
    let negative = Tensor::new(-1i64, &CPU)?;
    let error = message(&|name| if name == "n_averaged" { Some(negative.clone()) } else { keep(name) });
    assert!(error.contains("expected one integer of at least 0 as `n_averaged`, found [-1.0]"), "{error}");
    assert!(message(&|name| keep(name).filter(|_| name != "module.fc.bias")).contains("fc.bias"));
    assert_eq!((ema.updates(), all_values(ema.network())), (1, before));
    Ok(())
}

#[test]
fn update_bn_changes_only_statistics_that_are_not_pinned() -> Result<()> {
    let mut net = Net::new(&CPU)?;
    let x = Rng::new(4).tensor(&[6, 3], 1.).to_dtype(DType::F32)?;
    let data = vec![(x.clone(), x.clone()), (x.narrow(0, 0, 0)?, x.narrow(0, 0, 0)?)];
    let weight = values(net.fc.weight())?;
    update_bn(&net, &data)?;
    let mean = net.fc.forward(&x)?.mean(0)?;
    for (found, expected) in values(&net.buffers()[0].1)?.iter().zip(values(&mean)?) {
        assert!((found - expected).abs() < 1e-6);
    }
    assert_eq!((values(net.fc.weight())?, values(&net.buffers()[2].1)?), (weight, vec![1.]));

    let before = all_values(&net);
    let empty: Vec<(Tensor, Tensor)> = Vec::new();
    let error = update_bn(&net, &empty).unwrap_err().to_string();
    assert_eq!(error, "the data for the running statistics has no examples");
    assert_eq!(all_values(&net), before, "without examples, the statistics should not be reset");
    net.freeze_in_eval("norm.**")?;
    update_bn(&net, &vec![(x.narrow(0, 0, 2)?, x.clone())])?;
    assert_eq!(all_values(&net), before);
    Ok(())
}
