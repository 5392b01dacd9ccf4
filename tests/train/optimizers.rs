//! Tests of the optimizers: resuming, dtypes, learning rates, error messages. `tests/golden/training.rs` checks
//! the values that their steps compute.

use std::collections::HashMap;

use proptest::prelude::*;
use sconce::Result;
use sconce::candle::{DType, Device, Tensor, Var};
use sconce::nn::{self, Optimizer as _};
use sconce::prelude::{Epochs, Linear, Module, Network, Trainable, mse_loss};
use sconce::train::optim::*;

use crate::common::check_close;

const CPU: Device = Device::Cpu;

fn values(tensor: &Tensor) -> Vec<f64> {
    crate::common::values(tensor).unwrap()
}

fn all_optimizers() -> Vec<Box<dyn Optimizer>> {
    vec![
        Box::new(Sgd::new(0.05)),
        Box::new(Sgd::new(0.05).momentum(0.9).dampening(0.1)),
        Box::new(Adam::new(0.05).amsgrad(true)),
        Box::new(AdamW::new(0.05)),
        Box::new(RmsProp::new(0.05).momentum(0.5).centered(true)),
        Box::new(Adagrad::new(0.05).lr_decay(0.1).initial_accumulator_value(0.5)),
        Box::new(Adadelta::new(1.)),
        Box::new(Adamax::new(0.05)),
        Box::new(NAdam::new(0.05).weight_decay(0.01)),
        Box::new(NAdam::new(0.05).weight_decay(0.01).decoupled_weight_decay(true)),
        Box::new(RAdam::new(0.05)),
        Box::new(Lion::new(0.05).weight_decay(0.1)),
        Box::new(Lamb::new(0.05)),
    ]
}

/// Takes `count` steps on the loss `sum((x − 1)²)`.
fn descend(optimizer: &mut dyn Step, x: &Var, count: usize) -> Result<()> {
    for _ in 0..count {
        optimizer.step(&(x.as_tensor() - 1.)?.sqr()?.sum_all()?.backward()?)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::common::config(12))]

    #[test]
    fn a_resumed_run_continues_exactly(
        before in 0usize..8, after in 1usize..8, start in prop::collection::vec(-3f32..3., 1..6),
    ) {
        let groups = Sgd::new(0.05).group("**.x", |g| g.lr(0.02).momentum(0.9)).group("net.*", |g| g);
        for settings in all_optimizers().into_iter().chain([Box::new(groups) as Box<dyn Optimizer>]) {
            let x = Var::new(&start[..], &CPU).unwrap();
            let mut optimizer = settings.build(vec![("net.x".into(), x.clone())]).unwrap();
            descend(&mut *optimizer, &x, before).unwrap();
            let state: HashMap<_, _> = optimizer.state().unwrap().into_iter().collect();
            let copy = Var::from_tensor(&x.copy().unwrap()).unwrap();
            let mut resumed = settings.build(vec![("net.x".into(), copy.clone())]).unwrap();
            resumed.set_learning_rate(1.);
            resumed.load_state(&state).unwrap();
            descend(&mut *optimizer, &x, after).unwrap();
            descend(&mut *resumed, &copy, after).unwrap();
            prop_assert_eq!(values(&x), values(&copy), "{:?}", settings);
        }
    }
}

#[test]
fn steps_are_in_place_and_do_not_change_other_variables() -> Result<()> {
    for settings in all_optimizers() {
        let x = Var::new(&[3f64, -2.], &CPU)?;
        let idle = Var::new(&[1f64], &CPU)?;
        let alias = x.as_detached_tensor();
        let mut optimizer = settings.build(vec![("x".into(), x.clone()), ("idle".into(), idle.clone())])?;
        descend(&mut *optimizer, &x, 3)?;
        assert_eq!(values(&alias), values(&x), "{settings:?} should update the storage in place");
        assert_ne!(values(&x), [3., -2.]);
        assert_eq!(values(&idle), [1.]);
        let names: Vec<String> = optimizer.state()?.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names[..2], ["learning_rate", "x.step"]);
        assert!(names[1..].iter().all(|name| name.starts_with("x.")), "{names:?}");
        // Each parameter has its own step count, which starts with the parameter's first gradient.
        descend(&mut *optimizer, &idle, 1)?;
        let state: HashMap<_, _> = optimizer.state()?.into_iter().collect();
        assert_eq!((values(&state["x.step"]), values(&state["idle.step"])), (vec![3.], vec![1.]));
    }
    Ok(())
}

#[test]
fn transposed_gradients_and_half_precision_are_supported() -> Result<()> {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let weight = Var::from_tensor(&Tensor::new(&[[1f32, 2., 3.], [4., 5., 6.]], &CPU)?.to_dtype(dtype)?)?;
        let factor = Tensor::new(&[[1f32, 2.], [3., 4.], [5., 6.]], &CPU)?.to_dtype(dtype)?;
        let loss = (weight.t()? * &factor)?.sum_all()?;
        let mut optimizer = Sgd::new(0.5).build(vec![("weight".into(), weight.clone())])?;
        optimizer.step(&loss.backward()?)?;
        assert_eq!((values(&weight), weight.dtype()), (vec![0.5, 0.5, 0.5, 3., 3., 3.], dtype));
    }
    Ok(())
}

#[test]
fn lamb_does_not_overflow_in_f16_and_does_not_move_a_zero_parameter_with_a_zero_gradient() -> Result<()> {
    let large = Var::from_tensor(&Tensor::new(&[300f32, 400.], &CPU)?.to_dtype(DType::F16)?)?;
    let zero = Var::new(&[0f32, 0.], &CPU)?;
    let named = vec![("large".into(), large.clone()), ("zero".into(), zero.clone())];
    let mut optimizer = Lamb::new(0.5).build(named)?;
    optimizer
        .step(&((large.sum_all()? * 2.)?.to_dtype(DType::F32)? + zero.sqr()?.sum_all()?)?.backward()?)?;
    // The norm of the step is the learning rate, 0.5, times the norm of the parameter, 500.
    let moved: f64 = values(&large).iter().zip([300., 400.]).map(|(a, b)| (a - b) * (a - b)).sum();
    assert!((moved.sqrt() - 250.).abs() < 1., "{moved}");
    assert_eq!(values(&zero), [0., 0.]);
    Ok(())
}

#[test]
fn the_learning_rate_can_change_between_steps() -> Result<()> {
    let x = Var::new(2f64, &CPU)?;
    let mut optimizer = Sgd::new(0.25).build(vec![("x".into(), x.clone())])?;
    assert_eq!(optimizer.learning_rate(), 0.25);
    descend(&mut *optimizer, &x, 1)?;
    assert_eq!(values(&x), [1.5]);
    optimizer.set_learning_rate(0.);
    descend(&mut *optimizer, &x, 1)?;
    assert_eq!((optimizer.learning_rate(), values(&x)), (0., vec![1.5]));
    Ok(())
}

/// Builds an optimizer for two layers, each with a weight and a bias of value 1.
fn build_layers(settings: &dyn Optimizer) -> Result<(Vec<Var>, Box<dyn Step>)> {
    let names = ["body.0.weight", "body.0.bias", "head.weight", "head.bias"];
    let vars = names.iter().map(|_| Var::new(1f64, &CPU)).collect::<Result<Vec<_>, _>>()?;
    let named = names.iter().zip(&vars).map(|(name, var)| (name.to_string(), var.clone()));
    let optimizer = settings.build(named.collect())?;
    Ok((vars, optimizer))
}

#[test]
fn a_group_changes_the_settings_of_the_parameters_that_match_it() -> Result<()> {
    let groups = Sgd::new(0.5)
        .weight_decay(0.25)
        .group("**.bias", |g| g.weight_decay(0.))
        .group("body.**", |g| g.lr(0.125))
        .group("body.*.bias", |g| g.lr(0.0625));
    let (vars, mut optimizer) = build_layers(&groups)?;
    // `head.weight` is in no group.
    assert_eq!((optimizer.learning_rate(), optimizer.learning_rates()), (0.5, vec![0.5, 0.125, 0.0625, 0.5]));
    // The gradient is 1 for each parameter.
    let loss = vars.iter().try_fold(Tensor::new(0f64, &CPU)?, |loss, var| loss + var.as_tensor())?;
    optimizer.step(&loss.backward()?)?;
    let moved: Vec<f64> = vars.iter().map(|var| 1. - values(var)[0]).collect();
    assert_eq!(moved, [0.125 * 1.25, 0.0625, 0.5 * 1.25, 0.5]);
    optimizer.set_learning_rates(&[1., 2., 3., 4.])?;
    assert_eq!(optimizer.learning_rates(), [1., 2., 3., 4.]);
    optimizer.set_learning_rate(0.25);
    assert_eq!(optimizer.learning_rates(), [0.25; 4]);
    let error = |rates: &[f64], optimizer: &mut dyn Step| {
        optimizer.set_learning_rates(rates).unwrap_err().to_string()
    };
    assert_eq!(error(&[1.], &mut *optimizer), "Sgd: expected 4 learning rates, found 1");
    assert!(error(&[1., 2., 3., -1.], &mut *optimizer).contains("must be at least 0, found -1"));
    assert!(
        error(&[1., 2., 3., f64::NAN], &mut *optimizer)
            .contains("a learning rate must be at least 0, found NaN")
    );
    assert_eq!(optimizer.learning_rates(), [0.25; 4]);
    Ok(())
}

#[derive(Module)]
#[module(loss = mse_loss, optimizer = Sgd::new(0.5).group("fc.bias", |g| g.lr(0.)))]
struct Line {
    #[layer(1, 1)]
    fc: Linear,
}

#[test]
fn groups_work_in_the_attribute_of_a_network() -> Result<()> {
    let line = Line::new(&CPU)?;
    let before = line.state_dict().iter().map(|(_, tensor)| values(tensor)).collect::<Vec<_>>();
    let x = Tensor::ones((2, 1), DType::F32, &CPU)?;
    line.trainer().quiet(true).fit(&(x.clone(), (x * 100.)?), &(), Epochs(1))?;
    assert_ne!(values(line.fc.weight()), before[0]);
    assert_eq!(values(line.fc.bias().expect("the layer has a bias")), before[1]);
    Ok(())
}

#[test]
fn the_state_of_groups_is_resumed_and_checked() -> Result<()> {
    let groups =
        || Adam::new(0.1).group("**.bias", |g| g.lr(0.2).amsgrad(true)).group("head.**", |g| g.lr(0.3));
    let (vars, mut optimizer) = build_layers(&groups())?;
    let loss = |vars: &[Var]| {
        let sum =
            vars.iter().try_fold(Tensor::new(0f64, &CPU)?, |loss, var| loss + var.as_tensor().exp()?)?;
        sum.backward()
    };
    optimizer.step(&loss(&vars)?)?;
    optimizer.set_learning_rates(&[0.01, 0.02, 0.03, 0.04])?;
    let state: HashMap<String, Tensor> = optimizer.state()?.into_iter().collect();
    assert_eq!(values(&state["learning_rate"]), [0.01]);
    assert_eq!(values(&state["learning_rate[**.bias, head.**]"]), [0.04]);
    assert!(
        state.contains_key("head.bias.max_exp_avg_sq") && !state.contains_key("head.weight.max_exp_avg_sq")
    );

    let (resumed_vars, mut resumed) = build_layers(&groups())?;
    resumed_vars.iter().zip(&vars).try_for_each(|(resumed, var)| resumed.set(&var.copy()?))?;
    resumed.load_state(&state)?;
    for _ in 0..3 {
        optimizer.step(&loss(&vars)?)?;
        resumed.step(&loss(&resumed_vars)?)?;
    }
    let all = |vars: &[Var]| vars.iter().flat_map(|var| values(var)).collect::<Vec<_>>();
    assert_eq!((resumed.learning_rates(), all(&resumed_vars)), (optimizer.learning_rates(), all(&vars)));

    let (_, mut ungrouped) = build_layers(&Adam::new(0.1).amsgrad(true))?;
    fn error(optimizer: &mut dyn Step, state: &HashMap<String, Tensor>) -> String {
        optimizer.load_state(state).unwrap_err().to_string()
    }
    assert!(error(&mut *ungrouped, &state).contains("max_exp_avg_sq` is missing"));
    let (_, mut ungrouped) = build_layers(&Adam::new(0.1))?;
    assert!(
        error(&mut *ungrouped, &state)
            .contains("unexpected keys in the optimizer state: body.0.bias.max_exp_avg_sq")
    );
    let mut changed = state.clone();
    changed.remove("learning_rate[head.**]");
    assert!(error(&mut *resumed, &changed).contains("`learning_rate[head.**]` is missing"));
    changed.insert("learning_rate[head.**]".into(), Tensor::new(-1f64, &CPU)?);
    assert!(error(&mut *resumed, &changed).contains("must be at least 0, found -1"));
    Ok(())
}

#[test]
fn invalid_groups_are_errors() {
    let message = |optimizer: &dyn Optimizer| build_layers(optimizer).err().expect("an error").to_string();
    assert_eq!(
        message(&AdamW::new(0.1).group("neck.**", |g| g.lr(0.))),
        "AdamW: no parameter matches the group `neck.**`; the parameters are `body.0.weight`, `body.0.bias`, \
         `head.weight`, `head.bias`"
    );
    let negative = Sgd::new(0.1).group("**.bias", |g| g.lr(-1.));
    assert_eq!(message(&negative), "Sgd: group `**.bias`: the learning rate must be at least 0, found -1");
    let unstable = Sgd::new(0.1).group("**.bias", |g| g.nesterov(true)).group("head.**", |g| g.momentum(0.9));
    assert!(message(&unstable).contains("nesterov needs a momentum"));
    assert!(message(&Sgd::new(-0.1).group("**", |g| g.lr(1.))).contains("found -0.1"));
}

#[test]
fn optimizers_of_candle_and_sconce_are_interchangeable() -> Result<()> {
    let start = Tensor::new(&[3f64, -2.], &CPU)?;
    let (sconce_x, candle_x, wrapped_x) =
        (Var::from_tensor(&start)?, Var::from_tensor(&start)?, Var::from_tensor(&start)?);
    let params = nn::ParamsAdamW { lr: 0.05, ..Default::default() };
    let mut a = RuleOptimizer::<AdamW>::new(AdamW::new(0.05), vec![("x".into(), sconce_x.clone())])?;
    let mut b = nn::AdamW::new(vec![candle_x.clone()], params.clone())?;
    let mut c = FromCandle::<nn::AdamW>::new(params).build(vec![("x".into(), wrapped_x.clone())])?;
    for _ in 0..50 {
        nn::Optimizer::backward_step(&mut a, &(sconce_x.as_tensor() - 1.)?.sqr()?.sum_all()?)?;
        b.backward_step(&(candle_x.as_tensor() - 1.)?.sqr()?.sum_all()?)?;
    }
    descend(&mut *c, &wrapped_x, 50)?;
    check_close("AdamW", &sconce_x, &candle_x, 1e-9)?;
    check_close("wrapped", &wrapped_x, &candle_x, 1e-12)?;
    assert!(c.state().is_err());
    Ok(())
}

#[test]
fn invalid_settings_and_states_are_errors() -> Result<()> {
    let x = Var::new(&[1f32, 2.], &CPU)?;
    let build = |optimizer: &dyn Optimizer| optimizer.build(vec![("x".into(), x.clone())]);
    let message = |optimizer: &dyn Optimizer| build(optimizer).err().expect("expected an error").to_string();
    assert!(message(&Sgd::new(-1.)).starts_with("Sgd: the learning rate must be at least 0, found -1"));
    assert!(message(&Sgd::new(f64::NAN)).contains("NaN"));
    assert!(message(&Sgd::new(0.1).nesterov(true)).contains("nesterov needs"));
    assert!(
        message(&Adam::new(0.1).betas((0.9, 1.)))
            .contains("betas.1 must be at least 0 and less than 1, found 1")
    );
    assert!(message(&AdamW::new(0.1).weight_decay(-1.)).contains("weight_decay"));
    assert!(message(&RmsProp::new(0.1).eps(-1.)).contains("eps"));
    assert!(message(&Adadelta::new(0.1).rho(2.)).contains("rho"));
    assert!(message(&Lion::new(0.1).betas((-0.1, 0.9))).starts_with("Lion: betas.0 must be at least 0"));
    assert!(message(&Lion::new(0.1).weight_decay(-0.1)).contains("weight_decay"));
    assert!(message(&Lamb::new(0.1).eps(-1.)).starts_with("Lamb: eps must be at least 0, found -1"));
    let tied = AdamW::new(0.1).build(vec![("x".into(), x.clone()), ("y".into(), x.clone())]);
    assert!(tied.err().unwrap().to_string().contains("`y` is the same variable as an earlier parameter"));
    let other = Var::new(&[0f32], &CPU)?;
    let twice = AdamW::new(0.1).build(vec![("x".into(), x.clone()), ("x".into(), other)]);
    assert!(twice.err().unwrap().to_string().contains("two parameters are named `x`"));
    let integers = Var::new(&[1u32], &CPU)?;
    assert!(Sgd::new(0.1).build(vec![("x".into(), integers)]).err().unwrap().to_string().contains("U32"));

    let mut optimizer = build(&Adam::new(0.1))?;
    descend(&mut *optimizer, &x, 2)?;
    let state: HashMap<String, Tensor> = optimizer.state()?.into_iter().collect();
    let before = values(&state["x.exp_avg"]);
    let mut assert_rejected = |change: &dyn Fn(&mut HashMap<String, Tensor>), part: &str| {
        let mut changed = state.clone();
        change(&mut changed);
        let error = optimizer.load_state(&changed).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        let now: HashMap<String, Tensor> = optimizer.state().unwrap().into_iter().collect();
        assert_eq!(values(&now["x.exp_avg"]), before, "a rejected state should change nothing");
    };
    let scalar = || Tensor::new(0f32, &CPU).unwrap();
    assert_rejected(&|s| drop(s.insert("y.step".into(), scalar())), "optimizer state: y.step");
    assert_rejected(&|s| drop(s.remove("x.exp_avg")), "`x.exp_avg` is missing");
    assert_rejected(&|s| drop(s.remove("x.step")), "optimizer state: x.exp_avg, x.exp_avg_sq");
    assert_rejected(
        &|s| drop(s.insert("x.exp_avg".into(), scalar())),
        "expected `x.exp_avg` of shape [2], found []",
    );
    assert_rejected(&|s| drop(s.insert("x.step".into(), scalar())), "step count for `x`");
    Ok(())
}
