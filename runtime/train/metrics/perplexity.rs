//! Perplexity.

use candle_core::Tensor;

use crate::{Error, Result};

use super::Metric;
use super::exact_sum::ExactMean;
use super::reader::{ClassReader, LogitShape};

/// The exponential of the mean cross entropy, for language models.
///
/// Logits have shape `[batch, classes, …]`, where the classes are the tokens of the vocabulary. Targets are class
/// indices `[batch, …]`. The value is infinite if a target has the logit −∞.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let mut perplexity = Perplexity::new();
/// let logits = Tensor::zeros((2, 50), DType::F32, &Device::Cpu)?; // all 50 tokens have the same probability
/// perplexity.update(&logits, &Tensor::new(&[7i64, -100], &Device::Cpu)?)?;
/// assert!((perplexity.value()? - 50.).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Perplexity {
    reader: ClassReader,
    nll: ExactMean,
}

impl Perplexity {
    /// Creates the metric.
    pub fn new() -> Self {
        Self { reader: ClassReader::new("Perplexity", LogitShape::Classes), nll: ExactMean::default() }
    }

    /// Sets the target index of the elements to ignore, by default −100.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.reader.ignore_index = index;
        self
    }

    /// Adds `elements` elements whose mean cross entropy is `mean`, such as a loss that has been computed already.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut perplexity = Perplexity::new();
    /// perplexity.add_mean(2., 30)?;
    /// perplexity.add_mean(1., 10)?;
    /// assert_eq!(perplexity.value()?, 1.75f64.exp());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if `mean` is NaN or −∞.
    pub fn add_mean(&mut self, mean: f64, elements: usize) -> Result<()> {
        if mean.is_nan() || mean == f64::NEG_INFINITY {
            let message = format!("expected a mean cross entropy, found {mean}");
            return Err(Error::msg(message).in_layer("Perplexity"));
        }
        if elements > 0 {
            self.nll.add_mean(mean, elements as u64);
        }
        Ok(())
    }
}

impl Default for Perplexity {
    fn default() -> Self {
        Self::new()
    }
}

impl Metric for Perplexity {
    fn name(&self) -> String {
        "perplexity".into()
    }

    fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
        let new = |_| Ok(ExactMean::default());
        let batch = self.reader.read(output, target, new, |nll, class, logits| {
            nll.add(negative_log_likelihood(logits, class));
        })?;
        self.nll.merge(&batch);
        Ok(())
    }

    fn value(&self) -> Result<f64> {
        Ok(self.nll.value().exp())
    }

    fn reset(&mut self) {
        self.reader.reset();
        self.nll = ExactMean::default();
    }

    fn state(&self) -> Result<Vec<f64>> {
        Ok([vec![self.reader.classes() as f64], self.nll.state()].concat())
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        let mut state = self.reader.state(state);
        let classes = state.count()? as usize;
        let nll = ExactMean::read(&mut state)?;
        state.finish()?;
        self.reader.restore_classes(classes);
        self.nll = nll;
        Ok(())
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let mut other = self.clone();
        other.load_state(state)?;
        self.reader.merge(&other.reader)?;
        self.nll.merge(&other.nll);
        Ok(())
    }

    fn higher_is_better(&self) -> bool {
        false
    }
}

/// Returns the negative logarithm of the softmax of `logits` at `class`.
fn negative_log_likelihood(logits: &[f64], class: usize) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    sum.ln() + (largest - logits[class])
}
