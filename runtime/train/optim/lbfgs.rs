//! L-BFGS, a quasi-Newton method that evaluates the loss several times per step.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use crate::{Error, Result};

use super::curvature::CurvatureHistory;
use super::flat::{FlatParameters, dot, max_abs, scalar};
use super::line_search::{LineSearch, Point, Search};
use super::rule::{check_learning_rate, check_not_negative, setters};
use super::{Optimizer, Step};

/// L-BFGS, like `torch.optim.LBFGS` (Liu and Nocedal, "On the Limited Memory BFGS Method for Large Scale
/// Optimization", 1989). L-BFGS suits small, smooth problems with a full-batch loss.
///
/// [`step_with`](Step::step_with) runs up to `max_iter` iterations and evaluates the loss in each of them.
/// [`step`](Step::step) runs one iteration with the given gradients, without a line search.
///
/// ```
/// use sconce::candle::{Device, Tensor, Var};
/// use sconce::train::optim::{Lbfgs, LineSearch, Optimizer};
///
/// let x = Var::new(&[-1.2f64, 1.], &Device::Cpu)?;
/// let settings = Lbfgs::new(1.).max_iter(100).line_search_fn(LineSearch::StrongWolfe);
/// let mut optimizer = settings.build(vec![("x".into(), x.clone())])?;
/// // Rosenbrock's function has its minimum at (1, 1).
/// let mut loss = || {
///     let (a, b) = (x.narrow(0, 0, 1)?, x.narrow(0, 1, 1)?);
///     let valley = (((b - a.sqr()?)?.sqr()? * 100.)? + (a - 1.)?.sqr()?)?;
///     Ok(valley.sum_all()?)
/// };
/// optimizer.step_with(&mut loss)?;
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
    /// Creates L-BFGS with the learning rate `rate`; PyTorch's default is 1.
    pub fn new(rate: f64) -> Self {
        Self {
            rate,
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            line_search_fn: None,
        }
    }

    /// Sets the maximum number of loss evaluations per step, by default 5/4 of `max_iter`.
    pub fn max_eval(mut self, max_eval: impl Into<Option<usize>>) -> Self {
        self.max_eval = max_eval.into();
        self
    }

    /// Sets the line search. By default there is none: each iteration adds the search direction, multiplied by the
    /// learning rate, to the parameters. The first iteration also divides this change by the L1 norm of the gradient if
    /// the norm is greater than 1.
    pub fn line_search_fn(mut self, search: impl Into<Option<LineSearch>>) -> Self {
        self.line_search_fn = search.into();
        self
    }

    fn validate(&self) -> Result<()> {
        check_learning_rate("the learning rate", self.rate)?;
        check_not_negative("tolerance_grad", self.tolerance_grad)?;
        check_not_negative("tolerance_change", self.tolerance_change)
    }
}

setters!(Lbfgs {
    /// Sets the maximum number of iterations per step, by default 20.
    max_iter: usize,
    /// Sets the termination tolerance on the largest gradient element, by default 1e-7.
    tolerance_grad: f64,
    /// Sets the termination tolerance on the change of parameters and loss, by default 1e-9.
    tolerance_change: f64,
    /// Sets the number of iterations kept in the history, by default 100.
    history_size: usize,
});

#[diagnostic::do_not_recommend]
impl Optimizer for Lbfgs {
    fn build(&self, parameters: Vec<(String, Var)>) -> Result<Box<dyn Step>> {
        let parameters =
            self.validate().and_then(|()| FlatParameters::new(parameters)).map_err(|e| e.in_layer(NAME))?;
        let history = CurvatureHistory::default();
        Ok(Box::new(LbfgsOptimizer { settings: self.clone(), rate: self.rate, parameters, history }))
    }
}

const NAME: &str = "Lbfgs";

struct LbfgsOptimizer {
    settings: Lbfgs,
    rate: f64,
    parameters: FlatParameters,
    history: CurvatureHistory,
}

/// The search direction of an iteration.
struct SearchDirection {
    direction: Tensor,
    /// The derivative of the loss along the direction.
    slope: f64,
    /// The initial step length, as a multiple of `direction`.
    rate: f64,
}

impl LbfgsOptimizer {
    /// Returns the search direction at a point with gradient `gradient`. Returns `None` if the slope of the loss along
    /// that direction is greater than −`tolerance_change`, so that the loss would hardly decrease.
    fn search_direction(&mut self, gradient: &Tensor) -> Result<Option<SearchDirection>> {
        let history = &mut self.history;
        history.update(gradient, self.settings.history_size)?;
        let direction = history.direction(gradient)?;
        let rate = if history.iterations == 0 {
            self.rate * (1. / dot(gradient, &gradient.sign()?)?).min(1.)
        } else {
            self.rate
        };
        history.iterations += 1;
        let slope = dot(gradient, &direction)?;
        // The comparison is false if the slope is NaN.
        Ok((slope <= -self.settings.tolerance_change).then_some(SearchDirection { direction, slope, rate }))
    }

    /// Runs an iteration without a line search. Returns the change of the parameters, or `None` if there is no descent
    /// direction.
    fn iterate(&mut self, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(SearchDirection { direction, rate, .. }) = self.search_direction(gradient)? else {
            return Ok(None);
        };
        let step = (direction * rate)?;
        self.parameters.add(&step)?;
        self.history.last = Some((gradient.clone(), step.clone()));
        Ok(Some(step))
    }

    /// Runs an iteration with a line search. Returns the change of the parameters, the point reached and the number of
    /// evaluations. Returns `None` if there is no descent direction.
    fn search(
        &mut self,
        (value, gradient): (f64, &Tensor),
        loss: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<Option<(Tensor, Point, usize)>> {
        let Some(SearchDirection { direction, slope, rate }) = self.search_direction(gradient)? else {
            return Ok(None);
        };
        let parameters = &self.parameters;
        let initial = parameters.values()?;
        let mut evaluate = |step_length: f64| {
            parameters.set(&initial)?;
            parameters.add(&(&direction * step_length)?)?;
            let (loss, gradient) = parameters.evaluate(loss)?;
            let slope = dot(&gradient, &direction)?;
            Ok(Point { step_length, loss: scalar(&loss)?, slope, gradient })
        };
        let start = Point { step_length: 0., loss: value, slope, gradient: gradient.clone() };
        // Stop when the two ends of the interval differ by less than `tolerance_change` in every parameter.
        let resolution = self.settings.tolerance_change / max_abs(&direction)?.max(f64::MIN_POSITIVE);
        let mut line_search = Search { start: &start, resolution, evaluate: &mut evaluate, evaluations: 0 };
        let point = line_search.run(rate)?;
        let evaluations = line_search.evaluations;
        let step = (&direction * point.step_length)?;
        self.parameters.set(&initial)?;
        self.parameters.add(&step)?;
        self.history.last = Some((gradient.clone(), step.clone()));
        Ok(Some((step, point, evaluations)))
    }

    /// Runs the iterations of one step. Returns the loss before the first iteration.
    fn run(&mut self, loss: &mut dyn FnMut() -> Result<Tensor>) -> Result<Tensor> {
        let Lbfgs { max_iter, max_eval, tolerance_grad, tolerance_change, .. } = self.settings;
        let (first, mut gradient) = self.parameters.evaluate(loss)?;
        let mut value = scalar(&first)?;
        let mut evaluations = 1;
        for iteration in 1..=max_iter {
            if max_abs(&gradient)? <= tolerance_grad {
                break;
            }
            let before = value;
            let step = if self.settings.line_search_fn.is_some() {
                let Some((step, point, count)) = self.search((value, &gradient), loss)? else { break };
                value = point.loss;
                gradient = point.gradient;
                evaluations += count;
                step
            } else {
                let Some(step) = self.iterate(&gradient)? else { break };
                // Do not evaluate the loss after the last iteration: the next step begins with an evaluation, possibly
                // on a different batch.
                if iteration == max_iter {
                    break;
                }
                let next;
                (next, gradient) = self.parameters.evaluate(loss)?;
                value = scalar(&next)?;
                evaluations += 1;
                step
            };
            let converged = max_abs(&step)? <= tolerance_change || (value - before).abs() < tolerance_change;
            if converged || evaluations >= max_eval.unwrap_or(max_iter * 5 / 4) {
                break;
            }
        }
        Ok(first)
    }
}

impl Step for LbfgsOptimizer {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        let gradient = self.parameters.gradient(grads)?;
        if max_abs(&gradient)? > self.settings.tolerance_grad {
            self.iterate(&gradient).map_err(|e| e.in_layer(NAME))?;
        }
        Ok(())
    }

    fn step_with(&mut self, loss: &mut dyn FnMut() -> Result<Tensor>) -> Result<Tensor> {
        self.run(loss)
    }

    fn reevaluates(&self) -> bool {
        true
    }

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let rate = ("learning_rate".to_owned(), Tensor::new(self.rate, &Device::Cpu)?);
        Ok([vec![rate], self.history.state()?].concat())
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let read = || {
            let rate = state.get("learning_rate").map(scalar).transpose()?;
            Ok((rate, CurvatureHistory::read(state, &self.parameters)?))
        };
        let (rate, history) = read().map_err(|e: Error| e.in_layer(NAME))?;
        self.rate = rate.unwrap_or(self.rate);
        self.history = history;
        Ok(())
    }
}
