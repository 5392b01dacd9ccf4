//! Tests of L-BFGS that need no golden data: many iterations per step, resuming, `fit`.

use std::cell::Cell;
use std::collections::HashMap;

use proptest::prelude::*;
use sconce::Result;
use sconce::candle::{DType, Device, Tensor, Var};
use sconce::prelude::{Config, Epochs, Linear, Trainer, mse_loss};
use sconce::train::optim::{Lbfgs, LineSearch, Optimizer, Step};

use crate::common::{Rng, check_close, config, fail, values};

const CPU: Device = Device::Cpu;

fn build(settings: &Lbfgs, vars: &[&Var]) -> Result<Box<dyn Step>> {
    settings.build(vars.iter().enumerate().map(|(i, &var)| (format!("p{i}"), var.clone())).collect())
}

/// Computes `Σ scale · (x − 1)²`.
fn quadratic(x: &Var, scale: &Tensor) -> Result<Tensor> {
    Ok((scale * (x.as_tensor() - 1.)?.sqr()?)?.sum_all()?)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_quadratic_is_minimized_in_one_step(size in 1..8usize, seed: u64) {
        let mut numbers = Rng::new(seed);
        let scale = numbers.tensor(&[size], 1.).affine(1., 1.5).map_err(fail)?;
        let x = Var::from_tensor(&numbers.tensor(&[size], 3.)).map_err(fail)?;
        let mut optimizer = build(&Lbfgs::new(1.).max_iter(100).tolerance_change(0.), &[&x]).map_err(fail)?;
        optimizer.step_with(&mut || quadratic(&x, &scale)).map_err(fail)?;
        prop_assert!(values(&x).map_err(fail)?.iter().all(|x| (x - 1.).abs() < 1e-5), "{x:?}");
    }

    #[test]
    fn a_resumed_run_continues_exactly(before in 0..6usize, after in 1..6usize, history in 1..5usize, seed: u64) {
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let scale = numbers.tensor(&[5], 1.).affine(1., 1.5)?;
            let x = Var::from_tensor(&numbers.tensor(&[5], 3.))?;
            let settings = Lbfgs::new(0.5).max_iter(2).history_size(history);
            let mut optimizer = build(&settings, &[&x])?;
            for _ in 0..before {
                optimizer.step_with(&mut || quadratic(&x, &scale))?;
            }
            let copy = Var::from_tensor(&x.as_detached_tensor().copy()?)?;
            let mut resumed = build(&settings, &[&copy])?;
            resumed.set_learning_rate(7.);
            resumed.load_state(&optimizer.state()?.into_iter().collect())?;
            for _ in 0..after {
                optimizer.step_with(&mut || quadratic(&x, &scale))?;
                resumed.step_with(&mut || quadratic(&copy, &scale))?;
            }
            assert_eq!(values(&x)?, values(&copy)?);
            Ok(())
        };
        check().map_err(fail)?;
    }
}

#[test]
fn the_number_of_evaluations_is_limited() -> Result<()> {
    let x = Var::new(&[-1.2f64, 1.], &CPU)?;
    let calls = Cell::new(0);
    // Rosenbrock's function needs more iterations than the limits below allow.
    let mut loss = || {
        calls.set(calls.get() + 1);
        let (a, b) = (x.narrow(0, 0, 1)?, x.narrow(0, 1, 1)?);
        Ok((((b - a.sqr()?)?.sqr()? * 100.)? + (a - 1.)?.sqr()?)?.sum_all()?)
    };
    let mut count = |settings: Lbfgs| -> Result<usize> {
        calls.set(0);
        build(&settings, &[&x])?.step_with(&mut loss)?;
        Ok(calls.get())
    };
    assert_eq!(count(Lbfgs::new(0.01).max_iter(1))?, 1);
    assert_eq!(count(Lbfgs::new(0.01).max_iter(4))?, 4);
    assert_eq!(count(Lbfgs::new(0.01).max_iter(8).max_eval(3))?, 3);
    assert_eq!(count(Lbfgs::new(0.01).max_iter(8).tolerance_grad(1e9))?, 1);
    assert_eq!(count(Lbfgs::new(0.01).max_iter(8).tolerance_change(1e9))?, 1);
    Ok(())
}

proptest! {
    #![proptest_config(config(200))]

    /// Starts near the minimum of Rosenbrock's function of `size` variables.
    #[test]
    fn the_line_search_minimizes_rosenbrocks_function(size in 2..5usize, seed: u64, in_f32: bool) {
        let check = || -> Result<f64> {
            let dtype = if in_f32 { DType::F32 } else { DType::F64 };
            let x = Var::from_tensor(&Rng::new(seed).tensor(&[size], 0.9).affine(1., 1.)?.to_dtype(dtype)?)?;
            let mut loss = || {
                let (a, b) = (x.narrow(0, 0, size - 1)?, x.narrow(0, 1, size - 1)?);
                Ok((((b - a.sqr()?)?.sqr()? * 100.)? + (a - 1.)?.sqr()?)?.sum_all()?)
            };
            let settings = Lbfgs::new(1.).max_iter(200).max_eval(2000).tolerance_change(1e-12);
            let mut optimizer = build(&settings.line_search_fn(LineSearch::StrongWolfe), &[&x])?;
            let start = values(&optimizer.step_with(&mut loss)?)?[0];
            let end = values(&loss()?)?[0];
            assert!(end <= start);
            Ok(end)
        };
        let end = check().map_err(fail)?;
        prop_assert!(end < if in_f32 { 1e-5 } else { 1e-9 }, "{end}");
    }
}

/// A linear loss has no curvature, so L-BFGS learns no second-order information. Every step still goes downhill.
#[test]
fn a_linear_loss_is_followed_downhill() -> Result<()> {
    let x = Var::new(&[0f64, 0.], &CPU)?;
    let mut optimizer = build(&Lbfgs::new(1.).max_iter(5), &[&x])?;
    optimizer.step_with(&mut || Ok(x.sum_all()?))?;
    // The first step is the negative gradient divided by its L1 norm, which is 2. Each of the other four steps is the
    // negative gradient.
    assert_eq!(values(&x)?, [-4.5, -4.5]);
    Ok(())
}

#[test]
fn parameters_without_a_gradient_do_not_change_and_f16_is_supported() -> Result<()> {
    let (x, idle) = (Var::new(&[[3f32, -2.]], &CPU)?, Var::new(5f32, &CPU)?);
    let half = Var::from_tensor(&Tensor::new(&[4f32], &CPU)?.to_dtype(DType::F16)?)?;
    let alias = x.as_detached_tensor();
    let mut optimizer = build(&Lbfgs::new(1.).max_iter(40), &[&idle, &x, &half])?;
    let loss = optimizer.step_with(&mut || {
        let half = half.as_tensor().to_dtype(DType::F32)?;
        Ok(((x.as_tensor() - 1.)?.sqr()?.sum_all()? + (half - 2.)?.sqr()?.sum_all()?)?)
    })?;
    assert_eq!(values(&loss)?, [17.]);
    check_close("x", &alias, &Tensor::new(&[[1f32, 1.]], &CPU)?, 1e-3)?;
    assert_eq!((values(&idle)?, half.dtype()), (vec![5.], DType::F16));
    assert!((values(&half)?[0] - 2.).abs() < 1e-2);
    Ok(())
}

#[test]
fn fit_supports_lbfgs() -> Result<()> {
    let line = Linear::config(2, 1).init(&CPU)?;
    let x = Rng::new(3).tensor(&[12, 2], 1.).to_dtype(DType::F32)?;
    let y = (x.sum_keepdim(1)? + 0.5)?;
    let lbfgs = Lbfgs::new(1.).max_iter(30);
    let history = Trainer::new(&line, mse_loss, lbfgs).quiet(true).fit(&(x, y), &(), Epochs(3))?;
    assert!(history.epochs()[0].train.loss > 1e-3 && history.epochs()[2].train.loss < 1e-9, "{history}");
    Ok(())
}

#[test]
fn invalid_settings_and_states_are_errors() -> Result<()> {
    let x = Var::new(&[1f32, 2.], &CPU)?;
    let message = |built: Result<Box<dyn Step>>| built.err().expect("expected an error").to_string();
    assert!(
        message(build(&Lbfgs::new(-1.), &[&x]))
            .starts_with("Lbfgs: the learning rate must be at least 0, found -1")
    );
    assert!(message(build(&Lbfgs::new(1.).tolerance_grad(f64::NAN), &[&x])).contains("tolerance_grad"));
    assert!(
        message(build(&Lbfgs::new(1.), &[&x, &x]))
            .contains("`p1` is the same variable as an earlier parameter")
    );
    assert!(message(build(&Lbfgs::new(1.), &[])).contains("at least one parameter"));

    let scale = Tensor::new(&[1f32, 2.], &CPU)?;
    let mut optimizer = build(&Lbfgs::new(0.1).max_iter(3), &[&x])?;
    optimizer.step_with(&mut || quadratic(&x, &scale))?;
    let state: HashMap<String, Tensor> = optimizer.state()?.into_iter().collect();
    let mut assert_rejected = |change: &dyn Fn(&mut HashMap<String, Tensor>), part: &str| {
        let mut changed = state.clone();
        change(&mut changed);
        let error = optimizer.load_state(&changed).unwrap_err().to_string();
        assert!(error.starts_with("Lbfgs: ") && error.contains(part), "{error}");
    };
    assert_rejected(
        &|s| drop(s.insert("x.step".into(), scale.clone())),
        "unexpected keys in the optimizer state: x.step",
    );
    assert_rejected(&|s| drop(s.remove("lbfgs.n_iter")), "`lbfgs.n_iter` is missing");
    assert_rejected(&|s| drop(s.remove("lbfgs.prev_step")), "`lbfgs.prev_step` is missing");
    assert_rejected(&|s| drop(s.remove("lbfgs.old_dirs")), "of equal length");
    let long = Tensor::zeros(3, DType::F32, &CPU)?;
    assert_rejected(
        &|s| drop(s.insert("lbfgs.prev_step".into(), long.clone())),
        "a vector of shape [2] for all parameters",
    );
    Ok(())
}
