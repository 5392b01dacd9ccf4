//! The loop all optimisers share: a rule, the parameters, and what the rule remembers of each.

use std::collections::{HashMap, HashSet};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::{Moment, Optimizer, Rule, Step};
use crate::{Error, Result};

const STEP: &str = "step";
const RATE: &str = "learning_rate";

/// A running optimiser of the rule `R`.
///
/// It is candle_nn's `Optimizer` as well, so it can stand wherever one of candle_nn's is expected.
#[derive(Debug)]
pub struct Running<R: Rule> {
    rule: R,
    rate: f64,
    parameters: Vec<Parameter>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    var: Var,
    /// How many steps it has made: one without a gradient does not count, as in PyTorch.
    step: u64,
    /// Empty until the first step, so that a frozen parameter costs no memory.
    moments: Vec<Tensor>,
}

impl<R: Rule> Optimizer for R {
    fn build(&self, parameters: Vec<(String, Var)>) -> Result<Box<dyn Step>> {
        Ok(Box::new(Running::new(self.clone(), parameters)?))
    }
}

impl<R: Rule> Running<R> {
    /// Starts `rule` on `parameters`; fails as [`Optimizer::build`] does.
    pub fn new(rule: R, parameters: Vec<(String, Var)>) -> Result<Self> {
        let rate = rule.learning_rate();
        super::rule::not_negative("the learning rate", rate).map_err(|e| e.in_layer(R::NAME))?;
        rule.validate().map_err(|e| e.in_layer(R::NAME))?;
        check_parameters(&parameters).map_err(|e| e.in_layer(R::NAME))?;
        let start = |(name, var)| Parameter { name, var, step: 0, moments: Vec::new() };
        Ok(Self { rule, rate, parameters: parameters.into_iter().map(start).collect() })
    }
}

/// An error unless every parameter is there once, under a name of its own, and floating point.
pub(super) fn check_parameters(parameters: &[(String, Var)]) -> Result<()> {
    let (mut names, mut variables) = (HashSet::new(), HashSet::new());
    for (name, var) in parameters {
        if !variables.insert(var.id()) {
            return Err(Error::msg(format!("{name} has another name already")));
        }
        if !names.insert(name) {
            return Err(Error::msg(format!("two parameters are named {name}")));
        }
        if !var.dtype().is_float() {
            let message = format!("expected a floating-point parameter {name}, got {:?}", var.dtype());
            return Err(Error::msg(message));
        }
    }
    Ok(())
}

impl<R: Rule> Step for Running<R> {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        for parameter in &mut self.parameters {
            if let Some(gradient) = grads.get(&parameter.var) {
                let stepped = parameter.update(&self.rule, self.rate, gradient);
                stepped.map_err(|e| e.in_layer(R::NAME).at(&parameter.name))?;
            }
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = vec![(RATE.to_owned(), Tensor::new(self.rate, &Device::Cpu)?)];
        for Parameter { name, step, moments, .. } in self.parameters.iter().filter(|p| p.step > 0) {
            state.push((format!("{name}.{STEP}"), Tensor::new(*step as i64, &Device::Cpu)?));
            for (moment, tensor) in self.rule.moments().into_iter().zip(moments) {
                state.push((format!("{name}.{moment}"), tensor.detach().copy()?));
            }
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let read = self.parameters.iter().map(|p| p.read_state(&self.rule, state));
        let read = read.collect::<Result<Vec<_>>>().map_err(|e| e.in_layer(R::NAME))?;
        let taken = read.iter().filter(|(step, _)| *step > 0).count() * (1 + self.rule.moments().len());
        let rate = state.get(RATE).map(|rate| rate.to_dtype(DType::F64)?.to_scalar::<f64>()).transpose()?;
        if taken + rate.iter().count() != state.len() {
            return Err(self.unexpected(state));
        }
        self.rate = rate.unwrap_or(self.rate);
        for (parameter, (step, moments)) in self.parameters.iter_mut().zip(read) {
            (parameter.step, parameter.moments) = (step, moments);
        }
        Ok(())
    }
}

impl<R: Rule> Running<R> {
    /// Names the tensors of `state` that no parameter asked for.
    fn unexpected(&self, state: &HashMap<String, Tensor>) -> Error {
        let mut kinds = self.rule.moments();
        kinds.push(STEP);
        let of = |p: &Parameter| kinds.iter().map(|kind| format!("{}.{kind}", p.name)).collect::<Vec<_>>();
        // Moments without their step belong to nobody either.
        let stepped = self.parameters.iter().filter(|p| state.contains_key(&format!("{}.{STEP}", p.name)));
        let known: HashSet<String> = stepped.flat_map(of).chain([RATE.to_owned()]).collect();
        let mut strangers: Vec<_> = state.keys().filter(|key| !known.contains(*key)).cloned().collect();
        strangers.sort();
        Error::msg(format!("the state holds what no parameter has: {}", strangers.join(", ")))
            .in_layer(R::NAME)
    }
}

impl Parameter {
    /// Makes one step of `rule`, in the variable's own storage.
    fn update<R: Rule>(&mut self, rule: &R, rate: f64, gradient: &Tensor) -> Result<()> {
        // Detached, so that the update is no part of anybody's graph.
        let value = self.var.as_detached_tensor();
        if gradient.dims() != value.dims() {
            let (expected, given) = (value.dims(), gradient.dims());
            return Err(Error::msg(format!("expected a gradient {expected:?}, got {given:?}")));
        }
        if self.step == 0 {
            let first = rule.moments().into_iter().map(|name| rule.first_moment(name, &value));
            self.moments = first.collect::<Result<_>>()?;
        }
        let (parameter, gradient, step) = (&value, &gradient.detach(), self.step + 1);
        let moment = Moment { parameter, gradient, state: &mut self.moments, step, rate };
        if !rule.update_in_place(&moment)? {
            self.var.set(&rule.update(moment)?)?;
        }
        self.step = step;
        Ok(())
    }

    /// What `state` says of this parameter: its step and its moments.
    fn read_state<R: Rule>(&self, rule: &R, state: &HashMap<String, Tensor>) -> Result<(u64, Vec<Tensor>)> {
        let Some(step) = state.get(&format!("{}.{STEP}", self.name)) else { return Ok((0, Vec::new())) };
        let step = match step.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?[..] {
            [step] if step > 0 => step as u64,
            ref other => {
                return Err(Error::msg(format!(
                    "expected one step of {} from 1 on, got {other:?}",
                    self.name
                )));
            }
        };
        let moment = |kind: &str| {
            let key = format!("{}.{kind}", self.name);
            let tensor = state.get(&key).ok_or_else(|| Error::msg(format!("the state lacks {key}")))?;
            let first = rule.first_moment(kind, &self.var.as_detached_tensor())?;
            if tensor.dims() != first.dims() {
                let (expected, given) = (first.dims(), tensor.dims());
                return Err(Error::msg(format!("expected {key} {expected:?}, got {given:?}")));
            }
            Ok(tensor.detach().to_device(first.device())?.to_dtype(first.dtype())?.copy()?)
        };
        let moments = rule.moments().into_iter().map(moment).collect::<Result<_>>()?;
        Ok((step, moments))
    }
}
