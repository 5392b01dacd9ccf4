//! Batch normalisation.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::channels::{Channels, Settings, setters};
use crate::config::Config;
use crate::kernels::norm;
use crate::layers::printed;
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::{Deferred, Normalization, Signal};
use crate::{Error, Result};

/// Normalises each channel of `[batch, channels, …]`: Ioffe and Szegedy 2015.
///
/// `BatchNorm::config(num_features)` with the setters `eps`, `momentum`, `affine` and
/// `track_running_stats`, as PyTorch's `BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d`. In training it
/// uses the batch's own statistics and updates the running ones in place; in evaluation it uses the
/// running ones, and runs inside the kernel of the convolution before it.
pub struct BatchNorm(Channels);

/// The arguments of a [`BatchNorm`].
#[derive(Clone, Copy, Debug)]
pub struct BatchNormConfig(Settings);

setters!(BatchNormConfig);

impl BatchNorm {
    pub fn config(num_features: usize) -> BatchNormConfig {
        let (eps, momentum) = (1e-5, Some(0.1));
        BatchNormConfig(Settings { num_features, eps, momentum, affine: true, track_running_stats: true })
    }

    fn label(&self) -> String {
        format!("BatchNorm {}", self.0.settings.num_features)
    }

    fn check(&self, dims: &[usize]) -> Result<()> {
        let channels = self.0.settings.num_features;
        if dims.len() >= 2 && dims[1] == channels {
            return Ok(());
        }
        Err(Error::msg(format!("expected an input [batch, {channels}, …], got {dims:?}")))
    }

    /// Normalises by the batch's own statistics, which training blends into the running ones; a residual and
    /// an activation that follow run together with it.
    fn train(&self, x: Tensor) -> Result<Signal> {
        let eps = self.0.settings.eps;
        let values = x.elem_count() / self.0.settings.num_features.max(1);
        if values == 1 {
            let shape = x.dims();
            return Err(Error::msg(format!(
                "training needs more than one value a channel, got an input of shape {shape:?}"
            )));
        }
        let (weight, bias) = self.0.parameters();
        if norm::BatchNorm::supports(&x) {
            let norm = norm::BatchNorm::from_batch(&x, weight, bias, eps)?;
            self.remember(values, norm.statistics()?)?;
            return Ok(Signal::deferred(Deferred::normalization(Normalization::new(x, norm))));
        }
        let (y, mean, var) = norm::batch_norm_train(&x, weight, bias, eps)?;
        self.remember(values, [mean, var])?;
        Ok(y.into())
    }

    /// Blends the mean and the biased variance of `values` numbers a channel into the running statistics.
    fn remember(&self, values: usize, [mean, var]: [Tensor; 2]) -> Result<()> {
        if let Some(running) = &self.0.running
            && values > 1
        {
            let unbiased = (var * (values as f64 / (values as f64 - 1.)))?;
            running.count()?;
            let momentum = match self.0.settings.momentum {
                Some(momentum) => momentum,
                None => 1. / running.batches()?,
            };
            running.blend(&mean, &unbiased, momentum)?;
        }
        Ok(())
    }
}

impl Forward for BatchNorm {
    type Output = Signal;

    fn call(&self, x: Signal, mode: Mode) -> Signal {
        let checked = match x.dims() {
            Ok(dims) => self.check(dims),
            Err(_) => return x,
        };
        if let Err(error) = checked {
            return Signal::fail(error.in_layer(self.label()));
        }
        match &self.0.running {
            Some(running) if mode == Mode::Eval => self.0.evaluate(x, running),
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
        Channels::build(self.0, &vb).map(BatchNorm)
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
    }

    fn share(&self) -> Self {
        Self(self.0.clone())
    }
}

printed!(BatchNorm);
