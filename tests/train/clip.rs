//! Gradient clipping: non-finite norms, missing gradients and settings. `tests/golden/training.rs` checks the values.

use proptest::prelude::*;
use sconce::Result;
use sconce::candle::backprop::GradStore;
use sconce::candle::{DType, Device, Tensor, Var};
use sconce::prelude::{Config, Linear, Network};
use sconce::train::{ClipGradNorm, clip_grad_norm, clip_grad_value};

use crate::common::{config, values};

const CPU: Device = Device::Cpu;

/// Returns a layer, and gradients that contain the values `weight` for its weight and nothing for its bias.
fn gradients(weight: [f32; 4]) -> Result<(Linear, GradStore)> {
    let linear = Linear::config(2, 2).init(&CPU)?;
    let gradient = Tensor::new(&weight, &CPU)?.reshape((2, 2))?;
    // The gradient is replaced after the backward pass, so that it can have any values, NaN and infinity included.
    let mut grads = sconce::backward(&linear.weight().sum_all()?)?;
    grads.insert(linear.weight(), gradient);
    Ok((linear, grads))
}

fn clipped(linear: &Linear, grads: &GradStore) -> Vec<f64> {
    values(grads.get(linear.weight()).expect("the weight has a gradient")).unwrap()
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn the_norm_is_at_most_the_maximum_and_the_direction_is_kept(
        weight in prop::array::uniform4(-100f32..100.),
        max_norm in 0.01f64..200.,
        norm_type in prop_oneof![Just(1.), Just(2.), Just(3.5), Just(f64::INFINITY)],
    ) {
        let (linear, mut grads) = gradients(weight).unwrap();
        let clip = ClipGradNorm::new(max_norm).norm_type(norm_type);
        let norm = clip.clip(&linear, &mut grads).unwrap();
        let factor = (max_norm / (norm + 1e-6)).min(1.);
        for (clipped, before) in clipped(&linear, &grads).iter().zip(weight) {
            prop_assert!((clipped - before as f64 * factor).abs() <= 1e-5 * norm);
        }
        let after = clip.clip(&linear, &mut grads).unwrap();
        prop_assert!(after <= max_norm * (1. + 1e-5) && after <= norm * (1. + 1e-5));
    }
}

#[test]
fn non_finite_norms_follow_pytorch_or_are_errors() -> Result<()> {
    for norm_type in [1., 2., f64::INFINITY] {
        for (weight, expected) in
            [([1., f32::NAN, 2., f32::INFINITY], "NaN"), ([1., f32::INFINITY, 2., 3.], "inf")]
        {
            let (linear, mut grads) = gradients(weight)?;
            let strict = ClipGradNorm::new(1.).norm_type(norm_type).error_if_nonfinite(true);
            let error = strict.clip(&linear, &mut grads).unwrap_err().to_string();
            let message = format!("expected a finite norm of the gradients, found {expected}; ");
            assert!(
                error.starts_with(&message) && error.contains("the gradient of `weight` has the norm"),
                "{error}"
            );
            assert_eq!(clipped(&linear, &grads)[0], 1., "an error should not change the gradients");
            let norm = strict.error_if_nonfinite(false).clip(&linear, &mut grads)?;
            assert_eq!(norm.to_string(), expected);
            let first = clipped(&linear, &grads)[0];
            assert!(if norm.is_nan() { first.is_nan() } else { first == 0. }, "{first}");
        }
    }
    // A clipped NaN stays NaN, as in PyTorch.
    let (linear, mut grads) = gradients([f32::NAN, f32::INFINITY, -9., 0.5])?;
    clip_grad_value(&linear, &mut grads, 1.)?;
    let clipped = clipped(&linear, &grads);
    assert!(clipped[0].is_nan() && clipped[1..] == [1., -1., 0.5], "{clipped:?}");
    Ok(())
}

#[test]
fn a_tensor_that_is_the_gradient_of_two_parameters_is_scaled_once() -> Result<()> {
    let pair = (Linear::config(1, 1).bias(false).init(&CPU)?, Linear::config(1, 1).bias(false).init(&CPU)?);
    let mut grads = sconce::backward(&(pair.0.weight() + pair.1.weight())?.sum_all()?)?;
    let shared = Tensor::new(&[[3f32]], &CPU)?;
    grads.insert(pair.0.weight(), shared.clone());
    grads.insert(pair.1.weight(), shared.clone());
    let norm = clip_grad_norm(&pair, &mut grads, 1.)?;
    assert!((norm - 18f64.sqrt()).abs() < 1e-5);
    for linear in [&pair.0, &pair.1] {
        assert!((clipped(linear, &grads)[0] - 0.5f64.sqrt()).abs() < 1e-5);
    }
    assert_eq!(values(&shared)?, [3.]);
    Ok(())
}

#[test]
fn half_precision_gradients_do_not_overflow() -> Result<()> {
    let mut linear = Linear::config(2, 2).init(&CPU)?;
    linear.to_dtype(DType::F16)?;
    let mut grads = sconce::backward(&(linear.weight().sum_all()? * 300.)?)?;
    assert_eq!(clip_grad_norm(&linear, &mut grads, 300.)?, 600.);
    assert_eq!(grads.get(linear.weight()).unwrap().dtype(), DType::F16);
    assert!((clipped(&linear, &grads)[0] - 150.).abs() < 0.2);
    Ok(())
}

#[test]
fn a_network_without_gradients_has_the_norm_zero_and_invalid_settings_are_errors() -> Result<()> {
    let linear = Linear::config(2, 2).init(&CPU)?;
    let other = Var::new(1f32, &CPU)?;
    let mut grads = other.sqr()?.backward()?;
    assert_eq!(clip_grad_norm(&linear, &mut grads, 1.)?, 0.);
    clip_grad_value(&linear, &mut grads, 1.)?;
    assert_eq!(values(grads.get(&other).unwrap())?, [2.], "gradients of other variables should not change");
    let mut message = |clip: ClipGradNorm| clip.clip(&linear, &mut grads).unwrap_err().to_string();
    assert_eq!(message(ClipGradNorm::new(-1.)), "max_norm must be at least 0, found -1");
    assert!(message(ClipGradNorm::new(f64::NAN)).contains("NaN"));
    assert!(
        message(ClipGradNorm::new(1.).norm_type(0.)).contains("norm_type must be greater than 0, found 0")
    );
    assert!(clip_grad_value(&linear, &mut grads, -1.).unwrap_err().to_string().contains("clip_value"));
    Ok(())
}
