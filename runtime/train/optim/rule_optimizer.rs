//! The optimizer that applies a [`Rule`] to all parameters.

use std::collections::{HashMap, HashSet};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use crate::{Error, Result};

use super::groups::{Groups, Partition, Settings};
use super::rule::{check_learning_rate, read_scalar};
use super::{Optimizer, ParameterUpdate, Rule, Step, check_learning_rates};

/// The key of a parameter's step count in the optimizer state, after the parameter's name and a dot.
const STEP: &str = "step";
/// The key of the learning rate in the optimizer state.
const RATE: &str = "learning_rate";

/// An optimizer that updates each of its parameters with the rule `R`. Contains the parameters, their moments and their
/// step counts.
///
/// [`Optimizer::build`] returns it as a [`Step`]. `RuleOptimizer` also implements candle_nn's `Optimizer` trait.
///
/// ```
/// use sconce::candle::{Device, Var};
/// use sconce::nn::Optimizer;
/// use sconce::train::optim::{RuleOptimizer, Sgd};
///
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = RuleOptimizer::new(Sgd::new(0.25), vec![("x".into(), x.clone())])?;
/// optimizer.backward_step(&x.sqr()?.sum_all()?)?; // candle's method
/// assert_eq!(x.to_vec1::<f32>()?, [0.5, -1.]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Debug)]
pub struct RuleOptimizer<R: Rule> {
    /// First the settings of the parameters in no group.
    settings: Vec<Settings<R>>,
    parameters: Vec<Parameter>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    var: Var,
    /// The index of the parameter's settings.
    settings: usize,
    /// The number of steps so far. As in PyTorch, a step without a gradient does not count.
    step: u64,
    /// The moments. Empty before the first step, so that none are allocated for a parameter without gradients.
    moments: Vec<Tensor>,
}

#[diagnostic::do_not_recommend]
impl<R: Rule> Optimizer for R {
    fn build(&self, parameters: Vec<(String, Var)>) -> Result<Box<dyn Step>> {
        Ok(Box::new(RuleOptimizer::new(self.clone(), parameters)?))
    }
}

impl<R: Rule> RuleOptimizer<R> {
    /// Creates an optimizer that applies `rule` to `parameters`.
    ///
    /// # Errors
    /// Fails under the same conditions as [`Optimizer::build`].
    pub fn new(rule: R, parameters: Vec<(String, Var)>) -> Result<Self> {
        Self::with_groups(&Groups::new(rule), parameters)
    }

    /// Creates an optimizer that updates each of `parameters` with the settings of its groups.
    ///
    /// ```
    /// use sconce::candle::{Device, Var};
    /// use sconce::train::optim::{Optimizer, RuleOptimizer, Sgd, Step};
    ///
    /// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
    /// let groups = Sgd::new(0.25).group("x", |g| g.lr(0.5));
    /// let optimizer = RuleOptimizer::with_groups(&groups, vec![("x".into(), x)])?;
    /// assert_eq!(optimizer.learning_rates(), [0.25, 0.5]);
    /// # Ok::<(), sconce::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails under the same conditions as [`Optimizer::build`].
    pub fn with_groups(groups: &Groups<R>, parameters: Vec<(String, Var)>) -> Result<Self> {
        let checked = check_parameters(&parameters).and_then(|()| groups.partition(&parameters));
        let Partition { settings, indices } = checked.map_err(|e| e.in_layer(R::NAME))?;
        let parameter =
            |((name, var), settings)| Parameter { name, var, settings, step: 0, moments: Vec::new() };
        Ok(Self { settings, parameters: parameters.into_iter().zip(indices).map(parameter).collect() })
    }

    /// Returns each parameter with its rule.
    fn rules(&self) -> impl Iterator<Item = (&Parameter, &R)> {
        self.parameters.iter().map(|parameter| (parameter, &self.settings[parameter.settings].rule))
    }
}

/// Returns the key of the learning rate of `settings` in the optimizer state: `learning_rate`, followed by the patterns
/// of the groups as in `learning_rate[**.bias, head.**]`.
fn rate_key<R>(settings: &Settings<R>) -> String {
    match &settings.patterns[..] {
        [] => RATE.to_owned(),
        patterns => format!("{RATE}[{}]", patterns.join(", ")),
    }
}

/// Returns the error for a key that an optimizer state lacks.
pub(super) fn missing_key(key: &str) -> Error {
    Error::msg(format!("`{key}` is missing from the optimizer state"))
}

/// Returns an error unless all parameters and names are distinct and all parameters are floating point.
pub(super) fn check_parameters(parameters: &[(String, Var)]) -> Result<()> {
    let mut names = HashSet::new();
    let mut variables = HashSet::new();
    for (name, var) in parameters {
        if !variables.insert(var.id()) {
            return Err(Error::msg(format!("`{name}` is the same variable as an earlier parameter")));
        }
        if !names.insert(name) {
            return Err(Error::msg(format!("two parameters are named `{name}`")));
        }
        if !var.dtype().is_float() {
            let message =
                format!("expected parameter `{name}` to be floating point, found {:?}", var.dtype());
            return Err(Error::msg(message));
        }
    }
    Ok(())
}

impl<R: Rule> Step for RuleOptimizer<R> {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        for parameter in &mut self.parameters {
            if let Some(gradient) = grads.get(&parameter.var) {
                let Settings { rule, rate, .. } = &self.settings[parameter.settings];
                let stepped = parameter.update(rule, *rate, gradient);
                stepped.map_err(|e| e.in_layer(R::NAME).at(&parameter.name))?;
            }
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.settings[0].rate
    }

    fn learning_rates(&self) -> Vec<f64> {
        self.settings.iter().map(|settings| settings.rate).collect()
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.settings.iter_mut().for_each(|settings| settings.rate = rate);
    }

    fn set_learning_rates(&mut self, rates: &[f64]) -> Result<()> {
        check_learning_rates(rates, self.settings.len()).map_err(|e| e.in_layer(R::NAME))?;
        self.settings.iter_mut().zip(rates).for_each(|(settings, rate)| settings.rate = *rate);
        Ok(())
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let rate = |settings| Ok((rate_key(settings), Tensor::new(settings.rate, &Device::Cpu)?));
        let mut state = self.settings.iter().map(rate).collect::<Result<Vec<_>>>()?;
        for (Parameter { name, step, moments, .. }, rule) in self.rules().filter(|(p, _)| p.step > 0) {
            state.push((format!("{name}.{STEP}"), Tensor::new(*step as i64, &Device::Cpu)?));
            for (moment, tensor) in rule.moments().into_iter().zip(moments) {
                state.push((format!("{name}.{moment}"), tensor.detach().copy()?));
            }
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let read = self.rules().map(|(parameter, rule)| parameter.read_state(rule, state));
        let read = read.collect::<Result<Vec<_>>>().map_err(|e| e.in_layer(R::NAME))?;
        let rates = self.read_rates(state).map_err(|e| e.in_layer(R::NAME))?;
        let stepped = read.iter().filter(|(step, _)| *step > 0);
        let used_keys = stepped.map(|(_, moments)| 1 + moments.len()).sum::<usize>();
        if used_keys + rates.as_ref().map_or(0, Vec::len) != state.len() {
            return Err(self.unexpected_keys(state));
        }
        for (settings, rate) in self.settings.iter_mut().zip(rates.into_iter().flatten()) {
            settings.rate = rate;
        }
        for (parameter, (step, moments)) in self.parameters.iter_mut().zip(read) {
            (parameter.step, parameter.moments) = (step, moments);
        }
        Ok(())
    }
}

impl<R: Rule> RuleOptimizer<R> {
    /// Reads the learning rates from `state`. Returns `None` if `state` has no learning rates.
    ///
    /// # Errors
    /// Fails if only some of the learning rates are missing, or if a learning rate is not a number of at least 0.
    fn read_rates(&self, state: &HashMap<String, Tensor>) -> Result<Option<Vec<f64>>> {
        let keys: Vec<String> = self.settings.iter().map(rate_key).collect();
        if !keys.iter().any(|key| state.contains_key(key)) {
            return Ok(None);
        }
        let read = |key: String| {
            let tensor = state.get(&key).ok_or_else(|| missing_key(&key))?;
            let name = format!("`{key}` in the optimizer state");
            let rate = read_scalar(&name, tensor)?;
            check_learning_rate(&name, rate)?;
            Ok(rate)
        };
        Ok(Some(keys.into_iter().map(read).collect::<Result<_>>()?))
    }

    /// Returns an error that lists the keys of `state` that belong to no parameter.
    fn unexpected_keys(&self, state: &HashMap<String, Tensor>) -> Error {
        let keys = |(parameter, rule): (&Parameter, &R)| {
            let suffixes = rule.moments().into_iter().chain([STEP]);
            suffixes.map(|suffix| format!("{}.{suffix}", parameter.name)).collect::<Vec<_>>()
        };
        // The moments of a parameter whose step count is missing are unexpected as well.
        let stepped = self.rules().filter(|(p, _)| state.contains_key(&format!("{}.{STEP}", p.name)));
        let rates = self.settings.iter().map(rate_key);
        let known: HashSet<String> = stepped.flat_map(keys).chain(rates).collect();
        let mut unexpected: Vec<_> = state.keys().filter(|key| !known.contains(*key)).cloned().collect();
        unexpected.sort();
        Error::msg(format!("unexpected keys in the optimizer state: {}", unexpected.join(", ")))
            .in_layer(R::NAME)
    }
}

impl Parameter {
    /// Applies one step of `rule` to the variable in place.
    fn update<R: Rule>(&mut self, rule: &R, rate: f64, gradient: &Tensor) -> Result<()> {
        // Detach the value to keep the update out of the autograd graph.
        let value = self.var.as_detached_tensor();
        if gradient.dims() != value.dims() {
            let expected = value.dims();
            let found = gradient.dims();
            return Err(Error::msg(format!("expected a gradient of shape {expected:?}, found {found:?}")));
        }
        if self.step == 0 {
            let initial = rule.moments().into_iter().map(|name| rule.initial_moment(name, &value));
            self.moments = initial.collect::<Result<_>>()?;
        }
        let gradient = &gradient.detach();
        let step = self.step + 1;
        let update = ParameterUpdate { parameter: &value, gradient, moments: &mut self.moments, step, rate };
        if !rule.update_in_place(&update)? {
            self.var.set(&rule.update(update)?)?;
        }
        self.step = step;
        Ok(())
    }

    /// Reads the step count and the moments of this parameter from `state`.
    fn read_state<R: Rule>(&self, rule: &R, state: &HashMap<String, Tensor>) -> Result<(u64, Vec<Tensor>)> {
        let Some(step) = state.get(&format!("{}.{STEP}", self.name)) else { return Ok((0, Vec::new())) };
        let step = match step.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?[..] {
            [step] if step > 0 => step as u64,
            ref other => {
                return Err(Error::msg(format!(
                    "expected one positive step count for `{}`, found {other:?}",
                    self.name
                )));
            }
        };
        let moment = |name: &str| {
            let key = format!("{}.{name}", self.name);
            let tensor = state.get(&key).ok_or_else(|| missing_key(&key))?;
            let initial = rule.initial_moment(name, &self.var.as_detached_tensor())?;
            if tensor.dims() != initial.dims() {
                let expected = initial.dims();
                let found = tensor.dims();
                return Err(Error::msg(format!("expected `{key}` of shape {expected:?}, found {found:?}")));
            }
            Ok(tensor.detach().to_device(initial.device())?.to_dtype(initial.dtype())?.copy()?)
        };
        let moments = rule.moments().into_iter().map(moment).collect::<Result<_>>()?;
        Ok((step, moments))
    }
}
