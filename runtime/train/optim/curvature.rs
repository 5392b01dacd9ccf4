//! The curvature history of L-BFGS.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::{Error, Result};

use super::flat::{FlatParameters, dot, scalar};
use super::rule_optimizer::missing_key;

/// The changes of gradient and parameters in the most recent iterations. L-BFGS approximates the inverse Hessian with
/// them.
pub(super) struct CurvatureHistory {
    /// The number of iterations so far.
    pub iterations: u64,
    /// The gradient before the last iteration, and the change of the parameters in that iteration.
    pub last: Option<(Tensor, Tensor)>,
    pairs: Vec<Pair>,
    /// The initial inverse Hessian, as a multiple of the identity.
    scale: f64,
}

/// The changes of gradient and parameters in one iteration.
struct Pair {
    /// The change of the gradient, y in the literature.
    gradient_change: Tensor,
    /// The change of the parameters, s in the literature.
    step: Tensor,
    /// `1 / (y · s)`, ρ in the literature.
    rho: f64,
}

impl Pair {
    fn new(gradient_change: Tensor, step: Tensor) -> Result<Self> {
        let rho = 1. / dot(&gradient_change, &step)?;
        Ok(Self { gradient_change, step, rho })
    }
}

impl Default for CurvatureHistory {
    fn default() -> Self {
        Self { iterations: 0, last: None, pairs: Vec::new(), scale: 1. }
    }
}

impl CurvatureHistory {
    /// Adds the changes of gradient and parameters in the last iteration, unless their dot product is 1e-10 or less.
    /// `gradient` is the gradient after that iteration. Keeps the changes of at most `history_size` iterations.
    pub fn update(&mut self, gradient: &Tensor, history_size: usize) -> Result<()> {
        let Some((previous, step)) = self.last.take() else { return Ok(()) };
        let pair = Pair::new((gradient - previous)?, step)?;
        if pair.rho > 0. && pair.rho < 1e10 {
            self.scale = 1. / (pair.rho * dot(&pair.gradient_change, &pair.gradient_change)?);
            self.pairs.push(pair);
            let surplus = self.pairs.len().saturating_sub(history_size);
            self.pairs.drain(..surplus);
        }
        Ok(())
    }

    /// Returns the negated product of the approximate inverse Hessian and `gradient`, computed with the two-loop
    /// recursion.
    pub fn direction(&self, gradient: &Tensor) -> Result<Tensor> {
        let mut direction = gradient.neg()?;
        if self.iterations == 0 {
            return Ok(direction);
        }
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = dot(&pair.step, &direction)? * pair.rho;
            direction = (direction - (&pair.gradient_change * alpha)?)?;
            alphas.push(alpha);
        }
        direction = (direction * self.scale)?;
        for (pair, alpha) in self.pairs.iter().zip(alphas.iter().rev()) {
            let beta = dot(&pair.gradient_change, &direction)? * pair.rho;
            direction = (direction + (&pair.step * (alpha - beta))?)?;
        }
        Ok(direction)
    }

    /// Returns the history as named tensors, with the names of PyTorch's `state_dict` except for `prev_step`.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let Self { iterations, last, pairs, scale } = self;
        let mut state = Vec::new();
        let mut put = |name: &str, tensor: Tensor| state.push((format!("lbfgs.{name}"), tensor));
        put("n_iter", Tensor::new(*iterations as i64, &Device::Cpu)?);
        put("H_diag", Tensor::new(*scale, &Device::Cpu)?);
        if let Some((gradient, step)) = last {
            put("prev_flat_grad", gradient.copy()?);
            put("prev_step", step.copy()?);
        }
        if !pairs.is_empty() {
            let stack =
                |part: fn(&Pair) -> &Tensor| Tensor::stack(&pairs.iter().map(part).collect::<Vec<_>>(), 0);
            put("old_dirs", stack(|pair| &pair.gradient_change)?);
            put("old_stps", stack(|pair| &pair.step)?);
        }
        Ok(state)
    }

    /// Reads the history of `parameters` from `state`.
    pub fn read(state: &HashMap<String, Tensor>, parameters: &FlatParameters) -> Result<Self> {
        const KEYS: [&str; 6] = ["n_iter", "H_diag", "prev_flat_grad", "prev_step", "old_dirs", "old_stps"];
        let known = |key: &str| key == "learning_rate" || KEYS.iter().any(|k| key == format!("lbfgs.{k}"));
        let mut unexpected: Vec<_> = state.keys().filter(|key| !known(key)).cloned().collect();
        if !unexpected.is_empty() {
            unexpected.sort();
            let keys = unexpected.join(", ");
            return Err(Error::msg(format!("unexpected keys in the optimizer state: {keys}")));
        }
        let get = |name: &str| state.get(&format!("lbfgs.{name}"));
        let number = |name: &str| match get(name) {
            Some(tensor) => scalar(tensor),
            None => Err(missing_key(&format!("lbfgs.{name}"))),
        };
        let last = match (get("prev_flat_grad"), get("prev_step")) {
            (Some(gradient), Some(step)) => Some((parameters.load(gradient)?, parameters.load(step)?)),
            (None, None) => None,
            (None, Some(_)) => return Err(missing_key("lbfgs.prev_flat_grad")),
            (Some(_), None) => return Err(missing_key("lbfgs.prev_step")),
        };
        let rows = |name: &str| -> Result<Vec<Tensor>> {
            let Some(stack) = get(name) else { return Ok(Vec::new()) };
            (0..stack.dim(0)?).map(|row| parameters.load(&stack.get(row)?)).collect()
        };
        let gradient_changes = rows("old_dirs")?;
        let steps = rows("old_stps")?;
        if gradient_changes.len() != steps.len() {
            let dirs = gradient_changes.len();
            let stps = steps.len();
            return Err(Error::msg(format!(
                "expected `lbfgs.old_dirs` and `lbfgs.old_stps` of equal length, found {dirs} and {stps}"
            )));
        }
        let pairs = gradient_changes.into_iter().zip(steps).map(|(change, step)| Pair::new(change, step));
        let iterations = number("n_iter")?.max(0.) as u64;
        let scale = number("H_diag")?;
        Ok(Self { iterations, last, pairs: pairs.collect::<Result<_>>()?, scale })
    }
}
