//! The settings of a trainer.

use std::path::Path;

use crate::train::clip::ClipGradNorm;
use crate::train::loss::Loss;
use crate::train::metrics::Metric;
use crate::train::optim::Optimizer;
use crate::train::precision::Precision;
use crate::train::progress::Verbosity;
use crate::train::schedule::Every;
use crate::{Error, Result};

use super::callback::Callback;
use super::checkpoints::Checkpoints;
use super::learning_rate::{IntoSchedule, LearningRate};
use super::monitor::{Monitor, Patience};
use super::{Trainer, on_epoch::OnEpoch};

/// The settings of one step.
pub(super) struct StepSettings<'a, O, T> {
    pub loss: Box<dyn Loss<O, T> + 'a>,
    pub learning_rate: Option<LearningRate<'a>>,
    /// The number of batches of a step.
    pub accumulate: usize,
    pub clip_norm: Option<ClipGradNorm>,
    pub clip_value: Option<f64>,
    /// The decay of the average.
    pub ema: Option<f64>,
    pub precision: Precision,
    pub allow_non_finite: bool,
}

/// The settings of a whole run.
pub(super) struct RunSettings {
    /// The name of the monitored value.
    pub monitor: String,
    pub patience: Option<Patience>,
    pub keep_best: bool,
    pub total_steps: Option<usize>,
}

impl<'a, M, O, T> Trainer<'a, M, O, T> {
    /// Sets the loss: a function such as `cross_entropy`, or a value such as `CrossEntropyLoss::new().ignore_index(0)`.
    pub fn loss(mut self, loss: impl Loss<O, T> + 'a) -> Self {
        self.step.loss = Box::new(loss);
        self
    }

    /// Sets the optimizer.
    pub fn optimizer(mut self, optimizer: impl Optimizer + 'a) -> Self {
        self.optimizer = Box::new(optimizer);
        self
    }

    /// Sets the learning-rate schedule: a schedule (which then advances in every step), a pair such as
    /// `(StepLr::new(10), Every::Epoch)`, or [`ReduceLrOnPlateau`](crate::train::schedule::ReduceLrOnPlateau). By
    /// default, the learning rate is constant.
    ///
    /// [`fit`](Self::fit) tells a schedule such as `Cosine::new().warmup(500)` the number of steps of the run.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let line = Linear::config(1, 1).init(&Device::Cpu)?;
    /// # let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
    /// # let data = (x.clone(), ((x * 3.)? + 1.)?);
    /// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.05)).quiet(true);
    /// trainer = trainer.schedule((StepLr::new(10).gamma(0.5), Every::Epoch));
    /// let history = trainer.fit(&data, &(), Epochs(20))?;
    /// assert_eq!(history.last().map(|epoch| epoch.learning_rate), Some(0.025));
    /// # Ok(())
    /// # }
    /// ```
    pub fn schedule(mut self, schedule: impl IntoSchedule<'a>) -> Self {
        self.step.learning_rate = Some(schedule.into_schedule());
        self
    }

    /// Sets the number of batches whose gradients are accumulated for each step of the optimizer, by default 1. The
    /// gradient equals the gradient of one large batch: each batch is weighted by its number of examples. The last step
    /// of an epoch may have fewer batches.
    ///
    /// The loss must be the mean over the examples of a batch. Batch norm uses the statistics of each batch.
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.step.accumulate = batches;
        self
    }

    /// Scales the gradients before each step so that their norm is at most `max_norm`; see
    /// [`clip_grad_norm`](crate::train::clip_grad_norm). Runs after [`clip_value`](Self::clip_value).
    pub fn clip_norm(mut self, max_norm: f64) -> Self {
        self.step.clip_norm = Some(ClipGradNorm::new(max_norm));
        self
    }

    /// Clamps each element of the gradients before each step; see [`clip_grad_value`](crate::train::clip_grad_value).
    pub fn clip_value(mut self, clip_value: f64) -> Self {
        self.step.clip_value = Some(clip_value);
        self
    }

    /// Averages the weights after each step with an [`Ema`](crate::train::Ema). Validation and
    /// [`keep_best`](Self::keep_best) use the average; [`average`](Self::average) returns it.
    pub fn ema(mut self, decay: f64) -> Self {
        self.step.ema = Some(decay);
        self
    }

    /// Sets the element type in which the network runs during training, by default the type of its parameters; see
    /// [`mixed_precision`](crate::train::mixed_precision). Parameters, gradients and validation keep the dtype of the
    /// network. Losses and metrics are computed in f32.
    ///
    /// With [`Precision::F16`], the losses are scaled by a [`GradScaler`](crate::train::GradScaler). A step with
    /// gradients that are not finite is skipped: its [`StepReport::updated`](crate::train::StepReport::updated) is
    /// `false`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// use sconce::train::Precision;
    /// # fn main() -> Result<()> {
    /// # let line = Linear::config(1, 1).init(&Device::Cpu)?;
    /// # let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
    /// # let data = (x.clone(), ((x * 3.)? + 1.)?);
    /// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.01)).quiet(true).precision(Precision::Bf16);
    /// trainer.fit(&data, &(), Epochs(2))?;
    /// assert_eq!(line.weight().dtype(), DType::F32);
    /// # Ok(())
    /// # }
    /// ```
    pub fn precision(mut self, precision: Precision) -> Self {
        self.step.precision = precision;
        self
    }

    /// Adds a metric, such as `F1::macro_average()`, which is reported for training and validation. Call this method
    /// once for each metric.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let net = Linear::config(4, 3).init(&Device::Cpu)?;
    /// # let x = Tensor::ones((8, 4), DType::F32, &Device::Cpu)?;
    /// # let data = (x, Tensor::zeros(8, DType::U32, &Device::Cpu)?);
    /// let mut trainer = Trainer::new(&net, cross_entropy, Sgd::new(0.1)).quiet(true);
    /// trainer = trainer.metric(Accuracy::top(2)).metric(F1::macro_average()).monitor("f1_macro");
    /// let history = trainer.fit(&data, &data, Epochs(2))?;
    /// assert!(history.best().unwrap().value("top_2_accuracy").is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn metric(mut self, metric: impl Metric<O, T> + 'a) -> Self {
        self.metrics.push(Box::new(metric));
        self
    }

    /// Sets the value by which epochs are compared: `loss` (the default), `accuracy` or the name of a metric. The value
    /// comes from the validation or, without validation data, from the training. [`keep_best`](Self::keep_best),
    /// [`early_stopping`](Self::early_stopping), [`History::best`](crate::train::History::best) and `ReduceLrOnPlateau`
    /// use it.
    pub fn monitor(mut self, name: impl Into<String>) -> Self {
        self.run_settings.monitor = name.into();
        self
    }

    /// Ends training if the [monitored](Self::monitor) value does not improve: with `Patience(5)`, after five epochs in
    /// succession without a new best value.
    pub fn early_stopping(mut self, patience: Patience) -> Self {
        self.run_settings.patience = Some(patience);
        self
    }

    /// Sets whether to restore the parameters and buffers of the best epoch when training ends, by default `false`.
    /// With [`ema`](Self::ema), the network gets the parameters and buffers that the average had after the best epoch.
    /// [`monitor`](Self::monitor) defines which epoch is the best.
    pub fn keep_best(mut self, keep: bool) -> Self {
        self.run_settings.keep_best = keep;
        self
    }

    /// Writes the log of the run in `directory`, which is created if it does not exist: the settings, tables of the
    /// losses and the metrics, events for TensorBoard, and charts, with the feature `plots`.
    /// [`train::log`](crate::train::log) describes the files. With [`checkpoint`](Self::checkpoint), the default is the
    /// directory of the checkpoints.
    ///
    /// The directory must not contain the log of another run, unless [`resume`](Self::resume) continues that run.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let runs = directory.path();
    /// # let line = Linear::config(1, 1).init(&Device::Cpu)?;
    /// # let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
    /// # let data = (x.clone(), x);
    /// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.01)).quiet(true).log(runs.join("a"));
    /// trainer.fit(&data, &data, Epochs(3))?;
    /// let metrics = std::fs::read_to_string(runs.join("a/metrics.csv"))?;
    /// assert!(metrics.starts_with("epoch,step,train_loss,valid_loss,learning_rate,"));
    /// assert_eq!(metrics.lines().count(), 1 + 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn log(mut self, directory: impl AsRef<Path>) -> Self {
        self.log.directory = Some(directory.as_ref().to_path_buf());
        self
    }

    /// Sets the number of optimizer steps between two rows in `steps.csv`, the table of steps in the [log](Self::log),
    /// by default 10. On a GPU, each row slows training down, because reading the loss waits for the GPU.
    pub fn log_every(mut self, steps: usize) -> Self {
        self.log.every = steps;
        self
    }

    /// Saves the state of training in files in `directory`, which is created if it does not exist: after each interval
    /// `every`, after each epoch that is the best so far, and at the end. [`resume`](Self::resume) continues from the
    /// newest file.
    ///
    /// Also writes the [log](Self::log) of the run in `directory`, unless it has another directory.
    ///
    /// Each file is written atomically. [`keep`](Self::keep) limits the number of files.
    /// [`last_checkpoint`](crate::train::last_checkpoint) and [`best_checkpoint`](crate::train::best_checkpoint) find
    /// them.
    ///
    /// With the feature `ctrlc`: while [`fit`](Self::fit) runs, Ctrl-C finishes the step, saves the state, and lets
    /// `fit` return a [`History`](crate::train::History) with the stop
    /// [`Interrupted`](crate::train::Stop::Interrupted). A second Ctrl-C ends the process. If the program has already
    /// installed its own handler, that handler is kept instead.
    pub fn checkpoint(mut self, directory: impl AsRef<Path>, every: Every) -> Self {
        let keep = self.checkpoints.map(|checkpoints| checkpoints.keep);
        let mut checkpoints = Checkpoints::new(directory.as_ref().to_path_buf(), every);
        checkpoints.keep = keep.unwrap_or(checkpoints.keep);
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Sets how many of the newest [checkpoints](Self::checkpoint) are kept. Default: 3; 0 counts as 1. The best is
    /// always kept. Call this method after `checkpoint`.
    pub fn keep(mut self, newest: usize) -> Self {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.keep = newest;
        }
        self
    }

    /// Lets [`fit`](Self::fit) continue from the newest [checkpoint](Self::checkpoint) in the directory, or start a new
    /// run if there is none.
    ///
    /// A resumed run continues exactly: on the CPU, it ends with the same bits as a run that was never interrupted,
    /// even if it was interrupted in the middle of an epoch. The network needs the same structure and the same values
    /// of its frozen parameters; its other values are replaced. The data must be deterministic: from the same state of
    /// the generator in [`random`](crate::random), it must return the same batches in the same order. The optimizer and
    /// the settings must be the same; the number of epochs may differ, unless the schedule depends on it. A checkpoint
    /// contains neither the loss nor the callbacks nor the states of the GPUs' random number generators.
    ///
    /// `fit` warns of a file that is truncated or damaged, appends `.damaged` to its name, and continues from the one
    /// before it.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let runs = directory.path();
    /// let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
    /// let data = (x.clone(), x);
    /// let train = |epochs| {
    ///     let line = Linear::config(1, 1).init(&Device::Cpu)?;
    ///     let trainer = Trainer::new(&line, mse_loss, AdamW::new(0.1)).quiet(true);
    ///     trainer.checkpoint(runs.join("a"), Every::Steps(10)).resume().fit(&data, &(), Epochs(epochs))
    /// };
    /// let started = train(3)?;
    /// let continued = train(5)?;
    /// assert!(continued.resumed_from().is_some());
    /// assert_eq!(continued.epochs()[..3], *started.epochs());
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume(mut self) -> Self {
        self.resume = true;
        self
    }

    /// Sets the number of steps of your own training loop, for schedules that depend on it. [`fit`](Self::fit) knows
    /// the number if the data knows its number of batches.
    pub fn total_steps(mut self, steps: usize) -> Self {
        self.run_settings.total_steps = Some(steps);
        self
    }

    /// Sets whether to continue training if a loss is NaN or infinite, as PyTorch does. Default: `false`, so that
    /// [`fit`](Self::fit) returns an error. On the CPU, `fit` returns the error before the optimizer takes a step with
    /// that loss. On a GPU, losses are read only every 32 batches, because reading synchronizes the GPU. `fit` then
    /// returns the error up to 32 batches later.
    ///
    /// With `true`, checkpoints may also contain parameters that are NaN or infinite. By default, `fit` returns an
    /// error instead of saving them, and the last checkpoint before them remains. The network keeps these parameters.
    pub fn allow_non_finite(mut self, allow: bool) -> Self {
        self.step.allow_non_finite = allow;
        self
    }

    /// Sets whether to show the progress during each epoch: the finished batches, the time left, the loss, the metrics
    /// and the examples per second. Default: `true`. With the feature `progress`, the progress is a bar on a terminal.
    /// Without the feature, or if standard error is not a terminal, it is a line after each tenth of the epoch and
    /// after each minute without a line, but never two lines within ten seconds.
    pub fn progress(mut self, show: bool) -> Self {
        self.verbosity.bar = show;
        self
    }

    /// Sets whether to suppress all output. Default: `false`, so that [`fit`](Self::fit) writes one line per epoch to
    /// standard error.
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.verbosity.lines = !quiet;
        self
    }

    /// Adds a callback. Callbacks run in the order in which they were added.
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Calls `f` with the report of each epoch.
    pub fn on_epoch(self, f: impl FnMut(&crate::train::EpochReport) + 'a) -> Self {
        self.callback(OnEpoch(f))
    }

    /// Returns the number of batches of one step, on all ranks together.
    pub(super) fn batches_of_step(&self) -> usize {
        self.ranks.as_ref().map_or(1, |ranks| ranks.size()) * self.step.accumulate.max(1)
    }

    /// Returns the [`Monitor`] of the value that [`monitor`](Self::monitor) names.
    pub(super) fn resolved_monitor(&self) -> Result<Monitor> {
        let metrics = self.metrics.iter().map(|metric| (metric.name(), metric.higher_is_better()));
        Monitor::new(&self.run_settings.monitor, &metrics.collect::<Vec<_>>())
    }
}

impl<O, T> StepSettings<'_, O, T> {
    /// Creates the settings of steps with `loss`.
    pub fn new(loss: Box<dyn Loss<O, T> + '_>) -> StepSettings<'_, O, T> {
        StepSettings {
            loss,
            learning_rate: None,
            accumulate: 1,
            clip_norm: None,
            clip_value: None,
            ema: None,
            precision: Precision::F32,
            allow_non_finite: false,
        }
    }

    /// Checks the settings.
    pub fn validate(&self) -> Result<()> {
        if self.accumulate == 0 {
            return Err(Error::msg("accumulate: expected at least 1 batch for each step, found 0"));
        }
        Ok(())
    }
}

impl Default for RunSettings {
    fn default() -> Self {
        Self { monitor: Monitor::default().name, patience: None, keep_best: false, total_steps: None }
    }
}

/// The default output: a line for each epoch, and the progress in a bar or in lines.
pub(super) const VERBOSE: Verbosity = Verbosity { bar: true, lines: true };
