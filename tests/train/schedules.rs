//! The learning-rate schedules, alone and in `fit`.

use std::collections::HashMap;

use proptest::prelude::*;
use sconce::candle::Var;
use sconce::prelude::{
    ChainedLr, Config, ConstantLr, CosineAnnealingLr, CosineAnnealingWarmRestarts, DType, Device, Epochs,
    Every, ExponentialLr, Linear, LinearLr, Network, OneCycleLr, Optimizer, PolynomialLr, ReduceLrOnPlateau,
    Schedule, SequentialLr, Sgd, StepLr, Tensor, Trainer,
};
use sconce::train::schedule::Anneal;
use sconce::{Error, Result};

use crate::common::{Rng, config};

const CPU: Device = Device::Cpu;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * b.abs().max(1.)
}

#[test]
fn sequential_schedules_run_one_after_another() {
    let warm_up = LinearLr::new().start_factor(0.1).total_iters(4);
    let schedule = SequentialLr::new(warm_up).then(4, ExponentialLr::new(0.5)).then(6, |_| 0.25);
    let rates = [0, 2, 4, 5, 6, 100].map(|step| schedule.rate(1., step));
    assert!(rates.iter().zip([0.1, 0.55, 1., 0.5, 0.25, 0.25]).all(|(a, b)| close(*a, b)), "{rates:?}");
    let wrong = SequentialLr::new(StepLr::new(1)).then(6, StepLr::new(1)).then(4, StepLr::new(1));
    assert!(wrong.validate().unwrap_err().to_string().contains("the milestones must be in ascending order"));
}

proptest! {
    #![proptest_config(config(200))]

    /// The bounds from the documentation also hold far beyond the last step.
    #[test]
    fn rates_stay_within_their_bounds(
        step in prop_oneof![0..300usize, Just(usize::MAX / 4)],
        total in 1..100usize,
        base in 1e-6..10f64,
        three_phase: bool,
    ) {
        let lowest = base / 10.;
        let falling: [&dyn Schedule; 6] = [
            &CosineAnnealingLr::new(total).eta_min(lowest),
            &CosineAnnealingWarmRestarts::new(total).eta_min(lowest),
            &CosineAnnealingWarmRestarts::new(total).t_mult(3).eta_min(lowest),
            &LinearLr::new().end_factor(0.1).total_iters(total),
            &ConstantLr::new().factor(0.1).total_iters(total),
            &|_: usize| 0.5,
        ];
        for schedule in falling {
            let rate = schedule.rate(base, step);
            prop_assert!(rate >= lowest * (1. - 1e-9) && rate <= base * (1. + 1e-9), "{rate}");
        }
        let polynomial = PolynomialLr::new().total_iters(total);
        for schedule in [&polynomial as &dyn Schedule, &ExponentialLr::new(0.9), &StepLr::new(total)] {
            prop_assert!((0. ..=base).contains(&schedule.rate(base, step)));
        }
        for anneal in [Anneal::Cos, Anneal::Linear] {
            // By default, the first rate is the maximum divided by 25, and the last rate is the first rate divided by
            // 1e4.
            let cycle = OneCycleLr::new(base, total).anneal_strategy(anneal).three_phase(three_phase);
            let rate = cycle.rate(0., step);
            prop_assert!(rate >= base / 25e4 * (1. - 1e-9) && rate <= base * (1. + 1e-9), "{rate}");
        }
        // By default, the rate reaches its maximum after 30 % of the steps.
        let (peak_step, last_step) = (3 * total, 10 * total);
        let cycle = OneCycleLr::new(base, last_step).three_phase(three_phase);
        prop_assert!(close(cycle.rate(0., peak_step - 1), base));
        prop_assert!(close(cycle.rate(0., last_step - 1), base / 25e4));
        prop_assert!(close(cycle.rate(0., 0), base / 25.));
    }
}

#[test]
fn a_resumed_plateau_schedule_continues_exactly() -> Result<()> {
    let mut rng = Rng::new(7);
    let settings = ReduceLrOnPlateau::new().patience(1).cooldown(2).factor(0.5);
    let metrics: Vec<f64> = (0..40).map(|epoch| if epoch == 9 { f64::NAN } else { rng.uniform() }).collect();
    for stop in 0..metrics.len() {
        let build = || Sgd::new(1.).build(vec![("x".into(), Var::new(0f32, &CPU)?)]);
        let (mut whole, mut resumed) = (build()?, build()?);
        let (mut plateau, mut first) = (settings.clone(), settings.clone());
        metrics.iter().try_for_each(|metric| plateau.step(*metric, &mut *whole).map(drop))?;
        metrics[..stop].iter().try_for_each(|metric| first.step(*metric, &mut *resumed).map(drop))?;
        let mut second = settings.clone();
        second.load_state(&first.state()?.into_iter().collect())?;
        metrics[stop..].iter().try_for_each(|metric| second.step(*metric, &mut *resumed).map(drop))?;
        assert!(whole.learning_rate() < 0.1);
        assert_eq!(resumed.learning_rate(), whole.learning_rate(), "stopped after {stop} epochs");
    }
    Ok(())
}

#[test]
fn invalid_plateau_settings_and_states_are_errors() -> Result<()> {
    let mut optimizer = Sgd::new(1.).build(vec![("x".into(), Var::new(0f32, &CPU)?)])?;
    let mut message =
        |mut plateau: ReduceLrOnPlateau| plateau.step(1., &mut *optimizer).unwrap_err().to_string();
    let new = ReduceLrOnPlateau::new;
    assert_eq!(
        message(new().factor(1.)),
        "ReduceLrOnPlateau: factor must be at least 0 and less than 1, found 1"
    );
    assert!(message(new().min_lr(-1.)).contains("min_lr must be at least 0, found -1"));
    assert!(message(new().threshold(f64::NAN)).contains("threshold must be at least 0, found NaN"));

    let mut plateau = new();
    plateau.step(0.5, &mut *optimizer)?;
    plateau.step(0.7, &mut *optimizer)?;
    let state: HashMap<String, Tensor> = plateau.state()?.into_iter().collect();
    let mut rejected = |key: &str, value: Option<f64>| {
        let mut changed = state.clone();
        match value {
            Some(value) => drop(changed.insert(key.to_owned(), Tensor::new(value, &CPU).unwrap())),
            None => drop(changed.remove(key)),
        }
        plateau.load_state(&changed).unwrap_err().to_string()
    };
    assert!(rejected("num_bad_epochs", None).contains("`num_bad_epochs` is missing from the state"));
    assert!(
        rejected("num_bad_epochs", Some(-1.))
            .contains("an integer of at least 0 as `num_bad_epochs`, found -1")
    );
    assert!(rejected("cooldown_counter", Some(0.5)).contains("found 0.5"));
    assert!(rejected("last_lr", Some(0.5)).contains("unexpected keys in the state: last_lr"));
    let after: HashMap<String, Tensor> = plateau.state()?.into_iter().collect();
    for (key, tensor) in &state {
        assert_eq!(after[key].to_scalar::<f64>()?, tensor.to_scalar::<f64>()?, "{key}");
    }
    Ok(())
}

#[test]
fn chained_schedules_multiply_their_factors() {
    let chain = ChainedLr::new(StepLr::new(2).gamma(0.5)).and(|step| if step == 0 { 0.25 } else { 1. });
    assert_eq!([0, 1, 2, 4].map(|step| chain.rate(8., step)), [2., 8., 4., 2.]);
    let error = chain.and(StepLr::new(0)).validate().unwrap_err().to_string();
    assert_eq!(error, "StepLr: step_size cannot be 0");
}

/// Trains a parameter whose gradient is always 1 for `epochs` epochs of three batches each. Returns the decrease of the
/// parameter, which is the sum of the learning rates of all steps, and the last learning rate.
fn decrease(schedule: impl Schedule, every: Every, epochs: usize) -> Result<(f64, f64)> {
    let line = Linear::config(1, 1).bias(false).init(&CPU)?;
    let weight = || Ok::<_, Error>(line.weight().flatten_all()?.to_vec1::<f32>()?[0] as f64);
    let before = weight()?;
    let x = Tensor::ones((2, 1), DType::F32, &CPU)?;
    let data = vec![(x.clone(), x.clone()); 3];
    let loss = |output: &Tensor, _: &Tensor| Ok::<_, Error>(output.mean_all()?);
    let mut trainer = Trainer::new(&line, loss, Sgd::new(1.)).quiet(true).schedule((schedule, every));
    let history = trainer.fit(&data, &(), Epochs(epochs))?;
    let rate = history.last().map_or(f64::NAN, |epoch| epoch.learning_rate);
    Ok((before - weight()?, rate))
}

#[test]
fn fit_follows_a_schedule_by_step_or_by_epoch() -> Result<()> {
    // The learning rates are 1, 1/2, 1/4, …
    let (moved_by_steps, rate) = decrease(ExponentialLr::new(0.5), Every::Step, 2)?;
    assert!((moved_by_steps - (2. - 0.5f64.powi(5))).abs() < 1e-5 && rate == 0.5f64.powi(5));
    // Three steps have the rate 1, and three have the rate 1/2.
    let (moved_by_epochs, rate) = decrease(StepLr::new(1).gamma(0.5), Every::Epoch, 2)?;
    assert!((moved_by_epochs - 4.5).abs() < 1e-5 && rate == 0.5);
    let (by_factor, _) = decrease(|step: usize| if step < 2 { 0. } else { 1. }, Every::Step, 1)?;
    assert!((by_factor - 1.).abs() < 1e-6);
    Ok(())
}

#[test]
fn fit_schedules_each_group_from_its_own_rate() -> Result<()> {
    let line = Linear::config(1, 1).init(&CPU)?;
    let before = line.state_dict().iter().map(|(_, tensor)| tensor.copy()).collect::<Result<Vec<_>, _>>()?;
    let x = Tensor::ones((2, 1), DType::F32, &CPU)?;
    let data = vec![(x.clone(), x); 3];
    // The gradients of the weight and of the bias are 1.
    let loss = |output: &Tensor, _: &Tensor| Ok::<_, Error>(output.mean_all()?);
    let optimizer = Sgd::new(1.).group("bias", |g| g.lr(0.25));
    let trainer = Trainer::new(&line, loss, optimizer).quiet(true);
    trainer.schedule(ExponentialLr::new(0.5)).fit(&data, &(), Epochs(1))?;
    for ((name, tensor), before) in line.state_dict().iter().zip(before) {
        let moved = (before - tensor)?.flatten_all()?.to_vec1::<f32>()?[0] as f64;
        let expected = if name == "bias" { 0.25 * 1.75 } else { 1.75 };
        assert!((moved - expected).abs() < 1e-5, "{name} moved by {moved}");
    }
    Ok(())
}

#[test]
fn invalid_schedules_are_errors() {
    let message = |schedule: Box<dyn Schedule>| {
        struct Boxed(Box<dyn Schedule>);
        impl Schedule for Boxed {
            fn rate(&self, base: f64, step: usize) -> f64 {
                self.0.rate(base, step)
            }
            fn validate(&self) -> Result<()> {
                self.0.validate()
            }
        }
        decrease(Boxed(schedule), Every::Epoch, 2).expect_err("expected an error").to_string()
    };
    assert_eq!(message(Box::new(StepLr::new(0))), "StepLr: step_size cannot be 0");
    assert!(message(Box::new(OneCycleLr::new(1., 10).pct_start(2.))).contains("pct_start"));
    assert!(message(Box::new(CosineAnnealingLr::new(0))).contains("t_max"));
    let nan = |step: usize| if step == 1 { f64::NAN } else { 1. };
    assert_eq!(
        message(Box::new(nan)),
        "invalid learning rate from the schedule for step 1: Sgd: a learning rate must be at least 0, found NaN"
    );
}
