//! L-BFGS: a quasi-Newton method that evaluates the loss several times a step.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::flat::{Flat, dot, largest};
use super::rule::{not_negative, setters};
use super::{Optimizer, Step};
use crate::{Error, Result};

/// L-BFGS, as `torch.optim.LBFGS` without a line search (Liu and Nocedal, "On the Limited Memory BFGS Method
/// for Large Scale Optimization", 1989): for small, smooth problems whose loss is of all the data.
///
/// Give it the loss by [`step_with`](Step::step_with): each such step makes up to `max_iter` iterations and
/// evaluates the loss anew for each. [`step`](Step::step) makes one iteration of the gradients it is given.
///
/// ```
/// use sconce::candle::{Device, Tensor, Var};
/// use sconce::train::optim::{Lbfgs, Optimizer};
///
/// let x = Var::new(&[-1.2f64, 1.], &Device::Cpu)?;
/// let mut lbfgs = Lbfgs::new(0.3).max_iter(100).build(vec![("x".into(), x.clone())])?;
/// // Rosenbrock's function, whose least value is at (1, 1).
/// let mut loss = || {
///     let (a, b) = (x.narrow(0, 0, 1)?, x.narrow(0, 1, 1)?);
///     let valley = (((b - a.sqr()?)?.sqr()? * 100.)? + (a - 1.)?.sqr()?)?;
///     Ok(valley.sum_all()?)
/// };
/// for _ in 0..5 {
///     lbfgs.step_with(&mut loss)?;
/// }
/// assert!((x.as_tensor() - 1.)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-3);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lbfgs {
    rate: f64,
    max_iter: usize,
    max_eval: Option<usize>,
    tolerance_grad: f64,
    tolerance_change: f64,
    history_size: usize,
}

impl Lbfgs {
    /// L-BFGS with the learning rate `rate`; PyTorch's default is 1.
    pub fn new(rate: f64) -> Self {
        let (max_iter, max_eval, history_size) = (20, None, 100);
        Self { rate, max_iter, max_eval, tolerance_grad: 1e-7, tolerance_change: 1e-9, history_size }
    }

    /// The most evaluations of the loss a step, by default 5/4 of `max_iter`.
    pub fn max_eval(mut self, max_eval: impl Into<Option<usize>>) -> Self {
        self.max_eval = max_eval.into();
        self
    }

    fn validate(&self) -> Result<()> {
        not_negative("the learning rate", self.rate)?;
        not_negative("tolerance_grad", self.tolerance_grad)?;
        not_negative("tolerance_change", self.tolerance_change)
    }
}

setters!(Lbfgs {
    /// The most iterations a step, by default 20.
    max_iter: usize,
    /// The largest entry of the gradient at which the optimum is taken to be reached, by default 1e-7.
    tolerance_grad: f64,
    /// The change of parameters or loss below which a step ends, by default 1e-9.
    tolerance_change: f64,
    /// How many iterations are remembered, by default 100.
    history_size: usize,
});

impl Optimizer for Lbfgs {
    fn build(&self, parameters: Vec<(String, Var)>) -> Result<Box<dyn Step>> {
        let built = self.validate().and_then(|()| Flat::new(parameters)).map_err(|e| e.in_layer(NAME))?;
        let (settings, rate) = (self.clone(), self.rate);
        Ok(Box::new(Running { settings, rate, parameters: built, memory: Memory::default() }))
    }
}

const NAME: &str = "Lbfgs";

struct Running {
    settings: Lbfgs,
    rate: f64,
    parameters: Flat,
    memory: Memory,
}

/// What the iterations so far have taught about the curvature.
#[derive(Default)]
struct Memory {
    iterations: u64,
    /// The gradient before the last iteration, and what that added to the parameters.
    last: Option<(Tensor, Tensor)>,
    pairs: Vec<Pair>,
    /// The first guess of the inverse Hessian, a multiple of the identity.
    scale: f64,
}

/// A change of the gradient, the change of the parameters that went with it, and 1 over their product.
struct Pair {
    gradient: Tensor,
    step: Tensor,
    inverse: f64,
}

impl Pair {
    fn new(gradient: Tensor, step: Tensor) -> Result<Self> {
        let inverse = 1. / dot(&gradient, &step)?;
        Ok(Self { gradient, step, inverse })
    }
}

impl Memory {
    /// Learns from the gradient that the last iteration has led to.
    fn learn(&mut self, gradient: &Tensor, history_size: usize) -> Result<()> {
        let Some((before, step)) = self.last.take() else { return Ok(()) };
        let pair = Pair::new((gradient - before)?, step)?;
        if pair.inverse > 0. && pair.inverse < 1e10 {
            self.scale = 1. / (pair.inverse * dot(&pair.gradient, &pair.gradient)?);
            self.pairs.push(pair);
            let surplus = self.pairs.len().saturating_sub(history_size);
            self.pairs.drain(..surplus);
        }
        Ok(())
    }

    /// Minus the approximate inverse Hessian times `gradient`, by the recursion over the pairs there and back.
    fn direction(&self, gradient: &Tensor) -> Result<Tensor> {
        let mut direction = gradient.neg()?;
        if self.iterations == 0 {
            return Ok(direction);
        }
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = dot(&pair.step, &direction)? * pair.inverse;
            direction = (direction - (&pair.gradient * share)?)?;
            shares.push(share);
        }
        direction = (direction * self.scale)?;
        for (pair, share) in self.pairs.iter().zip(shares.iter().rev()) {
            let back = dot(&pair.gradient, &direction)? * pair.inverse;
            direction = (direction + (&pair.step * (share - back))?)?;
        }
        Ok(direction)
    }
}

impl Running {
    /// One iteration from where the gradient is `gradient`: what it added to the parameters, or nothing
    /// where the way no longer leads down.
    fn iterate(&mut self, gradient: &Tensor) -> Result<Option<Tensor>> {
        let memory = &mut self.memory;
        memory.learn(gradient, self.settings.history_size)?;
        let direction = memory.direction(gradient)?;
        let rate = match memory.iterations {
            0 => self.rate * (1. / dot(gradient, &gradient.sign()?)?).min(1.),
            _ => self.rate,
        };
        memory.iterations += 1;
        let step = (&direction * rate)?;
        memory.last = Some((gradient.clone(), step.clone()));
        // Not `slope > …`: a slope that is NaN leads nowhere either.
        if dot(gradient, &direction)? <= -self.settings.tolerance_change {
            self.parameters.add(&step)?;
            return Ok(Some(step));
        }
        Ok(None)
    }

    fn run(&mut self, loss: &mut dyn FnMut() -> Result<Tensor>) -> Result<Tensor> {
        let Lbfgs { max_iter, max_eval, tolerance_grad, tolerance_change, .. } = self.settings;
        let first = loss()?;
        let mut gradient = self.parameters.gradient(&first.backward()?)?;
        let (mut value, mut evaluations) = (number(&first)?, 1);
        for iteration in 1..=max_iter {
            if largest(&gradient)? <= tolerance_grad {
                break;
            }
            let Some(step) = self.iterate(&gradient)? else { break };
            // The loss after the last iteration is the next step's to evaluate: it may be of another batch.
            if iteration == max_iter {
                break;
            }
            let next = loss()?;
            gradient = self.parameters.gradient(&next.backward()?)?;
            evaluations += 1;
            let before = std::mem::replace(&mut value, number(&next)?);
            let still = largest(&step)? <= tolerance_change || (value - before).abs() < tolerance_change;
            if still || evaluations >= max_eval.unwrap_or(max_iter * 5 / 4) {
                break;
            }
        }
        Ok(first)
    }
}

fn number(loss: &Tensor) -> Result<f64> {
    Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
}

impl Step for Running {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        let gradient = self.parameters.gradient(grads)?;
        if largest(&gradient)? > self.settings.tolerance_grad {
            self.iterate(&gradient).map_err(|e| e.in_layer(NAME))?;
        }
        Ok(())
    }

    fn step_with(&mut self, loss: &mut dyn FnMut() -> Result<Tensor>) -> Result<Tensor> {
        self.run(loss)
    }

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let Memory { iterations, last, pairs, scale } = &self.memory;
        let mut state = vec![("learning_rate".to_owned(), Tensor::new(self.rate, &Device::Cpu)?)];
        let mut put = |name: &str, tensor: Tensor| state.push((format!("lbfgs.{name}"), tensor));
        put("n_iter", Tensor::new(*iterations as i64, &Device::Cpu)?);
        put("H_diag", Tensor::new(*scale, &Device::Cpu)?);
        if let Some((gradient, step)) = last {
            put("prev_flat_grad", gradient.copy()?);
            put("prev_step", step.copy()?);
        }
        if !pairs.is_empty() {
            let stack =
                |of: fn(&Pair) -> &Tensor| Tensor::stack(&pairs.iter().map(of).collect::<Vec<_>>(), 0);
            put("old_dirs", stack(|pair| &pair.gradient)?);
            put("old_stps", stack(|pair| &pair.step)?);
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let (rate, memory) = self.read(state).map_err(|e| e.in_layer(NAME))?;
        self.rate = rate.unwrap_or(self.rate);
        self.memory = memory;
        Ok(())
    }
}

impl Running {
    /// The rate and the memory that `state` describes.
    fn read(&self, state: &HashMap<String, Tensor>) -> Result<(Option<f64>, Memory)> {
        const KEYS: [&str; 6] = ["n_iter", "H_diag", "prev_flat_grad", "prev_step", "old_dirs", "old_stps"];
        let known = |key: &str| key == "learning_rate" || KEYS.iter().any(|k| key == format!("lbfgs.{k}"));
        if let Some(stranger) = state.keys().filter(|key| !known(key)).min() {
            return Err(Error::msg(format!("the state holds what no parameter has: {stranger}")));
        }
        let get = |name: &str| state.get(&format!("lbfgs.{name}"));
        let scalar = |name: &str| match get(name) {
            Some(tensor) => number(tensor),
            None => Err(Error::msg(format!("the state lacks lbfgs.{name}"))),
        };
        let last = match (get("prev_flat_grad"), get("prev_step")) {
            (Some(gradient), Some(step)) => {
                Some((self.parameters.fit(gradient)?, self.parameters.fit(step)?))
            }
            (None, None) => None,
            _ => return Err(Error::msg("the state lacks one of lbfgs.prev_flat_grad and lbfgs.prev_step")),
        };
        let rows = |name: &str| -> Result<Vec<Tensor>> {
            let Some(stack) = get(name) else { return Ok(Vec::new()) };
            (0..stack.dim(0)?).map(|row| self.parameters.fit(&stack.get(row)?)).collect()
        };
        let (gradients, steps) = (rows("old_dirs")?, rows("old_stps")?);
        if gradients.len() != steps.len() {
            let (a, b) = (gradients.len(), steps.len());
            return Err(Error::msg(format!("expected as many lbfgs.old_dirs as old_stps, got {a} and {b}")));
        }
        let pairs = gradients.into_iter().zip(steps).map(|(gradient, step)| Pair::new(gradient, step));
        let (iterations, scale) = (scalar("n_iter")?.max(0.) as u64, scalar("H_diag")?);
        let memory = Memory { iterations, last, pairs: pairs.collect::<Result<_>>()?, scale };
        Ok((state.get("learning_rate").map(number).transpose()?, memory))
    }
}
