//! The epochs of a run: training, validation and reports.

use crate::Result;
use crate::kernels::internal::release_memory_of_training;
use crate::module::{Forward, Module};
use crate::signal::IntoTensors;
use crate::train::batch::Batch;
use crate::train::data::Batches;
use crate::train::evaluate::{Evaluation, evaluate_with, take_values};
use crate::train::history::{EpochReport, History, Stop};
use crate::train::progress::ProgressLines;
use crate::train::snapshot::{copy_values, write_values};

use super::Trainer;
use super::callback::{Callback, FitPlan};
use super::epoch::{interrupted, no_examples};
use super::interrupt::InterruptGuard;
use super::run::Run;
use super::validation::Validation;

/// The number of passes over the training data.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let net = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(0f32, 4., &Device::Cpu)?.reshape((4, 1))?;
/// let data = (x.clone(), x);
/// let history = Trainer::new(&net, mse_loss, Sgd::new(0.01)).quiet(true).fit(&data, &(), Epochs(3))?;
/// assert_eq!(history.epochs().len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs(pub usize);

impl<'a, M: Module, O: 'static, T: 'static> Trainer<'a, M, O, T> {
    /// Trains the network on `train` and evaluates it on `valid` after each epoch. Pass `&()` as `valid` to
    /// skip validation.
    ///
    /// Trains on each batch as [`step`](Self::step) does. Each call starts with a new optimizer and restarts the
    /// schedule or, with [`resume`](Self::resume), continues from a checkpoint.
    ///
    /// After the first backward pass, parameters without a gradient are named in a warning and in
    /// [`History::unreached`]; see [`audit_gradients`](crate::train::audit_gradients).
    ///
    /// Parameters and running statistics are updated in place, so networks that share their storage see the
    /// updates. After an error, parameters keep the values of the last completed step.
    ///
    /// # Errors
    /// Fails if there is no trainable parameter, if the loss depends on no parameter, if a data set is empty, if a
    /// setting is invalid, or if the loss is not a finite scalar. Also returns the errors of the network, the loss, the
    /// optimizer, the schedule, the metrics, the callbacks and the data.
    pub fn fit<D>(
        &mut self,
        train: &D,
        valid: impl Validation<D::Batch>,
        Epochs(epochs): Epochs,
    ) -> Result<History>
    where
        D: Batches<Batch: Batch<Target = T>>,
        M: Forward<<D::Batch as Batch>::Input, Output: IntoTensors<Tensors = O>>,
    {
        let result = self.fit_on_rank(train, valid.batches(), epochs);
        self.stop_on_error(result)
    }

    /// Trains the network as [`fit`](Self::fit) does. Does not tell other ranks of an error.
    fn fit_on_rank<D>(
        &mut self,
        train: &D,
        valid: Option<&dyn Batches<Batch = D::Batch>>,
        epochs: usize,
    ) -> Result<History>
    where
        D: Batches<Batch: Batch<Target = T>>,
        M: Forward<<D::Batch as Batch>::Input, Output: IntoTensors<Tensors = O>>,
    {
        let ranks = self.connect()?;
        let batches = train.len_hint();
        let batches_of_step = self.batches_of_step();
        let steps_of_epoch = batches.map(|batches| batches.div_ceil(batches_of_step));
        let steps = steps_of_epoch.map(|steps| steps.saturating_mul(epochs));
        let mut run = self.new_run(steps.or(self.run_settings.total_steps), Some(epochs))?;
        run.batches_of_epoch = batches;
        self.metrics.iter_mut().for_each(|metric| metric.reset());
        self.begin_checkpoints(&mut run)?;
        if let Some(ranks) = &ranks {
            self.begin_epochs_on_ranks(ranks, &run, epochs, valid.is_some())?;
        }
        let plan = FitPlan { epochs, finished_epochs: run.stepper.epochs, batches };
        let mut built_in: Vec<Box<dyn Callback>> = vec![Box::new(ProgressLines::new(self.verbosity))];
        if ranks.as_ref().is_none_or(|ranks| ranks.is_root()) {
            self.begin_log(&run, epochs, &mut built_in)?;
        }
        let count = built_in.len();
        self.callbacks.splice(0..0, built_in);
        let result = match &ranks {
            Some(ranks) => ranks.with_random_state(|| self.run_epochs(&mut run, &plan, train, valid)),
            None => self.run_epochs(&mut run, &plan, train, valid),
        };
        self.callbacks.drain(..count);
        release_memory_of_training();
        let history = run.history.clone();
        // Keep the run for `step`, unless the state of the optimizer no longer matches the parameters of the network:
        // after an error, or after the best parameters were restored.
        self.run = (result.is_ok() && !self.run_settings.keep_best).then_some(run);
        result.map(|()| history)
    }

    fn run_epochs<D>(
        &mut self,
        run: &mut Run<M>,
        plan: &FitPlan,
        train: &D,
        valid: Option<&dyn Batches<Batch = D::Batch>>,
    ) -> Result<()>
    where
        D: Batches<Batch: Batch<Target = T>>,
        M: Forward<<D::Batch as Batch>::Input, Output: IntoTensors<Tensors = O>>,
    {
        let interrupt = self.checkpoints.as_ref().map(|_| InterruptGuard::new());
        self.callbacks.iter_mut().try_for_each(|callback| callback.on_fit_start(plan))?;
        run.history.stop = loop {
            if run.stepper.epochs >= plan.epochs {
                break Stop::Finished;
            }
            if self.run_settings.patience.is_some_and(|patience| run.is_out_of_patience(patience)) {
                break Stop::EarlyStopping;
            }
            let stop = interrupt.as_ref().filter(|guard| guard.is_interrupted()).map(|_| interrupted());
            if let Some(stop) = self.agree_on_stop(stop)? {
                break stop;
            }
            let stop = match self.ranks.clone() {
                Some(ranks) => self.train_epoch_on_ranks(run, &ranks, train, interrupt.as_ref())?,
                None => self.train_epoch(run, train, interrupt.as_ref())?,
            };
            if let Some(stop) = stop {
                break stop;
            }
            let report = self.report(run, valid)?;
            if let Some(stop) = self.finish_epoch_of_run(run, report)? {
                break stop;
            }
        };
        self.save(run, false)?;
        if let Stop::Interrupted(_) = run.history.stop {
            run.history.stop = Stop::Interrupted(run.stepper.last_checkpoint.clone().unwrap_or_default());
        }
        if let Some(best) = &run.best {
            write_values(self.model, best)?;
        }
        self.callbacks.iter_mut().try_for_each(|callback| callback.on_fit_end(&run.history))
    }

    /// Evaluates the network on the validation data and returns the report of the epoch.
    fn report<B>(&mut self, run: &Run<M>, valid: Option<&dyn Batches<Batch = B>>) -> Result<EpochReport>
    where
        B: Batch<Target = T>,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        self.sync_networks(run)?;
        self.merge_metrics()?;
        let seconds = self.seconds_of_root(run.seconds())?;
        let train = run.tally.evaluation().ok_or_else(no_examples)?;
        let train = Evaluation { metrics: take_values(&mut self.metrics)?, ..train };
        let network = run.network(self.model);
        let epoch = run.stepper.epochs as u64;
        let evaluate = |data: &dyn Batches<Batch = B>| {
            // The number of the epoch lets a resumed run validate in the same order and with the same random
            // transforms.
            data.set_epoch(epoch);
            evaluate_with(network, &*self.step.loss, &mut self.metrics, data, self.ranks.as_deref())
        };
        let valid = valid.map(evaluate).transpose()?;
        Ok(EpochReport {
            epoch: run.stepper.epochs + 1,
            steps: run.stepper.steps,
            learning_rate: run.stepper.optimizer.learning_rate(),
            seconds: self.seconds_of_root(run.seconds())?,
            examples_per_second: train.examples as f64 / seconds.max(f64::MIN_POSITIVE),
            train,
            valid,
        })
    }

    /// Adds the report of an epoch to the history, keeps the best parameters and buffers, runs the callbacks, and saves
    /// a checkpoint if the epoch is the best or a checkpoint is due.
    fn finish_epoch_of_run(&mut self, run: &mut Run<M>, report: EpochReport) -> Result<Option<Stop>> {
        let is_best = run.finish_epoch(report.clone())?;
        if is_best && self.run_settings.keep_best {
            run.best = Some(copy_values(run.network(self.model))?);
        }
        let stop = self.notify(|callback| callback.on_epoch(&report))?;
        let stop = self.agree_on_stop(stop)?;
        // Save after the callbacks, because one of them writes the log: a resumed run finds every finished epoch there.
        if is_best || self.is_checkpoint_due(run) {
            self.save(run, is_best)?;
        }
        Ok(stop)
    }
}
