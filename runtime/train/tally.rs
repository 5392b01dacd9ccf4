//! The losses and the accuracy of an epoch.

use std::any::Any;

use candle_core::Tensor;
use indexmap::IndexMap;

use crate::kernels::internal::{on_cpu_in_f64, widest_dtype};
use crate::{Error, Result};

use super::distributed::Ranks;
use super::evaluate::Evaluation;
use super::metrics::{Mean, class_count, count_correct};

/// Returns the value of a loss.
pub(super) fn scalar(loss: &Tensor) -> Result<f64> {
    Ok(on_cpu_in_f64(&scalar_tensor(loss)?)?.to_scalar()?)
}

/// Returns `loss` as a scalar on the same device, in f64 if the device has it.
fn scalar_tensor(loss: &Tensor) -> Result<Tensor> {
    if loss.rank() > 0 {
        let message = format!("expected a scalar loss, found shape {:?}: reduce it to its mean", loss.dims());
        return Err(Error::msg(message));
    }
    Ok(loss.detach().to_dtype(widest_dtype(loss.device()))?)
}

/// The accumulated losses and accuracies of an epoch.
///
/// Reading a scalar from a GPU synchronizes the GPU, so the values of several batches are read together. On the CPU
/// every value is read immediately.
#[derive(Default)]
pub(super) struct Tally {
    loss: Mean,
    /// The number of correctly classified elements, and the number of elements that are not ignored. `None` unless the
    /// targets are class indices.
    correct: Option<[f64; 2]>,
    examples: usize,
    unread: Vec<Unread>,
}

/// The loss of one batch and the two counts of [`Tally::correct`], not yet read from the device.
struct Unread {
    batch: usize,
    examples: usize,
    loss: Tensor,
    correct: Option<Tensor>,
}

/// The loss of one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLoss {
    pub batch: usize,
    pub loss: f64,
}

impl Tally {
    /// The number of batches whose values are read from a GPU together.
    const BATCHES_PER_READ: usize = 32;

    /// Adds a batch. `compared` is the output of the network and the target. May read the values of this batch and of
    /// earlier ones from the device. Returns the losses that were read, in the order of the batches.
    pub(super) fn add<O: 'static, T: 'static>(
        &mut self,
        batch: usize,
        loss: &Tensor,
        examples: usize,
        compared: (&O, &T),
    ) -> Result<Vec<BatchLoss>> {
        self.record(batch, loss, examples, compared)?;
        // Read the first loss immediately, to detect early that training fails from the start.
        let is_due =
            self.examples == 0 || self.unread.len() == Self::BATCHES_PER_READ || loss.device().is_cpu();
        if is_due { self.read() } else { Ok(Vec::new()) }
    }

    /// Adds the batches of all ranks in a round, with their mean loss and the sums of their counts.
    pub(super) fn add_values(
        &mut self,
        batch: usize,
        loss: f64,
        examples: usize,
        correct: Option<[f64; 2]>,
    ) -> BatchLoss {
        self.examples += examples;
        self.loss.add(loss, examples);
        if let Some([correct, elements]) = correct {
            let [earlier_correct, earlier_elements] = self.correct.unwrap_or_default();
            self.correct = Some([earlier_correct + correct, earlier_elements + elements]);
        }
        BatchLoss { batch, loss }
    }

    /// Returns the sum of the tallies of all ranks.
    pub(super) fn of_all_ranks(&self, ranks: &Ranks) -> Result<Self> {
        let [sum, weight] = self.loss.state();
        let [correct, elements] = self.correct.unwrap_or_default();
        let has_counts = f64::from(self.correct.is_some());
        let own = [sum, weight, self.examples as f64, correct, elements, has_counts];
        let all = ranks.gather(&own)?;
        let total = |index: usize| all.iter().map(|numbers| numbers[index]).sum::<f64>();
        Ok(Self {
            loss: Mean::from_state([total(0), total(1)]),
            correct: (total(5) > 0.).then(|| [total(3), total(4)]),
            examples: total(2) as usize,
            unread: Vec::new(),
        })
    }

    /// Adds a batch without reading its values from the device.
    fn record<O: 'static, T: 'static>(
        &mut self,
        batch: usize,
        loss: &Tensor,
        examples: usize,
        (output, target): (&O, &T),
    ) -> Result<()> {
        let logits = class_logits(output, target);
        let correct = logits.map(|(logits, target)| count_correct(&logits.detach(), target)).transpose()?;
        self.unread.push(Unread { batch, examples, loss: scalar_tensor(loss)?, correct });
        Ok(())
    }

    /// Reads all recorded values from the device and returns the losses, in the order of the batches.
    pub(super) fn read(&mut self) -> Result<Vec<BatchLoss>> {
        let unread = std::mem::take(&mut self.unread);
        if unread.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = read_together(&unread)?.into_iter();
        let mut next = || values.next().unwrap_or(f64::NAN);
        let mut losses = Vec::with_capacity(unread.len());
        for Unread { batch, examples, correct, .. } in unread {
            let loss = next();
            self.examples += examples;
            self.loss.add(loss, examples);
            if correct.is_some() {
                let [correct, elements] = self.correct.unwrap_or_default();
                self.correct = Some([correct + next(), elements + next()]);
            }
            losses.push(BatchLoss { batch, loss });
        }
        Ok(losses)
    }

    /// Returns the values read so far: the weighted sum of the losses, the sum of the weights, the number of examples
    /// and, if the targets are class indices, the two counts of [`Self::correct`].
    pub(super) fn state(&self) -> Vec<f64> {
        let correct = self.correct.iter().flatten().copied();
        self.loss.state().into_iter().chain([self.examples as f64]).chain(correct).collect()
    }

    /// Restores a state returned by [`state`](Self::state).
    pub(super) fn from_state(state: &[f64]) -> Result<Self> {
        let (loss, examples, correct) = match *state {
            [sum, weight, examples] => (Mean::from_state([sum, weight]), examples, None),
            [sum, weight, examples, correct, elements] => {
                (Mean::from_state([sum, weight]), examples, Some([correct, elements]))
            }
            _ => {
                return Err(Error::msg(format!("expected 3 or 5 numbers as `tally`, found {}", state.len())));
            }
        };
        Ok(Self { loss, correct, examples: examples as usize, unread: Vec::new() })
    }

    /// Returns the mean of the losses read so far.
    pub(super) fn loss(&self) -> f64 {
        self.loss.value()
    }

    /// Returns the means of the values read so far, or `None` if there were no examples.
    pub(super) fn evaluation(&self) -> Option<Evaluation> {
        let accuracy = self.correct.map(|[correct, elements]| correct / elements);
        let examples = self.examples;
        let metrics = IndexMap::new();
        (examples > 0).then_some(Evaluation { loss: self.loss.value(), accuracy, examples, metrics })
    }
}

/// Returns the loss of each batch, followed by its two counts if it has them.
fn read_together(unread: &[Unread]) -> Result<Vec<f64>> {
    // On the CPU, batches are read one by one, and a concatenation would take longer than two reads.
    if let [Unread { loss, correct, .. }] = unread {
        let counts = correct.as_ref().map(numbers).transpose()?.into_iter().flatten();
        return Ok(numbers(&loss.reshape(1)?)?.into_iter().chain(counts).collect());
    }
    let mut values = Vec::new();
    for batch in unread {
        values.push(batch.loss.reshape(1)?);
        values.extend(batch.correct.clone());
    }
    numbers(&Tensor::cat(&values, 0)?)
}

/// Returns the numbers of a vector.
fn numbers(vector: &Tensor) -> Result<Vec<f64>> {
    Ok(on_cpu_in_f64(vector)?.to_vec1()?)
}

/// Returns the number of correctly classified elements and the number of elements that are not ignored, or `None`
/// unless the targets are class indices.
pub(super) fn class_counts<O: 'static, T: 'static>(output: &O, target: &T) -> Result<Option<[f64; 2]>> {
    let Some((logits, target)) = class_logits(output, target) else { return Ok(None) };
    let counts = numbers(&count_correct(&logits.detach(), target)?)?;
    Ok(Some([counts[0], counts[1]]))
}

/// Returns the output and the target if they are logits `[batch, classes, …]` and class indices `[batch, …]`.
fn class_logits<'a, O: 'static, T: 'static>(
    output: &'a O,
    target: &'a T,
) -> Option<(&'a Tensor, &'a Tensor)> {
    let logits = (output as &dyn Any).downcast_ref::<Tensor>()?;
    let classes = (target as &dyn Any).downcast_ref::<Tensor>()?;
    let shapes_match = classes.dtype().is_int() && class_count(logits.dims(), classes.dims()).is_some();
    shapes_match.then_some((logits, classes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn reading_batches_together_equals_reading_each_batch() -> Result<()> {
        let logits = Tensor::new(&[[2f32, 1., 0.], [0., 1., 2.], [1., 2., 0.]], &Device::Cpu)?;
        let mut together = Tally::default();
        let mut one_by_one = Tally::default();
        let mut losses = Vec::new();
        for (batch, loss, target, examples) in
            [(1, 0.5, vec![0u32, 1, 1], 3), (2, f64::INFINITY, vec![], 0), (4, 0.25, vec![1, 2], 2)]
        {
            let target = Tensor::from_vec(target, examples, &Device::Cpu)?;
            let loss = Tensor::new(loss, &Device::Cpu)?;
            let logits = logits.narrow(0, 0, examples)?;
            together.record(batch, &loss, examples, (&logits, &target))?;
            losses.extend(one_by_one.add(batch, &loss, examples, (&logits, &target))?);
        }
        let read: Vec<_> = together.read()?.into_iter().map(|read| (read.batch, read.loss)).collect();
        assert_eq!(read, losses.into_iter().map(|read| (read.batch, read.loss)).collect::<Vec<_>>());
        assert_eq!(read, [(1, 0.5), (2, f64::INFINITY), (4, 0.25)]);
        assert_eq!(together.examples, 5);
        assert_eq!(together.correct, Some([3., 5.]));
        assert_eq!(together.correct, one_by_one.correct);
        Ok(())
    }
}
