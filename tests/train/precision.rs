//! Training in mixed precision, and the scaling of losses.

use std::collections::HashMap;

use sconce::prelude::*;
use sconce::train::{GradScaler, Precision, last_checkpoint, mixed_precision};

use crate::common::message;

const CPU: Device = Device::Cpu;

#[derive(Module)]
#[module(forward = |x| head(flatten(relu(norm(conv(x))), 1)))]
struct Net {
    // The layer has no bias: the gradient of a bias before a batch norm is 0, so it has no meaningful relative error.
    #[layer(1, 4, 3, padding = 1, bias = false)]
    conv: Conv2d,
    #[layer(4)]
    norm: BatchNorm,
    #[layer(64, 3)]
    head: Linear,
}

#[test]
fn parameters_and_running_statistics_stay_in_f32() -> Result<()> {
    for dtype in [DType::BF16, DType::F16] {
        manual_seed(1);
        let net = Net::new(&CPU)?;
        let x = sconce::random::normal((8, 1, 4, 4), 1., 2., DType::F32, &CPU)?.to_dtype(dtype)?;
        let exact = net.deep_clone()?;
        let half = mixed_precision(&net, dtype)?;
        assert_eq!(half.head.weight().dtype(), dtype);
        let output = half.forward_t(&x, true)?;
        assert_eq!(output.dtype(), dtype);
        let grads = sconce::backward(&output.to_dtype(DType::F32)?.sqr()?.mean_all()?)?;
        // The gradients and the running statistics are those of f32, except for rounding.
        let x = x.to_dtype(DType::F32)?;
        let expected = sconce::backward(&exact.forward_t(&x, true)?.sqr()?.mean_all()?)?;
        for ((name, found), (_, exact)) in net.trainable_parameters().iter().zip(exact.trainable_parameters())
        {
            let found = grads.get(found).expect("every parameter should have a gradient");
            let expected = expected.get(&exact).expect("every parameter should have a gradient");
            assert_eq!(found.dtype(), DType::F32);
            let error = relative_error(found, expected)?;
            assert!(error < 0.05, "{dtype:?} {name}: a relative error of {error}");
        }
        for ((name, found), (_, expected)) in net.buffers().iter().zip(exact.buffers()) {
            assert_eq!(found.dtype(), expected.dtype(), "{name}");
            let error = relative_error(found, &expected)?;
            assert!(error < 0.02, "{dtype:?} {name}: a relative error of {error}");
        }
    }
    Ok(())
}

/// Returns ‖found − expected‖ ∕ ‖expected‖.
fn relative_error(found: &Tensor, expected: &Tensor) -> Result<f64> {
    let norm = |x: &Tensor| -> Result<f64> {
        Ok(x.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>()?)
    };
    let (found, expected) = (found.to_dtype(DType::F64)?, expected.to_dtype(DType::F64)?);
    Ok(norm(&(found - &expected)?)? / norm(&expected)?)
}

/// Returns a batch of inputs and classes.
fn batch() -> Result<(Tensor, Tensor)> {
    let x = sconce::random::normal((6, 1, 4, 4), 0., 1., DType::F32, &CPU)?;
    Ok((x, Tensor::new(&[0u32, 1, 2, 0, 1, 2], &CPU)?))
}

#[test]
fn the_trainer_and_a_hand_written_loop_agree_in_mixed_precision() -> Result<()> {
    for precision in [Precision::Bf16, Precision::F16] {
        manual_seed(2);
        let net = Net::new(&CPU)?;
        let by_hand = net.deep_clone()?;
        let (x, classes) = batch()?;
        let mut trainer = Trainer::new(&net, cross_entropy, Sgd::new(0.1)).precision(precision);
        let mut optimizer = Sgd::new(0.1).build(by_hand.trainable_parameters())?;
        for _ in 0..5 {
            trainer.step(&(x.clone(), classes.clone()))?;
            let dtype = precision.dtype();
            let output = mixed_precision(&by_hand, dtype)?.forward_t(&x.to_dtype(dtype)?, true)?;
            let loss = cross_entropy(&output.to_dtype(DType::F32)?, &classes)?;
            optimizer.step(&sconce::backward(&loss)?)?;
        }
        for ((name, found), (_, expected)) in net.state_dict().iter().zip(&by_hand.state_dict()) {
            let error = relative_error(found, expected)?;
            // The scale of the losses in f16 changes the rounding of small gradients.
            assert!(error < 2e-3, "{precision:?} {name}: {error}");
        }
    }
    Ok(())
}

/// Returns a trainer whose gradients overflow in f16 until the scale of the losses is small enough.
fn trainer(net: &Net) -> Trainer<'_, Net> {
    let loss = |output: &Tensor, classes: &Tensor| Ok((cross_entropy(output, classes)? * 100.)?);
    Trainer::new(net, loss, Sgd::new(1e-5)).quiet(true).precision(Precision::F16)
}

#[test]
fn the_trainer_skips_steps_with_overflows_and_saves_the_scale() -> Result<()> {
    manual_seed(2);
    let directory = tempfile::tempdir()?;
    let net = Net::new(&CPU)?;
    let data = vec![batch()?; 12];
    let mut steps = trainer(&net);
    let updated = data.iter().map(|batch| Ok(steps.step(batch)?.updated)).collect::<Result<Vec<_>>>()?;
    let skipped = updated.iter().take_while(|updated| !**updated).count();
    assert!((1..12).contains(&skipped), "{updated:?}");
    assert!(updated[skipped..].iter().all(|updated| *updated), "{updated:?}");

    let history = trainer(&net.deep_clone()?).fit(&data[..skipped].to_vec(), &(), Epochs(1))?;
    assert_eq!(history.epochs()[0].steps, 0, "skipped steps are not counted");

    let net = net.deep_clone()?;
    trainer(&net).checkpoint(directory.path(), Every::Epoch).fit(&data, &(), Epochs(1))?;
    let path = last_checkpoint(directory.path())?.expect("the trainer saved a checkpoint");
    let state = sconce::checkpoint::read(path, &CPU)?;
    let scale = state.get("scaler.scale").expect("the scale is saved").to_scalar::<f64>()?;
    assert_eq!(scale, 65_536. / 2f64.powi(skipped as i32));
    let resumed = || trainer(&net).checkpoint(directory.path(), Every::Epoch).resume();
    let history = resumed().precision(Precision::Bf16).fit(&data, &(), Epochs(2));
    assert!(message(history).contains("the setting `precision` differs: expected `F16`"));
    // With the saved scale, no step of the second epoch is skipped.
    resumed().fit(&data, &(), Epochs(2))?;
    let last = last_checkpoint(directory.path())?.expect("the trainer saved a checkpoint");
    let steps = format!("step-{:08}-", 2 * data.len() - skipped);
    assert!(last.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&steps)), "{last:?}");
    Ok(())
}

#[test]
fn tied_parameters_stay_tied() -> Result<()> {
    let linear = Linear::config(3, 3).bias(false).init(&CPU)?;
    let net = vec![linear.share(), linear.share()];
    let half = mixed_precision(&net, DType::BF16)?;
    assert_eq!(half[0].weight().id(), half[1].weight().id());
    let error = message(mixed_precision(&net, DType::U32));
    assert_eq!(error, "expected a floating-point dtype for a network, found U32");
    Ok(())
}

#[test]
fn the_scaler_adapts_and_is_restored() -> Result<()> {
    let mut scaler = GradScaler::new().initial_factor(1024.).growth_interval(2).growth(4.).backoff(0.25);
    let mut factors = Vec::new();
    let mut states = Vec::new();
    for finite in [true, true, false, true, false, true, true] {
        scaler.update(finite);
        factors.push(scaler.factor());
        states.push(scaler.state()?.into_iter().collect::<HashMap<_, _>>());
    }
    assert_eq!(factors, [1024., 4096., 1024., 1024., 256., 256., 1024.]);

    let mut restored = scaler.clone();
    restored.load_state(&states[0])?;
    restored.update(true);
    assert_eq!(restored.factor(), 4096.);

    let before = restored.clone();
    let error = message(restored.load_state(&HashMap::new()));
    assert_eq!(error, "`scale` is missing from the state of the scaler");
    let invalid = HashMap::from([("good_steps", 0f64), ("scale", -1.)]);
    let invalid = invalid.into_iter().map(|(key, value)| Ok((key.to_owned(), Tensor::new(value, &CPU)?)));
    let error = message(restored.load_state(&invalid.collect::<Result<_>>()?));
    assert!(error.contains("an initial factor above 0, found -1"), "{error}");
    assert_eq!(restored, before);

    // The factor stays within the range of f32.
    let mut largest = GradScaler::new().initial_factor(2f64.powi(127)).growth_interval(1);
    largest.update(true);
    assert_eq!(largest.factor(), 2f64.powi(127));
    Ok(())
}

#[test]
fn invalid_settings_of_the_scaler_are_errors() -> Result<()> {
    let loss = Tensor::new(1f32, &CPU)?;
    for (scaler, expected) in [
        (GradScaler::new().initial_factor(0.), "GradScaler: expected an initial factor above 0, found 0"),
        (GradScaler::new().growth(1.), "GradScaler: expected a growth above 1, found 1"),
        (GradScaler::new().backoff(1.), "GradScaler: expected a backoff between 0 and 1, found 1"),
        (GradScaler::new().growth_interval(0), "GradScaler: expected a growth interval above 0, found 0"),
    ] {
        assert_eq!(message(scaler.scale(&loss)), expected);
    }
    Ok(())
}
