//! Accumulation: combines the gradients of several batches into those of one large batch.

use candle_core::Var;
use candle_core::backprop::GradStore;

use crate::Result;

/// The sum of the gradients of all batches since the last step. Each batch is weighted by its number of examples.
#[derive(Default)]
pub(super) struct GradientSum {
    pub sum: Option<GradStore>,
    /// The number of examples of all batches. In distributed training, the batches of other ranks count too.
    pub examples: usize,
    /// The number of batches. In distributed training, the number of rounds.
    pub batches: usize,
}

impl GradientSum {
    /// Adds the gradients of a batch.
    pub fn add(&mut self, parameters: &[(String, Var)], grads: GradStore, examples: usize) -> Result<()> {
        self.add_gradients(parameters, grads, examples)?;
        self.add_batch(examples);
        Ok(())
    }

    /// Counts a batch.
    pub fn add_batch(&mut self, examples: usize) {
        self.examples += examples;
        self.batches += 1;
    }

    /// Adds the gradients of a batch without counting the batch.
    pub fn add_gradients(
        &mut self,
        parameters: &[(String, Var)],
        mut grads: GradStore,
        examples: usize,
    ) -> Result<()> {
        for (_, var) in parameters {
            let earlier = self.sum.as_ref().and_then(|sum| sum.get(var));
            let weighted = grads.get(var).map(|gradient| gradient.detach() * examples as f64).transpose()?;
            let sum = match (earlier, weighted) {
                (Some(earlier), Some(weighted)) => (earlier + weighted)?,
                (Some(gradient), None) => gradient.clone(),
                (None, Some(gradient)) => gradient,
                (None, None) => continue,
            };
            grads.insert(var, sum);
        }
        self.sum = Some(grads);
        Ok(())
    }

    /// Returns the mean of the gradients over all examples, and starts a new sum. Returns `None` if there were no
    /// batches.
    pub fn take_mean(&mut self, parameters: &[(String, Var)]) -> Result<Option<GradStore>> {
        let Self { sum, examples, .. } = std::mem::take(self);
        let Some(mut grads) = sum else { return Ok(None) };
        for (_, var) in parameters {
            if let Some(sum) = grads.get(var) {
                let mean = (sum / examples as f64)?;
                grads.insert(var, mean);
            }
        }
        Ok(Some(grads))
    }
}
