//! A schedule that depends on a metric.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::train::optim::{Step, read_scalar};
use crate::{Error, Result};

use super::{require, setters};

const NAME: &str = "ReduceLrOnPlateau";
/// The keys of the state.
const KEYS: [&str; 3] = ["best", "num_bad_epochs", "cooldown_counter"];

/// Lowers the learning rates when a metric has stopped improving, like `torch.optim.lr_scheduler.ReduceLROnPlateau`.
///
/// In a [`Trainer`](crate::train::Trainer::schedule), the metric is the [monitored](crate::train::Trainer::monitor)
/// value of each epoch. In a loop of your own, call [`step`](Self::step) with the metric after each epoch. If the
/// metric did not improve for more than `patience` epochs in succession, each learning rate is multiplied by `factor`.
/// Unlike a [`Schedule`](super::Schedule), this schedule has a state, which [`state`](Self::state) returns for
/// resuming.
///
/// ```
/// use sconce::candle::{Device, Var};
/// use sconce::prelude::*;
///
/// # fn main() -> Result<()> {
/// let x = Var::new(1f32, &Device::Cpu)?;
/// let mut optimizer = Sgd::new(0.5).build(vec![("x".into(), x)])?;
/// let mut plateau = ReduceLrOnPlateau::new().factor(0.5).patience(1);
/// for validation_loss in [3., 2., 2., 2.] {
///     plateau.step(validation_loss, &mut *optimizer)?;
/// }
/// assert_eq!(optimizer.learning_rate(), 0.25);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReduceLrOnPlateau {
    mode: PlateauMode,
    factor: f64,
    patience: usize,
    threshold: f64,
    threshold_mode: ThresholdMode,
    cooldown: usize,
    min_lr: f64,
    eps: f64,
    /// The best metric so far, or `None` if there is none yet.
    best: Option<f64>,
    /// The number of epochs in succession without an improvement.
    bad_epochs: usize,
    /// The number of remaining epochs in which bad epochs are not counted.
    cooldown_counter: usize,
}

/// Whether [`ReduceLrOnPlateau`] expects the metric to fall or to rise.
///
/// ```
/// use sconce::candle::{Device, Var};
/// use sconce::prelude::*;
/// use sconce::train::schedule::PlateauMode;
///
/// # fn main() -> Result<()> {
/// let x = Var::new(1f32, &Device::Cpu)?;
/// let mut optimizer = Sgd::new(0.5).build(vec![("x".into(), x)])?;
/// let mut plateau = ReduceLrOnPlateau::new().mode(PlateauMode::Max).patience(0);
/// assert!(!plateau.step(0.8, &mut *optimizer)?);
/// assert!(!plateau.step(0.9, &mut *optimizer)?); // a higher accuracy is better
/// assert!(plateau.step(0.7, &mut *optimizer)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlateauMode {
    /// A lower metric is better, as for losses.
    Min,
    /// A higher metric is better, as for accuracies.
    Max,
}

/// The meaning of the threshold of [`ReduceLrOnPlateau`].
///
/// ```
/// use sconce::candle::{Device, Var};
/// use sconce::prelude::*;
/// use sconce::train::schedule::ThresholdMode;
///
/// # fn main() -> Result<()> {
/// let x = Var::new(1f32, &Device::Cpu)?;
/// let mut optimizer = Sgd::new(0.5).build(vec![("x".into(), x)])?;
/// let mut plateau = ReduceLrOnPlateau::new().patience(0).threshold(0.5).threshold_mode(ThresholdMode::Abs);
/// assert!(!plateau.step(10., &mut *optimizer)?);
/// assert!(plateau.step(9.6, &mut *optimizer)?); // an improvement would be below 9.5
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdMode {
    /// A fraction of the best metric.
    Rel,
    /// A difference from the best metric.
    Abs,
}

impl ReduceLrOnPlateau {
    /// Creates a schedule that divides the learning rates by 10 after 11 epochs without a lower metric.
    pub fn new() -> Self {
        Self {
            mode: PlateauMode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: 0.,
            eps: 1e-8,
            best: None,
            bad_epochs: 0,
            cooldown_counter: 0,
        }
    }

    /// Counts an epoch with `metric`, and lowers the learning rates of `optimizer` if the metric has stopped improving.
    /// Returns `true` if one of [`Step::learning_rates`] was lowered. NaN is no improvement.
    ///
    /// # Errors
    /// Fails if a setting or a learning rate of `optimizer` is out of range.
    pub fn step(&mut self, metric: f64, optimizer: &mut dyn Step) -> Result<bool> {
        self.validate()?;
        if self.improves(metric) {
            self.best = Some(metric);
            self.bad_epochs = 0;
        } else {
            self.bad_epochs = self.bad_epochs.saturating_add(1);
        }
        if self.cooldown_counter > 0 {
            self.cooldown_counter -= 1;
            self.bad_epochs = 0;
        }
        if self.bad_epochs <= self.patience {
            return Ok(false);
        }
        self.cooldown_counter = self.cooldown;
        self.bad_epochs = 0;
        let rates = optimizer.learning_rates();
        let lowered: Vec<f64> = rates.iter().map(|rate| self.lower(*rate)).collect();
        optimizer.set_learning_rates(&lowered)?;
        Ok(lowered != rates)
    }

    /// Returns `true` if `metric` is better than the best metric so far by more than the threshold.
    fn improves(&self, metric: f64) -> bool {
        let sign = if self.mode == PlateauMode::Min { -1. } else { 1. };
        let Some(best) = self.best else { return metric * sign > f64::NEG_INFINITY };
        let bound = match self.threshold_mode {
            ThresholdMode::Rel => best * (1. + sign * self.threshold),
            ThresholdMode::Abs => best + sign * self.threshold,
        };
        metric * sign > bound * sign
    }

    /// Returns the lowered learning rate, or `rate` itself if the change would be `eps` or less.
    fn lower(&self, rate: f64) -> f64 {
        let lowered = (rate * self.factor).max(self.min_lr);
        if rate - lowered > self.eps { lowered } else { rate }
    }

    /// Returns the state needed to resume: the best metric, if any, the number of bad epochs, and the number of
    /// remaining cooldown epochs, under PyTorch's names.
    ///
    /// # Errors
    /// Fails if there is not enough memory.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let counts = [self.bad_epochs, self.cooldown_counter].map(|count| count as f64);
        let values = [self.best, Some(counts[0]), Some(counts[1])];
        let present = KEYS.iter().zip(values).filter_map(|(key, value)| Some((key.to_string(), value?)));
        present.map(|(key, value)| Ok((key, Tensor::new(value, &Device::Cpu)?))).collect()
    }

    /// Restores a state returned by [`state`](Self::state). The settings do not belong to the state.
    ///
    /// # Errors
    /// Fails, and changes nothing, if a key is unexpected or missing, or if a count is not an integer of at least 0.
    pub fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let mut unexpected: Vec<&str> =
            state.keys().map(String::as_str).filter(|key| !KEYS.contains(key)).collect();
        unexpected.sort_unstable();
        let unexpected = unexpected.join(", ");
        require(unexpected.is_empty(), NAME, &format!("unexpected keys in the state: {unexpected}"))?;
        let read = |key: &str| -> Result<Option<f64>> {
            let Some(value) = state.get(key) else { return Ok(None) };
            read_scalar(&format!("`{key}`"), value).map(Some).map_err(|error| error.in_layer(NAME))
        };
        let count = |key: &str| -> Result<usize> {
            let missing = || Error::msg(format!("`{key}` is missing from the state")).in_layer(NAME);
            let value = read(key)?.ok_or_else(missing)?;
            let message = format!("expected an integer of at least 0 as `{key}`, found {value}");
            require(value >= 0. && value.fract() == 0., NAME, &message)?;
            Ok(value as usize)
        };
        let bad_epochs = count("num_bad_epochs")?;
        let cooldown_counter = count("cooldown_counter")?;
        self.best = read("best")?;
        self.bad_epochs = bad_epochs;
        self.cooldown_counter = cooldown_counter;
        Ok(())
    }

    /// Returns an error unless the mode is `Max` if higher values of `metric` are better, and `Min` otherwise.
    pub(in crate::train) fn check_mode(&self, metric: &str, higher_is_better: bool) -> Result<()> {
        let expected = if higher_is_better { PlateauMode::Max } else { PlateauMode::Min };
        let message = format!("expected the mode {expected:?} for `{metric}`, found {:?}", self.mode);
        require(self.mode == expected, NAME, &message)
    }

    fn validate(&self) -> Result<()> {
        let Self { factor, threshold, min_lr, eps, .. } = self;
        let message = format!("factor must be at least 0 and less than 1, found {factor}");
        require((0. ..1.).contains(factor), NAME, &message)?;
        for (name, value) in [("threshold", threshold), ("min_lr", min_lr), ("eps", eps)] {
            require(*value >= 0., NAME, &format!("{name} must be at least 0, found {value}"))?;
        }
        Ok(())
    }
}

impl Default for ReduceLrOnPlateau {
    fn default() -> Self {
        Self::new()
    }
}

setters!(ReduceLrOnPlateau {
    /// Sets whether a lower or a higher metric is better, by default [`PlateauMode::Min`].
    mode: PlateauMode,
    /// Sets the factor by which the learning rates are multiplied, by default 0.1.
    factor: f64,
    /// Sets the number of epochs without an improvement that are tolerated, by default 10.
    patience: usize,
    /// Sets how much a metric must differ from the best one to be better, by default 1e-4.
    threshold: f64,
    /// Sets whether the threshold is relative or absolute, by default [`ThresholdMode::Rel`].
    threshold_mode: ThresholdMode,
    /// Sets the number of epochs after a reduction in which epochs without an improvement are not counted, by default
    /// 0.
    cooldown: usize,
    /// Sets the lowest learning rate, by default 0.
    min_lr: f64,
    /// Sets the smallest change of a learning rate, by default 1e-8. A smaller change is not made.
    eps: f64,
});
