//! L-BFGS beyond PyTorch's path, which optimizers.rs checks: many iterations a step, resuming, `fit`.

use std::cell::Cell;
use std::collections::HashMap;

use proptest::prelude::*;
use sconce::Result;
use sconce::candle::{DType, Device, Tensor, Var};
use sconce::prelude::{Config, Epochs, Linear, Trainer, mse_loss};
use sconce::train::optim::{Lbfgs, LineSearch, Optimizer, Step};

use crate::common::{Numbers, check_close, config, fail, values};

const CPU: Device = Device::Cpu;

fn build(lbfgs: &Lbfgs, vars: &[&Var]) -> Result<Box<dyn Step>> {
    lbfgs.build(vars.iter().enumerate().map(|(i, &var)| (format!("p{i}"), var.clone())).collect())
}

/// `Σ scale · (x − 1)²`, a bowl of that many axes.
fn bowl(x: &Var, scale: &Tensor) -> Result<Tensor> {
    Ok((scale * (x.as_tensor() - 1.)?.sqr()?)?.sum_all()?)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_bowl_is_emptied_in_one_step(size in 1..8usize, seed: u64) {
        let mut numbers = Numbers::new(seed);
        let scale = numbers.tensor(&[size], 1.).affine(1., 1.5).map_err(fail)?;
        let x = Var::from_tensor(&numbers.tensor(&[size], 3.)).map_err(fail)?;
        let mut lbfgs = build(&Lbfgs::new(1.).max_iter(100).tolerance_change(0.), &[&x]).map_err(fail)?;
        lbfgs.step_with(&mut || bowl(&x, &scale)).map_err(fail)?;
        prop_assert!(values(&x).map_err(fail)?.iter().all(|x| (x - 1.).abs() < 1e-5), "{x:?}");
    }

    #[test]
    fn a_run_resumes_exactly(before in 0..6usize, after in 1..6usize, history in 1..5usize, seed: u64) {
        let check = || -> Result<()> {
            let mut numbers = Numbers::new(seed);
            let scale = numbers.tensor(&[5], 1.).affine(1., 1.5)?;
            let x = Var::from_tensor(&numbers.tensor(&[5], 3.))?;
            let settings = Lbfgs::new(0.5).max_iter(2).history_size(history);
            let mut running = build(&settings, &[&x])?;
            for _ in 0..before {
                running.step_with(&mut || bowl(&x, &scale))?;
            }
            let copy = Var::from_tensor(&x.as_detached_tensor().copy()?)?;
            let mut resumed = build(&settings, &[&copy])?;
            resumed.set_learning_rate(7.);
            resumed.load_state(&running.state()?.into_iter().collect())?;
            for _ in 0..after {
                running.step_with(&mut || bowl(&x, &scale))?;
                resumed.step_with(&mut || bowl(&copy, &scale))?;
            }
            assert_eq!(values(&x)?, values(&copy)?);
            Ok(())
        };
        check().map_err(fail)?;
    }
}

#[test]
fn the_loss_is_evaluated_as_often_as_is_allowed() -> Result<()> {
    let x = Var::new(&[-1.2f64, 1.], &CPU)?;
    let calls = Cell::new(0);
    // Rosenbrock's valley: many iterations long.
    let mut loss = || {
        calls.set(calls.get() + 1);
        let (a, b) = (x.narrow(0, 0, 1)?, x.narrow(0, 1, 1)?);
        Ok((((b - a.sqr()?)?.sqr()? * 100.)? + (a - 1.)?.sqr()?)?.sum_all()?)
    };
    let mut count = |lbfgs: Lbfgs| -> Result<usize> {
        calls.set(0);
        build(&lbfgs, &[&x])?.step_with(&mut loss)?;
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

    /// From anywhere around Rosenbrock's valley to its lowest point, in however many dimensions.
    #[test]
    fn a_line_search_finds_the_end_of_the_valley(size in 2..5usize, seed: u64, single: bool) {
        let check = || -> Result<f64> {
            let dtype = if single { DType::F32 } else { DType::F64 };
            let x = Var::from_tensor(&Numbers::new(seed).tensor(&[size], 0.9).affine(1., 1.)?.to_dtype(dtype)?)?;
            let mut loss = || {
                let (a, b) = (x.narrow(0, 0, size - 1)?, x.narrow(0, 1, size - 1)?);
                Ok((((b - a.sqr()?)?.sqr()? * 100.)? + (a - 1.)?.sqr()?)?.sum_all()?)
            };
            let settings = Lbfgs::new(1.).max_iter(200).max_eval(2000).tolerance_change(1e-12);
            let mut lbfgs = build(&settings.line_search_fn(LineSearch::StrongWolfe), &[&x])?;
            let start = values(&lbfgs.step_with(&mut loss)?)?[0];
            let end = values(&loss()?)?[0];
            assert!(end <= start);
            Ok(end)
        };
        let end = check().map_err(fail)?;
        prop_assert!(end < if single { 1e-5 } else { 1e-9 }, "{end}");
    }
}

/// On a slope without curvature there is nothing to learn from, and every step goes down all the same.
#[test]
fn a_straight_slope_is_followed() -> Result<()> {
    let x = Var::new(&[0f64, 0.], &CPU)?;
    let mut lbfgs = build(&Lbfgs::new(1.).max_iter(5), &[&x])?;
    lbfgs.step_with(&mut || Ok(x.sum_all()?))?;
    // The first step is as long as 1 over the sum of the gradient.
    assert_eq!(values(&x)?, [-4.5, -4.5]);
    Ok(())
}

#[test]
fn parameters_without_a_gradient_stay_and_halves_are_taken() -> Result<()> {
    let (x, idle) = (Var::new(&[[3f32, -2.]], &CPU)?, Var::new(5f32, &CPU)?);
    let half = Var::from_tensor(&Tensor::new(&[4f32], &CPU)?.to_dtype(DType::F16)?)?;
    let seen_elsewhere = x.as_detached_tensor();
    let mut lbfgs = build(&Lbfgs::new(1.).max_iter(40), &[&idle, &x, &half])?;
    let loss = lbfgs.step_with(&mut || {
        let half = half.as_tensor().to_dtype(DType::F32)?;
        Ok(((x.as_tensor() - 1.)?.sqr()?.sum_all()? + (half - 2.)?.sqr()?.sum_all()?)?)
    })?;
    assert_eq!(values(&loss)?, [17.]);
    check_close("x", &seen_elsewhere, &Tensor::new(&[[1f32, 1.]], &CPU)?, 1e-3)?;
    assert_eq!((values(&idle)?, half.dtype()), (vec![5.], DType::F16));
    assert!((values(&half)?[0] - 2.).abs() < 1e-2);
    Ok(())
}

#[test]
fn fit_steps_by_it() -> Result<()> {
    let line = Linear::config(2, 1).init(&CPU)?;
    let x = Numbers::new(3).tensor(&[12, 2], 1.).to_dtype(DType::F32)?;
    let y = (x.sum_keepdim(1)? + 0.5)?;
    let lbfgs = Lbfgs::new(1.).max_iter(30);
    let history = Trainer::new(&line, mse_loss, lbfgs).quiet(true).fit(&(x, y), &(), Epochs(3))?;
    assert!(history.epochs()[0].train.loss > 1e-3 && history.epochs()[2].train.loss < 1e-9, "{history}");
    Ok(())
}

#[test]
fn senseless_settings_and_states_are_errors() -> Result<()> {
    let x = Var::new(&[1f32, 2.], &CPU)?;
    let message = |built: Result<Box<dyn Step>>| built.err().expect("an error").to_string();
    assert!(message(build(&Lbfgs::new(-1.), &[&x])).starts_with("Lbfgs: the learning rate must be at least 0, got -1"));
    assert!(message(build(&Lbfgs::new(1.).tolerance_grad(f64::NAN), &[&x])).contains("tolerance_grad"));
    assert!(message(build(&Lbfgs::new(1.), &[&x, &x])).contains("`p1` is registered twice"));
    assert!(message(build(&Lbfgs::new(1.), &[])).contains("at least one parameter"));

    let scale = Tensor::new(&[1f32, 2.], &CPU)?;
    let mut running = build(&Lbfgs::new(0.1).max_iter(3), &[&x])?;
    running.step_with(&mut || bowl(&x, &scale))?;
    let state: HashMap<String, Tensor> = running.state()?.into_iter().collect();
    let mut refuse = |change: &dyn Fn(&mut HashMap<String, Tensor>), what: &str| {
        let mut changed = state.clone();
        change(&mut changed);
        let error = running.load_state(&changed).unwrap_err().to_string();
        assert!(error.starts_with("Lbfgs: ") && error.contains(what), "{error}");
    };
    refuse(&|s| drop(s.insert("x.step".into(), scale.clone())), "unexpected keys in the optimizer state: x.step");
    refuse(&|s| drop(s.remove("lbfgs.n_iter")), "`lbfgs.n_iter` is missing");
    refuse(&|s| drop(s.remove("lbfgs.prev_step")), "`lbfgs.prev_step` is missing");
    refuse(&|s| drop(s.remove("lbfgs.old_dirs")), "of equal length");
    let long = Tensor::zeros(3, DType::F32, &CPU)?;
    refuse(&|s| drop(s.insert("lbfgs.prev_step".into(), long.clone())), "a vector [2] for all parameters");
    Ok(())
}
