//! L-BFGS: a quasi-Newton method that evaluates the loss several times a step.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use super::curvature::Memory;
use super::flat::{Flat, dot, largest, number};
use super::line_search::{LineSearch, Point, Search};
use super::rule::{not_negative, setters};
use super::{Optimizer, Step};
use crate::{Error, Result};

/// L-BFGS, as `torch.optim.LBFGS` (Liu and Nocedal, "On the Limited Memory BFGS Method for Large Scale
/// Optimization", 1989): for small, smooth problems whose loss is of all the data.
///
/// Give it the loss by [`step_with`](Step::step_with): each such step makes up to `max_iter` iterations and
/// evaluates the loss anew for each. [`step`](Step::step) makes one iteration of the gradients it is given,
/// as long as the learning rate says.
///
/// ```
/// use sconce::candle::{Device, Tensor, Var};
/// use sconce::train::optim::{Lbfgs, LineSearch, Optimizer};
///
/// let x = Var::new(&[-1.2f64, 1.], &Device::Cpu)?;
/// let lbfgs = Lbfgs::new(1.).max_iter(100).line_search_fn(LineSearch::StrongWolfe);
/// let mut lbfgs = lbfgs.build(vec![("x".into(), x.clone())])?;
/// // Rosenbrock's function, whose least value is at (1, 1).
/// let mut loss = || {
///     let (a, b) = (x.narrow(0, 0, 1)?, x.narrow(0, 1, 1)?);
///     let valley = (((b - a.sqr()?)?.sqr()? * 100.)? + (a - 1.)?.sqr()?)?;
///     Ok(valley.sum_all()?)
/// };
/// lbfgs.step_with(&mut loss)?;
/// assert!((x.as_tensor() - 1.)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-4);
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
    line_search_fn: Option<LineSearch>,
}

impl Lbfgs {
    /// L-BFGS with the learning rate `rate`; PyTorch's default is 1.
    pub fn new(rate: f64) -> Self {
        let (max_iter, max_eval, history_size, line_search_fn) = (20, None, 100, None);
        let (tolerance_grad, tolerance_change) = (1e-7, 1e-9);
        Self { rate, max_iter, max_eval, tolerance_grad, tolerance_change, history_size, line_search_fn }
    }

    /// The most evaluations of the loss a step, by default 5/4 of `max_iter`.
    pub fn max_eval(mut self, max_eval: impl Into<Option<usize>>) -> Self {
        self.max_eval = max_eval.into();
        self
    }

    /// How the length of a step is found; by default it is the learning rate.
    pub fn line_search_fn(mut self, search: impl Into<Option<LineSearch>>) -> Self {
        self.line_search_fn = search.into();
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

/// Which way an iteration goes.
struct Way {
    direction: Tensor,
    /// The derivative of the loss along the direction.
    slope: f64,
    /// How far the learning rate says to go.
    rate: f64,
}

impl Running {
    /// The way down from where the gradient is `gradient`; none where it no longer leads down.
    fn way(&mut self, gradient: &Tensor) -> Result<Option<Way>> {
        let memory = &mut self.memory;
        memory.learn(gradient, self.settings.history_size)?;
        let direction = memory.direction(gradient)?;
        let rate = match memory.iterations {
            0 => self.rate * (1. / dot(gradient, &gradient.sign()?)?).min(1.),
            _ => self.rate,
        };
        memory.iterations += 1;
        let slope = dot(gradient, &direction)?;
        // A slope that is NaN leads nowhere either.
        Ok((slope <= -self.settings.tolerance_change).then_some(Way { direction, slope, rate }))
    }

    /// Goes as far as the learning rate says: what that added to the parameters, or nothing.
    fn iterate(&mut self, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(Way { direction, rate, .. }) = self.way(gradient)? else { return Ok(None) };
        let step = (direction * rate)?;
        self.parameters.add(&step)?;
        self.memory.last = Some((gradient.clone(), step.clone()));
        Ok(Some(step))
    }

    /// Goes as far as a line search says: what that added to the parameters, or nothing, and the place it
    /// led to, with the number of evaluations.
    fn search(
        &mut self,
        (value, gradient): (f64, &Tensor),
        loss: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<Option<(Tensor, Point, usize)>> {
        let Some(Way { direction, slope, rate }) = self.way(gradient)? else { return Ok(None) };
        let (parameters, from) = (&self.parameters, self.parameters.values()?);
        let mut evaluate = |at: f64| {
            parameters.set(&from)?;
            parameters.add(&(&direction * at)?)?;
            let (loss, gradient) = parameters.evaluate(loss)?;
            Ok(Point { at, loss: number(&loss)?, slope: dot(&gradient, &direction)?, gradient })
        };
        let start = Point { at: 0., loss: value, slope, gradient: gradient.clone() };
        let resolution = self.settings.tolerance_change / largest(&direction)?.max(f64::MIN_POSITIVE);
        let mut search = Search { start: &start, resolution, evaluate: &mut evaluate, evaluations: 0 };
        let (point, evaluations) = (search.run(rate)?, search.evaluations);
        let step = (&direction * point.at)?;
        self.parameters.set(&from)?;
        self.parameters.add(&step)?;
        self.memory.last = Some((gradient.clone(), step.clone()));
        Ok(Some((step, point, evaluations)))
    }

    fn run(&mut self, loss: &mut dyn FnMut() -> Result<Tensor>) -> Result<Tensor> {
        let Lbfgs { max_iter, max_eval, tolerance_grad, tolerance_change, .. } = self.settings;
        let (first, mut gradient) = self.parameters.evaluate(loss)?;
        let (mut value, mut evaluations) = (number(&first)?, 1);
        for iteration in 1..=max_iter {
            if largest(&gradient)? <= tolerance_grad {
                break;
            }
            let before = value;
            let step = if self.settings.line_search_fn.is_some() {
                let Some((step, point, looks)) = self.search((value, &gradient), loss)? else { break };
                (value, gradient) = (point.loss, point.gradient);
                evaluations += looks;
                step
            } else {
                let Some(step) = self.iterate(&gradient)? else { break };
                // The loss after the last iteration is the next step's to evaluate: it may be of another
                // batch.
                if iteration == max_iter {
                    break;
                }
                let next;
                (next, gradient) = self.parameters.evaluate(loss)?;
                value = number(&next)?;
                evaluations += 1;
                step
            };
            let still = largest(&step)? <= tolerance_change || (value - before).abs() < tolerance_change;
            if still || evaluations >= max_eval.unwrap_or(max_iter * 5 / 4) {
                break;
            }
        }
        Ok(first)
    }
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
        let rate = ("learning_rate".to_owned(), Tensor::new(self.rate, &Device::Cpu)?);
        Ok([vec![rate], self.memory.state()?].concat())
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let read = || {
            Ok((state.get("learning_rate").map(number).transpose()?, Memory::read(state, &self.parameters)?))
        };
        let (rate, memory) = read().map_err(|e: Error| e.in_layer(NAME))?;
        self.rate = rate.unwrap_or(self.rate);
        self.memory = memory;
        Ok(())
    }
}
