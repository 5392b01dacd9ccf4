//! A network that implements `Module` by hand: the names and the order of its parameters, sharing, loading, freezing,
//! dtypes and devices.

use std::borrow::Cow;
use std::sync::Arc;

use sconce::prelude::*;
use sconce::{Visitor, VisitorMut};

/// A network whose implementations of `Module` and `Forward` are written by hand.
struct Tower {
    first: Conv2d,
    middle: Vec<Conv2d>,
    optional: Option<Linear>,
    head: Linear,
}

impl Tower {
    fn new() -> Result<Self> {
        let device = &Device::Cpu;
        Ok(Self {
            first: Conv2d::config(1, 4, 3).padding(1).init(device)?,
            middle: (0..3).map(|_| Conv2d::config(4, 4, 3).padding(1).init(device)).collect::<Result<_>>()?,
            optional: None,
            head: Linear::config(64, 5).init(device)?,
        })
    }
}

impl Module for Tower {
    fn kind(&self) -> Cow<'static, str> {
        "Tower".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.child("first", &self.first);
        visitor.child("middle", &self.middle);
        visitor.child("optional", &self.optional);
        visitor.child("head", &self.head);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.child("first", &mut self.first);
        visitor.child("middle", &mut self.middle);
        visitor.child("optional", &mut self.optional);
        visitor.child("head", &mut self.head);
    }

    fn share(&self) -> Self {
        Self {
            first: self.first.share(),
            middle: self.middle.share(),
            optional: self.optional.share(),
            head: self.head.share(),
        }
    }
}

impl Forward for Tower {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        let x = self.middle.call(relu(self.first.call(x, mode)), mode);
        self.head.call(flatten(x, 1), mode)
    }
}

fn input() -> Result<Tensor> {
    Ok(Tensor::randn(0f32, 1., (3, 1, 4, 4), &Device::Cpu)?)
}

fn run(tower: &Tower, x: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(tower.call(x.into(), Mode::Eval).into_tensor()?.to_vec2()?)
}

#[test]
fn names_follow_the_order_of_the_fields() -> Result<()> {
    let tower = Tower::new()?;
    let names: Vec<String> = tower.named_parameters().into_iter().map(|(name, _)| name).collect();
    let expected = [
        "first.weight",
        "first.bias",
        "middle.0.weight",
        "middle.0.bias",
        "middle.1.weight",
        "middle.1.bias",
        "middle.2.weight",
        "middle.2.bias",
        "head.weight",
        "head.bias",
    ];
    assert_eq!(names, expected);
    assert_eq!(tower.state_dict().keys().collect::<Vec<_>>(), expected);
    assert_eq!(tower.num_parameters(), 40 + 3 * 148 + 325);
    let modules: Vec<String> = tower.named_modules().into_iter().map(|(name, _)| name).collect();
    assert_eq!(modules, ["", "first", "middle", "middle.0", "middle.1", "middle.2", "head"]);
    Ok(())
}

/// Asserts equality up to rounding: kernels with and without gradients add the terms of a sum in different
/// orders.
fn assert_close(actual: &[Vec<f32>], expected: &[Vec<f32>]) {
    let pairs = actual.iter().flatten().zip(expected.iter().flatten());
    assert!(
        actual.len() == expected.len() && pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6),
        "{actual:?}"
    );
}

#[test]
fn a_detached_network_follows_training_and_an_inference_copy_does_not() -> Result<()> {
    let tower = Tower::new()?;
    let (x, detached, copy) = (input()?, tower.detached(), tower.inference()?);
    let before = run(&tower, &x)?;
    assert_close(&run(&detached, &x)?, &before);
    assert_close(&run(&copy, &x)?, &before);
    assert!(detached.trainable_parameters().is_empty() && copy.trainable_parameters().is_empty());
    assert!(!detached.call((&x).into(), Mode::Eval).into_tensor()?.track_op());
    for (_, var) in tower.trainable_parameters() {
        var.set(&(var.as_tensor() * 2.)?)?;
    }
    let after = run(&tower, &x)?;
    assert_ne!(after, before);
    assert_close(&run(&detached, &x)?, &after);
    assert_close(&run(&copy, &x)?, &before);
    Ok(())
}

#[test]
fn loading_replaces_packed_weights() -> Result<()> {
    let mut tower = Tower::new()?;
    let other = Tower::new()?;
    let x = input()?;
    let mut copy = tower.inference()?;
    run(&copy, &x)?;
    copy.load_state_dict(&other.state_dict())?;
    assert_close(&run(&copy, &x)?, &run(&other, &x)?);
    tower.freeze("first.**")?;
    run(&tower, &x)?;
    tower.load_state_dict(&other.state_dict())?;
    assert_close(&run(&tower, &x)?, &run(&other, &x)?);
    Ok(())
}

#[test]
fn load_state_dict_loads_everything_or_nothing() -> Result<()> {
    let mut tower = Tower::new()?;
    let x = input()?;
    let before = run(&tower, &x)?;
    let mut state = Tower::new()?.state_dict();
    state.remove("head.bias");
    state.insert("first.weight", Tensor::zeros((4, 1, 5, 5), DType::F32, &Device::Cpu)?);
    state.insert("extra", Tensor::zeros(2, DType::F32, &Device::Cpu)?);
    let error = tower.load_state_dict(&state).unwrap_err().to_string();
    for part in [
        "missing     head.bias     [5]",
        "unexpected  extra         [2]",
        "mismatched  first.weight  expected [4, 1, 3, 3], found [4, 1, 5, 5]",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(run(&tower, &x)?, before);
    Ok(())
}

#[test]
fn freeze_accepts_a_pattern() -> Result<()> {
    let mut tower = Tower::new()?;
    tower.freeze("middle.**")?;
    let trainable: Vec<String> = tower.trainable_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(trainable, ["first.weight", "first.bias", "head.weight", "head.bias"]);
    tower.unfreeze("middle.*.bias")?;
    assert_eq!(tower.trainable_parameters().len(), 7);
    let error = tower.freeze("midle.**").unwrap_err().to_string();
    assert_eq!(error, "no parameter of Tower matches \"midle.**\"");
    Ok(())
}

#[test]
fn to_dtype_and_to_device_convert_every_tensor() -> Result<()> {
    let mut tower = Tower::new()?;
    tower.to_dtype(DType::F64)?;
    tower.to_device(&Device::Cpu)?;
    assert!(tower.parameters().iter().all(|tensor| tensor.dtype() == DType::F64 && tensor.is_variable()));
    let x = input()?.to_dtype(DType::F64)?;
    assert_eq!(tower.call(x.into(), Mode::Eval).into_tensor()?.dtype(), DType::F64);
    Ok(())
}

#[test]
fn a_shared_layer_is_registered_once_and_stays_tied() -> Result<()> {
    let shared = Arc::new(Linear::config(3, 3).init(&Device::Cpu)?);
    let mut pair = (shared.clone(), shared);
    assert_eq!(pair.num_parameters(), 12);
    assert_eq!(pair.state_dict().len(), 4);
    pair.to_dtype(DType::F64)?;
    assert_eq!(pair.num_parameters(), 12);
    Ok(())
}

#[test]
fn sixteen_threads_give_the_same_output() -> Result<()> {
    let tower = Tower::new()?;
    let x = input()?;
    let single = run(&tower, &x)?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| run(&tower, &x))).collect();
        threads.into_iter().all(|thread| thread.join().unwrap().unwrap() == single)
    })
    .then_some(())
    .ok_or_else(|| Error::msg("expected the same output in all threads"))
}

#[test]
fn printing_agrees_with_pytorch() -> Result<()> {
    struct Printed(Tower);
    impl std::fmt::Display for Printed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            sconce::__private::display(&self.0, f)
        }
    }
    assert_eq!(
        Printed(Tower::new()?).to_string(),
        "Tower(
  (first): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
  (middle): Sequential(
    (0-2): 3 x Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
  )
  (head): Linear(in_features=64, out_features=5, bias=True)
)"
    );
    Ok(())
}

#[test]
fn layers_of_candle_and_containers_are_modules() -> Result<()> {
    let vb = sconce::nn::VarBuilder::zeros(DType::F32, &Device::Cpu);
    let linear = sconce::nn::linear(16, 2, vb)?;
    let net = (Flatten::default(), linear, Some(Relu), Box::new(Identity) as Box<dyn Layer>);
    assert_eq!(net.named_parameters().len(), 2);
    let sequential = sconce::nn::seq().add(sconce::nn::Activation::Relu);
    let x = sconce::candle::Module::forward(&sequential, &input()?)?;
    assert_eq!(sconce::candle::Module::forward(&net.eval(), &x)?.dims(), [3, 2]);
    Ok(())
}
