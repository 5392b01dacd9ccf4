//! Batch normalization.

use std::borrow::Cow;

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::kernels::internal::has_statistics_of_ranks;
use crate::kernels::norm;
use crate::layers::{forward_methods, impl_fmt};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::scope::NotFusedKind;
use crate::signal::{Batch, Deferred, Normalization, Recording, Signal};
use crate::{Error, Result};

use super::channel_norm::{ChannelNorm, RunningStats, Settings, setters};

/// Normalizes each channel over the batch (Ioffe and Szegedy 2015), for inputs of any rank. [`BatchNorm1d`],
/// [`BatchNorm2d`] and [`BatchNorm3d`] also check the rank, as in PyTorch.
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
pub struct BatchNorm {
    norm: ChannelNorm,
    /// The number in the name of `BatchNorm1d`, `BatchNorm2d` or `BatchNorm3d`; `None` for inputs of any rank.
    axes: Option<usize>,
}

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

/// Returns PyTorch's defaults.
fn default_settings(num_features: usize) -> Settings {
    Settings { num_features, eps: 1e-5, momentum: Some(0.1), affine: true, track_running_stats: true }
}

impl BatchNorm {
    /// Creates the config with PyTorch's defaults.
    pub fn config(num_features: usize) -> BatchNormConfig {
        BatchNormConfig(default_settings(num_features))
    }

    fn build(settings: Settings, axes: Option<usize>, vb: &VarBuilder) -> Result<Self> {
        Ok(Self { norm: ChannelNorm::build(settings, vb)?, axes })
    }

    /// Sets the momentum to `None`, so that training averages the running statistics over all batches since the last
    /// reset. Returns `false` if training does not update the running statistics.
    pub(crate) fn average_all_batches(&mut self) -> bool {
        self.norm.settings.momentum = None;
        self.updated_stats().is_some()
    }

    /// Resets the running statistics in place, unless training does not update them.
    pub(crate) fn reset_running_stats(&self) -> Result<()> {
        self.updated_stats().map_or(Ok(()), RunningStats::reset)
    }

    /// Returns the running statistics if training updates them.
    fn updated_stats(&self) -> Option<&RunningStats> {
        self.norm.running.as_ref().filter(|_| self.norm.pinned != Some(Mode::Eval))
    }

    fn label(&self) -> String {
        format!("{} {}", self.kind(), self.norm.settings.num_features)
    }

    fn check_input(&self, dims: &[usize]) -> Result<()> {
        let channels = self.norm.settings.num_features;
        let (ranks, expected) = match self.axes {
            Some(1) => (2..=3, format!("[batch, {channels}] or [batch, {channels}, length]")),
            Some(2) => (4..=4, format!("[batch, {channels}, height, width]")),
            Some(3) => (5..=5, format!("[batch, {channels}, depth, height, width]")),
            _ => (2..=usize::MAX, format!("[batch, {channels}, …]")),
        };
        if ranks.contains(&dims.len()) && dims[1] == channels {
            return Ok(());
        }
        Err(Error::msg(format!("expected an input {expected}, found {dims:?}")))
    }

    /// Normalizes with the statistics of the batch and updates the running statistics. A following residual addition
    /// and activation can be fused into the result.
    fn train(&self, x: Tensor) -> Result<Signal> {
        let eps = self.norm.settings.eps;
        let (weight, bias) = self.norm.parameters();
        if norm::BatchNorm::supports(&x) {
            if !has_statistics_of_ranks() {
                values_per_channel(x.dims())?;
            }
            let norm = norm::BatchNorm::from_batch(&x, weight, bias, eps)?;
            self.update_running_stats(norm.values_per_channel(), norm.statistics()?)?;
            return Ok(Signal::deferred(Deferred::normalization(Normalization::new(x, norm))));
        }
        if has_statistics_of_ranks() && x.device().is_cpu() {
            let y = self.train(x.to_dtype(DType::F32)?)?.into_tensor()?;
            return Ok(y.to_dtype(x.dtype())?.into());
        }
        let values_per_channel = values_per_channel(x.dims())?;
        let (y, mean, var) = norm::batch_norm_train(&x, weight, bias, eps)?;
        self.update_running_stats(values_per_channel, [mean, var])?;
        Ok(y.into())
    }

    /// Updates the running statistics with the mean and the biased variance of a batch.
    fn update_running_stats(&self, values_per_channel: usize, [mean, var]: [Tensor; 2]) -> Result<()> {
        if let Some(running) = &self.norm.running
            && RunningStats::accepts(values_per_channel)
        {
            running.increment_batch_count()?;
            let momentum = match self.norm.settings.momentum {
                Some(momentum) => momentum,
                None => 1. / running.batch_count()?,
            };
            running.update(&mean, &var, values_per_channel, momentum)?;
        }
        Ok(())
    }
}

/// Returns the number of values of each channel of a batch, `[batch, channels, …]`. Fails if it is 1.
fn values_per_channel(dims: &[usize]) -> Result<usize> {
    match dims.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, size)| size).product() {
        1 => Err(Error::msg(format!(
            "expected more than one value per channel in training, found an input of shape {dims:?}"
        ))),
        count => Ok(count),
    }
}

impl Forward for BatchNorm {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        let recording = Recording::start(&x);
        let description = match &self.norm.running {
            Some(running) if self.norm.pinned.unwrap_or(mode) == Mode::Eval => self.norm.describe(running),
            // The statistics of the batch.
            _ => "batch_norm".into(),
        };
        recording.finish(self.run(x, mode), description)
    }
}

impl BatchNorm {
    fn run(&self, x: Signal, mode: Mode) -> Signal {
        let checked = match x.dims() {
            Ok(dims) => self.check_input(dims),
            Err(_) => return x,
        };
        if let Err(error) = checked {
            return Signal::fail(error.in_layer(self.label()));
        }
        match &self.norm.running {
            Some(running) if self.norm.pinned.unwrap_or(mode) == Mode::Eval => self.norm.evaluate(x, running),
            _ if x.is_meta() => {
                let checked =
                    x.dims().and_then(values_per_channel).map_err(|error| error.in_layer(self.label()));
                // The kernel alone does not change the running statistics.
                let (weight, bias) = self.norm.parameters();
                let eps = self.norm.settings.eps;
                let train = |x: Tensor| Ok::<_, Error>(norm::batch_norm_train(&x, weight, bias, eps)?.0);
                checked.map_or_else(Signal::fail, |_| x.apply("batch_norm", Batch, train))
            }
            _ => {
                x.record_not_fused(NotFusedKind::BatchStatistics);
                let trained = x.into_tensor().map(|x| self.train(x));
                trained.map_or_else(Signal::fail, |y| y.map_err(|error| error.in_layer(self.label())).into())
            }
        }
    }
}

impl Config for BatchNormConfig {
    type Output = BatchNorm;

    fn build(self, vb: VarBuilder) -> Result<BatchNorm> {
        BatchNorm::build(self.0, None, &vb)
    }
}

impl Module for BatchNorm {
    fn kind(&self) -> Cow<'static, str> {
        self.axes.map_or("BatchNorm".into(), |axes| format!("BatchNorm{axes}d").into())
    }

    fn extra(&self) -> String {
        self.norm.extra()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.norm.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.norm.visit_mut(visitor);
        visitor.batch_norm(self);
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(BatchNorm);
forward_methods!(BatchNorm);

/// A [`BatchNorm`] that checks the rank of its input: PyTorch's `BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d`.
///
/// - Config: `BatchNorm2d::config(num_features)`; setters `eps` (1e-5), `momentum` (0.1), `affine` (true),
///   `track_running_stats` (true)
/// - Input, output: `[batch, num_features]` or `[batch, num_features, length]` for `BatchNorm1d`,
///   `[batch, num_features, height, width]` for `BatchNorm2d`, and `[batch, num_features, depth, height, width]` for
///   `BatchNorm3d`
/// - Fails like [`BatchNorm`], and if the input has another rank
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = BatchNorm2d::config(3).init(&Device::Cpu)?;
/// let error = norm.forward(Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?).unwrap_err();
/// assert_eq!(error.to_string(), "BatchNorm2d 3: expected an input [batch, 3, height, width], found [2, 3]");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BatchNormNd<const AXES: usize>(BatchNorm);

/// Batch norm for `[batch, channels]` and `[batch, channels, length]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = BatchNorm1d::config(3).init(&Device::Cpu)?;
/// assert_eq!(norm.forward(Tensor::ones((2, 3), DType::F32, &Device::Cpu)?)?.dims(), [2, 3]);
/// # Ok(())
/// # }
/// ```
pub type BatchNorm1d = BatchNormNd<1>;

/// Batch norm for `[batch, channels, height, width]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = BatchNorm2d::config(3).init(&Device::Cpu)?;
/// assert_eq!(norm.forward(Tensor::ones((2, 3, 4, 5), DType::F32, &Device::Cpu)?)?.dims(), [2, 3, 4, 5]);
/// # Ok(())
/// # }
/// ```
pub type BatchNorm2d = BatchNormNd<2>;

/// Batch norm for `[batch, channels, depth, height, width]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = BatchNorm3d::config(3).init(&Device::Cpu)?;
/// assert_eq!(norm.forward(Tensor::ones((2, 3, 4, 5, 6), DType::F32, &Device::Cpu)?)?.dims(), [2, 3, 4, 5, 6]);
/// # Ok(())
/// # }
/// ```
pub type BatchNorm3d = BatchNormNd<3>;

/// The config of [`BatchNormNd`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = BatchNorm1d::config(3).momentum(None).affine(false).init(&Device::Cpu)?;
/// let text = "BatchNorm1d(3, eps=1e-05, momentum=None, affine=False, track_running_stats=True)";
/// assert_eq!(norm.to_string(), text);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchNormNdConfig<const AXES: usize>(Settings);

setters!(BatchNormNdConfig<1> BatchNormNdConfig<2> BatchNormNdConfig<3>);

impl<const AXES: usize> BatchNormNd<AXES> {
    /// Creates the config with PyTorch's defaults.
    pub fn config(num_features: usize) -> BatchNormNdConfig<AXES> {
        BatchNormNdConfig(default_settings(num_features))
    }
}

impl<const AXES: usize> Forward for BatchNormNd<AXES> {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        self.0.forward_pass(x, mode)
    }
}

impl<const AXES: usize> Config for BatchNormNdConfig<AXES> {
    type Output = BatchNormNd<AXES>;

    fn build(self, vb: VarBuilder) -> Result<BatchNormNd<AXES>> {
        BatchNorm::build(self.0, Some(AXES), &vb).map(BatchNormNd)
    }
}

impl<const AXES: usize> Module for BatchNormNd<AXES> {
    fn kind(&self) -> Cow<'static, str> {
        self.0.kind()
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
        self.clone()
    }
}

impl_fmt!(BatchNormNd<AXES>, const AXES: usize);
forward_methods!(BatchNormNd<AXES>, const AXES: usize);
