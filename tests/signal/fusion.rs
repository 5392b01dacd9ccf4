//! Fusion, errors and evaluation of signals, tested with layers that are called directly, without a derived network.

use sconce::candle;
use sconce::prelude::*;

use crate::common::operations;

fn random_image(channels: usize) -> Result<Tensor> {
    Ok(Tensor::randn(0f32, 1., (2, channels, 9, 9), &Device::Cpu)?)
}

fn assert_close(a: &Tensor, b: &Tensor) -> Result<()> {
    let worst = (a - b)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(worst < 1e-5, "largest difference {worst}");
    Ok(())
}

#[test]
fn a_uniquely_owned_convolution_fuses_residual_and_activation() -> Result<()> {
    let conv = Conv2d::config(3, 4, 3).padding(1).init(&Device::Cpu)?;
    let (x, residual) = (random_image(3)?, random_image(4)?);
    let launches = operations(|| relu(conv.call((&x).into(), Mode::Eval) + &residual).into_tensor())?;
    assert_eq!(launches, ["conv2d + bias + residual + relu"]);
    let fused = relu(conv.call((&x).into(), Mode::Eval) + &residual).into_tensor()?;
    let unfused = sconce::no_fusion(|| relu(&residual + conv.call((&x).into(), Mode::Eval)).into_tensor())?;
    assert_close(&fused, &unfused)
}

#[test]
fn a_batch_norm_in_training_fuses_residual_and_activation() -> Result<()> {
    let conv = Conv2d::config(3, 4, 3).padding(1).bias(false).init(&Device::Cpu)?;
    let norm = BatchNorm::config(4).init(&Device::Cpu)?;
    let (x, residual) = (random_image(3)?, random_image(4)?);
    let run = || relu(norm.call(conv.call((&x).into(), Mode::Train), Mode::Train) + &residual).into_tensor();
    assert_eq!(operations(run)?, ["conv2d", "batch_norm + residual + relu"]);
    assert_close(&run()?, &sconce::no_fusion(run)?)
}

#[test]
fn no_fusion_runs_each_operation_in_its_own_launch() -> Result<()> {
    let conv = Conv2d::config(3, 4, 3).init(&Device::Cpu)?;
    let x = random_image(3)?;
    let run = || sconce::no_fusion(|| relu(conv.call((&x).into(), Mode::Eval)).into_tensor());
    assert_eq!(operations(run)?, ["conv2d + bias", "relu"]);
    Ok(())
}

#[test]
fn a_shared_convolution_runs_once() -> Result<()> {
    let conv = Conv2d::config(3, 3, 3).padding(1).init(&Device::Cpu)?;
    let x = random_image(3)?;
    let launches = operations(|| {
        let y = conv.call((&x).into(), Mode::Eval);
        let kept = y.clone();
        (relu(y) + tanh(kept)).into_tensor()
    })?;
    assert_eq!(launches, ["conv2d + bias", "relu", "tanh", "add"]);
    Ok(())
}

#[test]
fn a_second_activation_does_not_fuse() -> Result<()> {
    let conv = Conv2d::config(3, 3, 3).init(&Device::Cpu)?;
    let x = random_image(3)?;
    let launches = operations(|| sigmoid(relu(conv.call((&x).into(), Mode::Eval))).into_tensor())?;
    assert_eq!(launches, ["conv2d + bias + relu", "sigmoid"]);
    Ok(())
}

#[test]
fn a_residual_that_broadcasts_does_not_fuse() -> Result<()> {
    let conv = Conv2d::config(3, 3, 3).init(&Device::Cpu)?;
    let (x, residual) = (random_image(3)?, Tensor::ones((1, 3, 1, 1), DType::F32, &Device::Cpu)?);
    let launches = operations(|| (conv.call((&x).into(), Mode::Eval) + residual).into_tensor())?;
    assert_eq!(launches, ["conv2d + bias", "add"]);
    Ok(())
}

#[test]
fn an_error_propagates_and_names_the_layer_that_failed() -> Result<()> {
    let conv = Conv2d::config(3, 4, 3).init(&Device::Cpu)?;
    let layers = vec![conv, Conv2d::config(4, 4, 3).init(&Device::Cpu)?];
    let failed = relu(layers.call(random_image(5)?.into(), Mode::Eval)) * 2. + random_image(1)?;
    let error = failed.into_tensor().unwrap_err();
    assert_eq!(
        error.to_string(),
        "at [0] (Conv2d 3→4, 3×3): expected 3 input channels, found 5 (input [2, 5, 9, 9])"
    );
    let candle_error: candle::Error = error.clone().into();
    assert_eq!(candle_error.to_string(), error.to_string());
    Ok(())
}

#[test]
fn operators_agree_with_candle() -> Result<()> {
    let (a, b) = (random_image(3)?, random_image(3)?);
    let signal = || Signal::from(&a);
    for (actual, expected) in [
        (signal() + &b, (&a + &b)?),
        (signal() - &b, (&a - &b)?),
        (&b - signal(), (&b - &a)?),
        (signal() * signal(), (&a * &a)?),
        (signal() / &b, (&a / &b)?),
        (signal() * 2., (&a * 2.)?),
        (2. - signal(), a.affine(-1., 2.)?),
        (1. / (signal() * signal() + 1.), (a.sqr()? + 1.)?.recip()?),
        (-signal(), a.neg()?),
        (signal().reshape((2, ())), a.reshape((2, ()))?),
        (cat([signal(), Signal::from(&b)], 1), Tensor::cat(&[&a, &b], 1)?),
        (flatten(signal(), 1), a.flatten_from(1)?),
    ] {
        assert_close(&actual.into_tensor()?, &expected)?;
    }
    let error = (signal() + Tensor::ones(7, DType::F32, &Device::Cpu)?).into_tensor().unwrap_err();
    assert_eq!(error.to_string(), "cannot add shapes [2, 3, 9, 9] and [7]");
    Ok(())
}

#[test]
fn fused_operations_have_the_gradients_of_unfused_ones() -> Result<()> {
    let conv = Conv2d::config(3, 4, 3).padding(1).init(&Device::Cpu)?;
    let (x, residual) = (candle::Var::from_tensor(&random_image(3)?)?, random_image(4)?);
    let grads = |y: Result<Tensor>| -> Result<Vec<Tensor>> {
        let grads = y?.sqr()?.sum_all()?.backward()?;
        [x.as_tensor(), conv.weight()]
            .map(|t| grads.get(t).cloned().ok_or_else(|| Error::msg("expected a gradient")))
            .into_iter()
            .collect()
    };
    let run = || relu(conv.call(x.as_tensor().into(), Mode::Train) + &residual).into_tensor();
    let (fused, unfused) = (grads(run())?, grads(sconce::no_fusion(run))?);
    for (fused, unfused) in fused.iter().zip(&unfused) {
        let worst = (fused - unfused)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(worst < 1e-3, "largest difference {worst}");
    }
    Ok(())
}
