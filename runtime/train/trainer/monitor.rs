//! The definition of the best epoch, and early stopping.

use crate::train::evaluate::{ACCURACY, LOSS};
use crate::train::history::EpochReport;
use crate::{Error, Result};

/// The number of epochs in succession without an improvement after which
/// [`early_stopping`](super::Trainer::early_stopping) ends training.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::ones((8, 1), DType::F32, &Device::Cpu)?;
/// let data = (x.clone(), x);
/// // With a learning rate of 0, no epoch is better than the first.
/// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.)).quiet(true).early_stopping(Patience(2));
/// assert_eq!(trainer.fit(&data, &data, Epochs(10))?.epochs().len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(pub usize);

/// The value by which epochs are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::train) struct Monitor {
    pub name: String,
    pub higher_is_better: bool,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { name: LOSS.into(), higher_is_better: false }
    }
}

impl Monitor {
    /// Returns the monitor of the value `name`. `metrics` has the names of the metrics and whether higher is better.
    ///
    /// # Errors
    /// Fails if there is no such metric, or if two metrics have the same name.
    pub fn new(name: &str, metrics: &[(String, bool)]) -> Result<Self> {
        let repeated =
            metrics.iter().enumerate().find(|(i, (name, _))| metrics[..*i].iter().any(|m| m.0 == *name));
        if let Some((_, (name, _))) = repeated {
            return Err(Error::msg(format!(
                "two metrics are named `{name}`; `metrics::of` gives a metric another name"
            )));
        }
        let known = [(LOSS.to_owned(), false), (ACCURACY.to_owned(), true)];
        let found = metrics.iter().chain(&known).find(|(known, _)| known == name);
        if let Some((name, higher_is_better)) = found {
            return Ok(Self { name: name.clone(), higher_is_better: *higher_is_better });
        }
        let names =
            known.iter().chain(metrics).map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(Error::msg(format!("cannot monitor `{name}`: expected one of {names}")))
    }

    /// Returns the monitored value of an epoch, from the validation or, without validation, from the training.
    ///
    /// # Errors
    /// Fails if the epoch has no such value: there is no accuracy if the targets are not class indices.
    pub fn value(&self, epoch: &EpochReport) -> Result<f64> {
        epoch.value(&self.name).ok_or_else(|| {
            let name = &self.name;
            Error::msg(format!(
                "cannot monitor `{name}`: the targets are not class indices; add a metric of that name"
            ))
        })
    }

    /// Returns `true` if `value` is better than `other`. NaN is never better, and any number is better than NaN or
    /// `None`.
    pub fn is_better(&self, value: f64, other: Option<f64>) -> bool {
        let beats = |other: f64| if self.higher_is_better { value > other } else { value < other };
        !value.is_nan() && other.is_none_or(|other| other.is_nan() || beats(other))
    }
}
