//! The learning-rate schedules, alone and in `fit`.

use proptest::prelude::*;
use sconce::prelude::{
    Config, ConstantLr, CosineAnnealingLr, CosineAnnealingWarmRestarts, DType, Device, Epochs, Every,
    ExponentialLr, Linear, LinearLr, Network, OneCycleLr, Optimizer, PolynomialLr, Schedule, SequentialLr,
    Sgd, StepLr, Tensor, Trainer,
};
use sconce::train::schedule::Anneal;
use sconce::{Error, Result};

use crate::common::config;

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

/// Trains a parameter with gradient 1 for `epochs` epochs of three batches each. Returns two numbers: the decrease
/// of the parameter, which equals the sum of the learning rates of all steps, and the last learning rate.
fn decrease(schedule: impl Schedule, every: Every, epochs: usize) -> Result<(f64, f64)> {
    let line = Linear::config(1, 1).bias(false).init(&CPU)?;
    let weight = || Ok::<_, Error>(line.weight().flatten_all()?.to_vec1::<f32>()?[0] as f64);
    let before = weight()?;
    let x = Tensor::ones((2, 1), DType::F32, &CPU)?;
    let data = vec![(x.clone(), x.clone()); 3];
    let loss = |output: &Tensor, _: &Tensor| Ok::<_, Error>(output.mean_all()?);
    let mut trainer = Trainer::new(&line, loss, Sgd::new(1.)).quiet(true).schedule(schedule, every);
    let history = trainer.fit(&data, &(), Epochs(epochs))?;
    let rate = history.last().map_or(f64::NAN, |epoch| epoch.learning_rate);
    Ok((before - weight()?, rate))
}

#[test]
fn fit_follows_a_schedule_by_step_or_by_epoch() -> Result<()> {
    // The learning rates are 1, 1/2, 1/4, …
    let (moved_by_steps, rate) = decrease(ExponentialLr::new(0.5), Every::Step, 2)?;
    assert!((moved_by_steps - (2. - 0.5f64.powi(5))).abs() < 1e-5 && rate == 0.5f64.powi(5));
    // Three steps with the rate 1, and three with 1/2.
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
    trainer.schedule(ExponentialLr::new(0.5), Every::Step).fit(&data, &(), Epochs(1))?;
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
        "expected a finite learning rate of at least 0 from the schedule, found NaN for step 1"
    );
}
