//! Compares optimizers, schedules and gradient clipping with PyTorch: the values of variables before and after each
//! optimizer step, the first 60 learning rates of a schedule, and clipped gradients. PyTorch has no Lion and no LAMB;
//! `make_training.py` computes their steps from the published algorithms.

use sconce::candle::{DType, Device, Tensor, Var};
use sconce::prelude::{Config, Linear, Network};
use sconce::train::optim::*;
use sconce::train::schedule::*;
use sconce::train::{ClipGradNorm, clip_grad_value};
use serde_json::Value;

use crate::cases::{Case, golden_tests};
use crate::common::check_close;

/// Builds the optimizer `kind` with the arguments of `case`. An argument that the case leaves out has its default.
fn optimizer(kind: &str, case: &Case) -> Box<dyn Optimizer> {
    let number = |name, default| case.number(name).unwrap_or(default);
    let boolean = |name| case.boolean(name).unwrap_or(false);
    let beta = |k: usize, default| case.args["betas"][k].as_f64().unwrap_or(default);
    let (rate, betas) = (number("lr", f64::NAN), (beta(0, 0.9), beta(1, 0.999)));
    let (momentum, decay) = (number("momentum", 0.), number("weight_decay", 0.));
    match kind {
        "SGD" => {
            let sgd = Sgd::new(rate).momentum(momentum).weight_decay(decay).nesterov(boolean("nesterov"));
            Box::new(sgd.dampening(number("dampening", 0.)))
        }
        "Adam" => Box::new(Adam::new(rate).betas(betas).weight_decay(decay).amsgrad(boolean("amsgrad"))),
        "AdamW" => {
            let decay = number("weight_decay", 0.01);
            Box::new(AdamW::new(rate).betas(betas).eps(number("eps", 1e-8)).weight_decay(decay))
        }
        "RMSprop" => Box::new(RmsProp::new(rate).momentum(momentum).centered(boolean("centered"))),
        "Adagrad" => Box::new(Adagrad::new(rate)),
        "Adadelta" => Box::new(Adadelta::new(rate)),
        "Adamax" => Box::new(Adamax::new(rate)),
        "NAdam" => Box::new(NAdam::new(rate)),
        "RAdam" => Box::new(RAdam::new(rate)),
        "Lion" => Box::new(Lion::new(rate).betas((beta(0, 0.9), beta(1, 0.99))).weight_decay(decay)),
        "LAMB" => {
            let lamb = Lamb::new(rate).betas(betas).eps(number("eps", 1e-6));
            Box::new(lamb.weight_decay(number("weight_decay", 0.01)).always_adapt(boolean("always_adapt")))
        }
        "LBFGS" => Box::new(Lbfgs::new(rate).max_iter(number("max_iter", 20.) as usize)),
        _ => panic!("unknown optimizer {kind}"),
    }
}

/// Builds the schedule `kind` with the arguments of `case`, which have PyTorch's names.
fn schedule(kind: &str, case: &Case) -> Box<dyn Schedule> {
    let number = |name| case.number(name).expect("the case should have the argument");
    let count = |name| number(name) as usize;
    match kind {
        "StepLR" => Box::new(StepLr::new(count("step_size")).gamma(number("gamma"))),
        "MultiStepLR" => {
            let list = case.args["milestones"].as_array().expect("milestones should be a list");
            let milestones: Vec<usize> = list
                .iter()
                .map(|milestone| milestone.as_u64().expect("a milestone should be an integer") as usize)
                .collect();
            Box::new(MultiStepLr::new(milestones).gamma(number("gamma")))
        }
        "ExponentialLR" => Box::new(ExponentialLr::new(number("gamma"))),
        "CosineAnnealingLR" => Box::new(CosineAnnealingLr::new(count("T_max")).eta_min(number("eta_min"))),
        "CosineAnnealingWarmRestarts" => {
            Box::new(CosineAnnealingWarmRestarts::new(count("T_0")).t_mult(count("T_mult")))
        }
        "LinearLR" => {
            Box::new(LinearLr::new().start_factor(number("start_factor")).total_iters(count("total_iters")))
        }
        "PolynomialLR" => {
            Box::new(PolynomialLr::new().total_iters(count("total_iters")).power(number("power")))
        }
        "OneCycleLR" => Box::new(OneCycleLr::new(number("max_lr"), count("total_steps"))),
        "ConstantLR" => {
            Box::new(ConstantLr::new().factor(number("factor")).total_iters(count("total_iters")))
        }
        _ => panic!("unknown schedule {kind}"),
    }
}

/// Adds the groups of `case` to `rule`. `set` changes the setting of a given name.
fn with_groups<R: Rule>(rule: R, case: &Case, set: fn(R, &str, &Value) -> R) -> Box<dyn Optimizer> {
    let group = |case: &Value| {
        let pattern = case[0].as_str().expect("the pattern should be a string").to_owned();
        let settings = case[1].as_object().expect("the settings should be an object").clone();
        (pattern, move |rule| settings.iter().fold(rule, |rule, (name, value)| set(rule, name, value)))
    };
    let mut groups = case.args["groups"].as_array().expect("groups should be a list").iter().map(group);
    let (pattern, change) = groups.next().expect("there should be a group");
    let first = rule.group(pattern, change);
    Box::new(groups.fold(first, |groups, (pattern, change)| groups.group(pattern, change)))
}

/// Builds the optimizer of a case with groups.
fn optimizer_with_groups(case: &Case) -> Box<dyn Optimizer> {
    let number = |value: &Value| value.as_f64().expect("the setting should be a number");
    let rate = number(&case.args["lr"]);
    match &case.kind[..] {
        "AdamW" => {
            let adamw = AdamW::new(rate).weight_decay(number(&case.args["weight_decay"]));
            with_groups(adamw, case, |adamw, name, value| match (name, value.as_f64()) {
                ("lr", Some(lr)) => adamw.lr(lr),
                ("weight_decay", Some(decay)) => adamw.weight_decay(decay),
                _ => panic!("unknown setting {name}"),
            })
        }
        "SGD" => with_groups(Sgd::new(rate), case, |sgd, name, value| match (name, value.as_f64()) {
            ("lr", Some(lr)) => sgd.lr(lr),
            ("momentum", Some(momentum)) => sgd.momentum(momentum),
            _ => panic!("unknown setting {name}"),
        }),
        "Adam" => with_groups(Adam::new(rate), case, |adam, name, value| match name {
            "amsgrad" => adam.amsgrad(value.as_bool() == Some(true)),
            "betas" => adam.betas((value[0].as_f64().unwrap(), value[1].as_f64().unwrap())),
            _ => panic!("unknown setting {name}"),
        }),
        kind => panic!("unknown optimizer {kind}"),
    }
}

/// Builds the plateau schedule of `case`.
fn plateau(case: &Case) -> ReduceLrOnPlateau {
    let number = |name, default| case.number(name).unwrap_or(default);
    let has = |name: &str, value: &str| case.args[name].as_str() == Some(value);
    ReduceLrOnPlateau::new()
        .mode(if has("mode", "max") { PlateauMode::Max } else { PlateauMode::Min })
        .threshold_mode(if has("threshold_mode", "abs") { ThresholdMode::Abs } else { ThresholdMode::Rel })
        .factor(number("factor", 0.1))
        .patience(number("patience", 10.) as usize)
        .threshold(number("threshold", 1e-4))
        .cooldown(number("cooldown", 0.) as usize)
        .min_lr(number("min_lr", 0.))
        .eps(number("eps", 1e-8))
}

/// Minimizes a function of one variable, and compares the variable before and after each step with the golden tensor
/// `path`, whose row `i` holds the values after `i` steps.
fn check_steps(case: &Case) -> sconce::Result<()> {
    let (target, scale, expected) = (case.tensor("target")?, case.tensor("scale")?, case.tensor("path")?);
    let x = Var::from_tensor(&case.tensor("start")?)?;
    let mut optimizer = optimizer(&case.kind, case).build(vec![("x".into(), x.clone())])?;
    for step in 0..101 {
        check_close(&format!("{} step {step}", case.label()), &x, &expected.get(step)?, 1e-5)?;
        optimizer.step_with(&mut || {
            let quadratic = (&scale * (x.as_tensor() - &target)?.sqr()?)?;
            Ok((quadratic + ((x.as_tensor() * 3.)?.sin()? * 0.1)?)?.sum_all()?)
        })?;
    }
    Ok(())
}

golden_tests! {
    optimizer_steps: "optimizers", 17 => check_steps;
    steps_of_optimizers_that_pytorch_lacks: "more_optimizers", 6 => check_steps;
    composed_schedule_rates: "composed_schedules", 2 => |case| {
        let warm_up = LinearLr::new().start_factor(0.1).total_iters(5);
        let schedule: Box<dyn Schedule> = match &case.kind[..] {
            "SequentialLR" => Box::new(SequentialLr::new(warm_up).then(5, ExponentialLr::new(0.9))),
            _ => {
                let constant = ConstantLr::new().factor(0.1).total_iters(5);
                Box::new(ChainedLr::new(constant).and(ExponentialLr::new(0.9)).and(StepLr::new(20).gamma(0.5)))
            }
        };
        let rates: Vec<f64> = (0..60).map(|step| schedule.rate(0.1, step)).collect();
        Ok(check_close(&case.label(), &Tensor::new(rates, &Device::Cpu)?, &case.tensor("lr")?, 1e-7)?)
    };
    rates_on_plateaus: "plateaus", 6 => |case| {
        let vars = [Var::new(0f32, &Device::Cpu)?, Var::new(0f32, &Device::Cpu)?];
        let named = ["a", "b"].iter().zip(&vars).map(|(name, var)| (name.to_string(), var.clone()));
        let mut optimizer = Sgd::new(0.1).group("b", |g| g.lr(0.04)).build(named.collect())?;
        let mut plateau = plateau(case);
        let metrics = case.tensor("metrics")?.to_vec1::<f64>()?;
        for (epoch, metric) in metrics.into_iter().enumerate() {
            let before = optimizer.learning_rates();
            let is_lowered = plateau.step(metric, &mut *optimizer)?;
            let rates = optimizer.learning_rates();
            assert_eq!(is_lowered, rates != before, "{} epoch {epoch}", case.label());
            let label = format!("{} epoch {epoch}", case.label());
            check_close(&label, &Tensor::new(rates, &Device::Cpu)?, &case.tensor("lr")?.get(epoch)?, 1e-7)?;
        }
        assert!(optimizer.learning_rate() < 0.1, "{} should lower the learning rate", case.label());
        Ok(())
    };
    steps_with_groups_and_a_schedule: "optimizer_groups", 3 => |case| {
        let names = ["backbone.weight", "backbone.bias", "head.weight", "head.bias"];
        let tensors = |part: &str| {
            let tensors = names.iter().map(|name| case.tensor(&format!("{part}.{name}")));
            tensors.collect::<candle_core::Result<Vec<_>>>()
        };
        let (targets, scales, expected) = (tensors("target")?, tensors("scale")?, tensors("path")?);
        let vars = tensors("start")?.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>()?;
        let named = names.iter().zip(&vars).map(|(name, var)| (name.to_string(), var.clone()));
        let mut optimizer = optimizer_with_groups(case).build(named.collect())?;
        let initial = optimizer.learning_rates();
        let schedule = schedule("StepLR", case);
        for step in 0..41 {
            for ((name, var), expected) in names.iter().zip(&vars).zip(&expected) {
                let label = format!("{} {name} step {step}", case.label());
                check_close(&label, var, &expected.get(step)?, 1e-5)?;
            }
            let rates: Vec<f64> = initial.iter().map(|rate| schedule.rate(*rate, step)).collect();
            optimizer.set_learning_rates(&rates)?;
            let mut loss = Tensor::new(0f64, &Device::Cpu)?;
            for ((x, target), scale) in vars.iter().zip(&targets).zip(&scales) {
                let quadratic = (scale * (x.as_tensor() - target)?.sqr()?)?;
                loss = (loss + (quadratic + ((x.as_tensor() * 3.)?.sin()? * 0.1)?)?.sum_all()?)?;
            }
            optimizer.step(&loss.backward()?)?;
        }
        Ok(())
    };
    clipped_gradients: "clipping", 9 => |case| {
        let linear = Linear::config(4, 3).init(&Device::Cpu)?;
        // The gradients of this loss are the golden tensors `grad.weight` and `grad.bias`.
        let mut loss = Tensor::new(0f32, &Device::Cpu)?;
        for (name, var) in linear.trainable_parameters() {
            let gradient = case.tensor(&format!("grad.{name}"))?.to_dtype(DType::F32)?;
            loss = (loss + (var.as_tensor() * gradient)?.sum_all()?)?;
        }
        let mut grads = sconce::backward(&loss)?;
        if let Some(clip_value) = case.number("clip_value") {
            clip_grad_value(&linear, &mut grads, clip_value)?;
        } else {
            let max_norm = case.number("max_norm").expect("the case should have a maximum norm");
            // JSON has no infinity. The only `norm_type` that is a string is "inf".
            let infinite = case.args["norm_type"].as_str().map(|_| f64::INFINITY);
            let norm_type = infinite.or(case.number("norm_type")).unwrap_or(2.);
            let norm = ClipGradNorm::new(max_norm).norm_type(norm_type).clip(&linear, &mut grads)?;
            check_close(&case.label(), &Tensor::new(norm, &Device::Cpu)?, &case.tensor("norm")?, 1e-6)?;
        }
        for (name, var) in linear.trainable_parameters() {
            let clipped = grads.get(&var).expect("every parameter has a gradient");
            let expected = case.tensor(&format!("clipped.{name}"))?;
            check_close(&format!("{} {name}", case.label()), clipped, &expected, 1e-6)?;
        }
        Ok(())
    };
    schedule_rates: "schedules", 9 => |case| {
        let schedule = schedule(&case.kind, case);
        schedule.validate()?;
        let rates: Vec<f64> = (0..60).map(|step| schedule.rate(0.1, step)).collect();
        // The golden rates are stored in f32.
        Ok(check_close(&case.label(), &Tensor::new(rates, &Device::Cpu)?, &case.tensor("lr")?, 1e-7)?)
    };
}
