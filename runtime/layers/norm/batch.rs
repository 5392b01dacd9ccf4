//! Batch normalization.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::kernels::norm;
use crate::layers::{forward_methods, impl_fmt};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::{Deferred, Normalization, Signal};
use crate::{Error, Result};

use super::channel_norm::{ChannelNorm, RunningStats, Settings, setters};

/// Normalizes each channel over the batch (Ioffe and Szegedy 2015), like PyTorch's `BatchNorm1d`, `BatchNorm2d` and
/// `BatchNorm3d`.
///
/// - Config: `BatchNorm::config(num_features)`; setters `eps` (1e-5), `momentum` (0.1), `affine` (true),
///   `track_running_stats` (true)
/// - Input, output: `[batch, num_features, …]`
/// - Fails if the input has the wrong shape, or if the statistics of the batch are used and each channel has
///   only one value
///
/// Training uses the statistics of the batch and updates the running statistics in place. Evaluation uses the running
/// statistics, so that the batch norm can be fused into a preceding convolution. Without running statistics, evaluation
/// also uses the statistics of the batch.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = BatchNorm::config(3).init(&Device::Cpu)?;
/// let x = Tensor::zeros((2, 3, 4, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(norm.call(x.into(), Mode::Train).dims()?, [2, 3, 4, 5]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BatchNorm(ChannelNorm);

/// The config of [`BatchNorm`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = BatchNorm::config(3).eps(1e-3).momentum(0.01).affine(false).init(&Device::Cpu)?;
/// let state = norm.state_dict();
/// let names: Vec<&str> = state.keys().collect();
/// assert_eq!(names, ["running_mean", "running_var", "num_batches_tracked"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchNormConfig(Settings);

setters!(BatchNormConfig);

impl BatchNorm {
    /// Creates the config with PyTorch's defaults.
    pub fn config(num_features: usize) -> BatchNormConfig {
        let eps = 1e-5;
        let momentum = Some(0.1);
        BatchNormConfig(Settings { num_features, eps, momentum, affine: true, track_running_stats: true })
    }

    /// Sets the momentum to `None`, so that training averages the running statistics over all batches since the last
    /// reset. Returns `false` if training does not update the running statistics.
    pub(crate) fn average_all_batches(&mut self) -> bool {
        self.0.settings.momentum = None;
        self.updated_stats().is_some()
    }

    /// Resets the running statistics in place, unless training does not update them.
    pub(crate) fn reset_running_stats(&self) -> Result<()> {
        self.updated_stats().map_or(Ok(()), RunningStats::reset)
    }

    /// Returns the running statistics if training updates them.
    fn updated_stats(&self) -> Option<&RunningStats> {
        self.0.running.as_ref().filter(|_| self.0.pinned != Some(Mode::Eval))
    }

    fn label(&self) -> String {
        format!("BatchNorm {}", self.0.settings.num_features)
    }

    fn check_input(&self, dims: &[usize]) -> Result<()> {
        let channels = self.0.settings.num_features;
        if dims.len() >= 2 && dims[1] == channels {
            return Ok(());
        }
        Err(Error::msg(format!("expected an input [batch, {channels}, …], found {dims:?}")))
    }

    /// Normalizes with the statistics of the batch and updates the running statistics. A following residual addition
    /// and activation can be fused into the result.
    fn train(&self, x: Tensor) -> Result<Signal> {
        let eps = self.0.settings.eps;
        let values_per_channel = x.elem_count() / self.0.settings.num_features.max(1);
        if values_per_channel == 1 {
            let shape = x.dims();
            return Err(Error::msg(format!(
                "expected more than one value per channel in training, found an input of shape {shape:?}"
            )));
        }
        let (weight, bias) = self.0.parameters();
        if norm::BatchNorm::supports(&x) {
            let norm = norm::BatchNorm::from_batch(&x, weight, bias, eps)?;
            self.update_running_stats(values_per_channel, norm.statistics()?)?;
            return Ok(Signal::deferred(Deferred::normalization(Normalization::new(x, norm))));
        }
        let (y, mean, var) = norm::batch_norm_train(&x, weight, bias, eps)?;
        self.update_running_stats(values_per_channel, [mean, var])?;
        Ok(y.into())
    }

    /// Updates the running statistics with the mean and the biased variance of a batch.
    fn update_running_stats(&self, values_per_channel: usize, [mean, var]: [Tensor; 2]) -> Result<()> {
        if let Some(running) = &self.0.running
            && RunningStats::accepts(values_per_channel)
        {
            running.increment_batch_count()?;
            let momentum = match self.0.settings.momentum {
                Some(momentum) => momentum,
                None => 1. / running.batch_count()?,
            };
            running.update(&mean, &var, values_per_channel, momentum)?;
        }
        Ok(())
    }
}

impl Forward for BatchNorm {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        let checked = match x.dims() {
            Ok(dims) => self.check_input(dims),
            Err(_) => return x,
        };
        if let Err(error) = checked {
            return Signal::fail(error.in_layer(self.label()));
        }
        match &self.0.running {
            Some(running) if self.0.pinned.unwrap_or(mode) == Mode::Eval => self.0.evaluate(x, running),
            _ => {
                let trained = x.into_tensor().map(|x| self.train(x));
                trained.map_or_else(Signal::fail, |y| y.map_err(|error| error.in_layer(self.label())).into())
            }
        }
    }
}

impl Config for BatchNormConfig {
    type Output = BatchNorm;

    fn build(self, vb: VarBuilder) -> Result<BatchNorm> {
        ChannelNorm::build(self.0, &vb).map(BatchNorm)
    }
}

impl Module for BatchNorm {
    fn kind(&self) -> Cow<'static, str> {
        "BatchNorm".into()
    }

    fn extra(&self) -> String {
        self.0.extra()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.0.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.0.visit_mut(visitor);
        visitor.batch_norm(self);
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(BatchNorm);
forward_methods!(BatchNorm);
