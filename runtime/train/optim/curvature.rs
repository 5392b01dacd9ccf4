//! What L-BFGS remembers of the curvature.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::flat::{Flat, dot, number};
use crate::{Error, Result};

/// What the iterations so far have taught about the curvature.
pub(super) struct Memory {
    pub iterations: u64,
    /// The gradient before the last iteration, and what that added to the parameters.
    pub last: Option<(Tensor, Tensor)>,
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

impl Default for Memory {
    fn default() -> Self {
        Self { iterations: 0, last: None, pairs: Vec::new(), scale: 1. }
    }
}

impl Memory {
    /// Learns from the gradient that the last iteration has led to.
    pub fn learn(&mut self, gradient: &Tensor, history_size: usize) -> Result<()> {
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
    pub fn direction(&self, gradient: &Tensor) -> Result<Tensor> {
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

    /// All of it, by names.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let Memory { iterations, last, pairs, scale } = self;
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
                |of: fn(&Pair) -> &Tensor| Tensor::stack(&pairs.iter().map(of).collect::<Vec<_>>(), 0);
            put("old_dirs", stack(|pair| &pair.gradient)?);
            put("old_stps", stack(|pair| &pair.step)?);
        }
        Ok(state)
    }

    /// The memory that `state` describes, of `parameters`.
    pub fn read(state: &HashMap<String, Tensor>, parameters: &Flat) -> Result<Self> {
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
            (Some(gradient), Some(step)) => Some((parameters.fit(gradient)?, parameters.fit(step)?)),
            (None, None) => None,
            _ => return Err(Error::msg("the state lacks one of lbfgs.prev_flat_grad and lbfgs.prev_step")),
        };
        let rows = |name: &str| -> Result<Vec<Tensor>> {
            let Some(stack) = get(name) else { return Ok(Vec::new()) };
            (0..stack.dim(0)?).map(|row| parameters.fit(&stack.get(row)?)).collect()
        };
        let (gradients, steps) = (rows("old_dirs")?, rows("old_stps")?);
        if gradients.len() != steps.len() {
            let (a, b) = (gradients.len(), steps.len());
            return Err(Error::msg(format!("expected as many lbfgs.old_dirs as old_stps, got {a} and {b}")));
        }
        let pairs = gradients.into_iter().zip(steps).map(|(gradient, step)| Pair::new(gradient, step));
        let (iterations, scale) = (scalar("n_iter")?.max(0.) as u64, scalar("H_diag")?);
        Ok(Self { iterations, last, pairs: pairs.collect::<Result<_>>()?, scale })
    }
}
