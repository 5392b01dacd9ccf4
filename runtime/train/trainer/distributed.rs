//! Steps and epochs of several ranks.
//!
//! The ranks take turns with the batches of an epoch: in each *round*, every rank trains on one batch. In the last round,
//! some ranks may have no batch. They take part in the communication all the same.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::kernels::backward;
use crate::module::{Forward, Module};
use crate::random;
use crate::registry::Network;
use crate::signal::IntoTensors;
use crate::train::average::Ema;
use crate::train::batch::Batch;
use crate::train::data::{Batches, Epoch};
use crate::train::distributed::{
    Communication, Distributed, Gradients, Ranks, Reduced, average_buffers, broadcast_tensors,
    check_equal_parameters, merge_metrics,
};
use crate::train::evaluate::update_metrics;
use crate::train::history::Stop;
use crate::train::tally::{class_counts, scalar};
use crate::{Error, Result};

use super::Trainer;
use super::callback::StepReport;
use super::checkpoints::Checkpoints;
use super::epoch::interrupted;
use super::fingerprint::Fingerprint;
use super::interrupt::InterruptGuard;
use super::run::{Run, Suspended};
use super::settings::StepSettings;
use super::step::{Stepped, Stepper, forward};

/// The batches of all ranks in a round.
pub(super) struct Round {
    /// The number of ranks that have a batch. A batch may be empty.
    batches: usize,
    /// The number of examples of each rank.
    examples: Vec<usize>,
    stop: Option<Stop>,
}

impl Round {
    /// Tells the other ranks whether this rank has a batch, and whether it stops. Every rank gets the same result.
    pub fn agree(ranks: &Ranks, examples: Option<usize>, stop: Option<&Stop>) -> Result<Self> {
        let own = [f64::from(examples.is_some()), examples.unwrap_or(0) as f64, stop_code(stop)];
        let all = ranks.gather(&own)?;
        let code = all.iter().map(|rank| rank[2]).fold(0., f64::max);
        Ok(Self {
            batches: all.iter().filter(|rank| rank[0] > 0.).count(),
            examples: all.iter().map(|rank| rank[1] as usize).collect(),
            stop: stop_from_code(code),
        })
    }

    fn total(&self) -> usize {
        self.examples.iter().sum()
    }
}

/// Returns a number for a reason to stop that a single rank can have.
fn stop_code(stop: Option<&Stop>) -> f64 {
    match stop {
        None => 0.,
        Some(Stop::Interrupted(_)) => 2.,
        Some(_) => 1.,
    }
}

fn stop_from_code(code: f64) -> Option<Stop> {
    match code {
        0. => None,
        1. => Some(Stop::Callback),
        _ => Some(interrupted()),
    }
}

/// The result of a round.
pub(super) struct SteppedOnRanks<O> {
    pub report: StepReport,
    /// The output for the batch of this rank, if it has one.
    pub output: Option<O>,
    /// The sums over all ranks of the two counts of the accuracy.
    pub correct: Option<[f64; 2]>,
}

impl<M: Module> Stepper<M> {
    /// Trains on the batches of a round, as [`step`](Self::step) does on one batch. `batch` is that of this rank. With
    /// synchronized batch norm, a rank without a batch passes an earlier one, whose gradients do not count.
    pub fn step_on_ranks<B, O: 'static>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, B::Target>,
        ranks: &Arc<Ranks>,
        batch: Option<&B>,
        round: &Round,
    ) -> Result<SteppedOnRanks<O>>
    where
        B: Batch,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        self.set_learning_rate(settings)?;
        self.batches += round.batches;
        let examples = round.examples[ranks.rank()];
        let own = (examples > 0).then_some(batch).flatten();
        let earlier_steps = self.steps;
        let random_state = random::state();
        let evaluate = |batch| forward(model, settings, batch);
        let evaluated = ranks.with_batch_norm(examples, || batch.map(evaluate).transpose())?;
        let mut numbers = [0.; 4];
        if let (Some(batch), Some((loss, output))) = (own, &evaluated) {
            self.check_loss(model, settings, batch, loss, &random_state)?;
            let counts = class_counts(output, batch.target())?;
            let [correct, elements] = counts.unwrap_or_default();
            numbers = [scalar(loss)?, correct, elements, f64::from(counts.is_some())];
        }
        let (loss, output) = evaluated.unzip();
        let backward = || self.finish_round(model, settings, ranks, loss.as_ref(), round, &numbers);
        let (numbers, gradient_norm) = ranks.with_batch_norm(examples, backward)?;
        let weighted = numbers.iter().zip(&round.examples);
        let losses: f64 = weighted.filter(|(_, n)| **n > 0).map(|(numbers, n)| numbers[0] * *n as f64).sum();
        let loss = Tensor::new(losses / round.total() as f64, &Device::Cpu)?;
        let sum = |index: usize| numbers.iter().map(|numbers| numbers[index]).sum::<f64>();
        Ok(SteppedOnRanks {
            report: StepReport {
                epoch: self.epochs + 1,
                batch: self.batches,
                step: self.steps,
                updated: self.steps > earlier_steps,
                examples: round.total(),
                learning_rate: self.optimizer.learning_rate(),
                gradient_norm,
                epoch_loss: None,
                running: None,
                loss,
            },
            output: output.filter(|_| own.is_some()),
            correct: (sum(3) > 0.).then(|| [sum(1), sum(2)]),
        })
    }

    /// Runs the backward pass. Takes a step or, with accumulation, adds the gradients to those of earlier rounds.
    /// Returns the numbers of all ranks, and the norm of the gradients, if it was computed.
    fn finish_round<O, T>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, T>,
        ranks: &Ranks,
        loss: Option<&Tensor>,
        round: &Round,
        numbers: &[f64],
    ) -> Result<(Vec<Vec<f64>>, Option<f64>)> {
        let scaled = match (&self.scaler, loss) {
            (Some(scaler), Some(loss)) => Some(scaler.scale(loss)?),
            _ => loss.cloned(),
        };
        let examples = round.examples[ranks.rank()];
        if self.gradients.batches + 1 < settings.accumulate {
            if let Some(loss) = &scaled {
                let gradients = backward(loss)?;
                if examples > 0 {
                    self.gradients.add_gradients(&self.parameters, gradients, examples)?;
                }
            }
            self.gradients.add_batch(round.total());
            return Ok((ranks.gather(numbers)?, None));
        }
        let total = self.gradients.examples + round.total();
        let reduced = self.reduce(scaled.as_ref(), examples, total, numbers)?;
        let norm = self.apply_reduced(model, settings, reduced.gradients)?;
        Ok((reduced.numbers, norm))
    }

    /// Averages the gradients over all ranks: those of `loss`, and the accumulated ones.
    fn reduce(
        &mut self,
        loss: Option<&Tensor>,
        examples: usize,
        total: usize,
        numbers: &[f64],
    ) -> Result<Reduced> {
        let earlier = std::mem::take(&mut self.gradients);
        let Some(reducer) = &mut self.reducer else {
            return Err(Error::msg("the trainer was created without ranks"));
        };
        reducer.reduce(&Gradients { loss, examples, earlier: earlier.sum.as_ref(), total, numbers })
    }

    fn apply_reduced<O, T>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, T>,
        gradients: candle_core::backprop::GradStore,
    ) -> Result<Option<f64>> {
        self.audit(model, &gradients)?;
        self.apply(model, settings, gradients)
    }

    /// Takes a step with the gradients that all ranks have accumulated.
    pub fn flush_on_ranks<O, T>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, T>,
    ) -> Result<Option<f64>> {
        let total = self.gradients.examples;
        let reduced = self.reduce(None, 0, total, &[])?;
        self.apply_reduced(model, settings, reduced.gradients)
    }
}

impl<M: Module> Run<M> {
    /// Begins or continues an epoch like [`begin_epoch`](Self::begin_epoch). Returns the remaining batches of this rank.
    fn begin_epoch_on_ranks<'d, D: Batches>(
        &mut self,
        ranks: &Ranks,
        data: &'d D,
    ) -> Result<Epoch<'d, D::Batch>> {
        self.epoch_start = std::time::Instant::now();
        data.set_epoch(self.stepper.epochs as u64);
        let suspended = self.suspended.take();
        if suspended.is_none() {
            self.random_state_at_epoch_start = ranks.random_state_of_root()?;
        }
        // From the same state of the generator, the data of every rank returns the same batches in the same order.
        let start = &self.random_state_at_epoch_start;
        let part = || data.epoch_part(self.stepper.batches + ranks.rank(), ranks.size());
        let (epoch, after) = random::with_state(start, part);
        if ranks.is_root() {
            random::set_state(&suspended.map_or(after, |Suspended { random_state }| random_state));
        }
        epoch
    }

    /// Returns the first batch of the epoch. A rank that continues in an epoch may have no batch of its own left.
    fn first_batch<D: Batches>(&self, data: &D) -> Result<Option<D::Batch>> {
        let first = || data.epoch_part(0, 1)?.next().transpose();
        random::with_state(&self.random_state_at_epoch_start, first).0
    }

    /// Sets the random numbers that a rank other than 0 draws in the next round. They depend only on the epoch and the
    /// batch, so that a checkpoint needs to contain only the generator of rank 0.
    fn set_random_state_of_round(&self, ranks: &Ranks) {
        if !ranks.is_root() {
            random::set_state(&self.random_state_at_epoch_start.for_rank(ranks.rank(), self.stepper.batches));
        }
    }
}

impl<'a, M: Module, O: 'static, T: 'static> Trainer<'a, M, O, T> {
    /// Trains the network on several ranks. Each rank calls this method with its own communicator, for example an
    /// `MpiCommunicator`, or with [`Distributed`], which also has settings.
    ///
    /// - The ranks start with the parameters and buffers of rank 0. An epoch gives each batch of the training data to
    ///   one rank: with a batch size of 32, four ranks take the same steps as one rank with a batch size of 128. All
    ///   ranks must pass the same data with the same settings and seed. A rank may have one batch less than others.
    /// - The gradients are averaged over the examples of all ranks, while the backward pass runs. The loss must be the
    ///   mean over the examples of a batch. [Clipping](Self::clip_norm), the [average](Self::ema), losses, metrics and
    ///   [early stopping](Self::early_stopping) are the same on all ranks.
    /// - Validation data is divided, too. The reports of epochs are those of all batches.
    /// - Only rank 0 prints and writes files. Callbacks run on every rank. If one stops training, all ranks stop.
    /// - [Checkpoints](Self::checkpoint) must be in a directory that all ranks can read. A run can be
    ///   [resumed](Self::resume) with another number of ranks: it continues with the batches of the epoch that no rank
    ///   has trained on. Its learning-rate schedule continues at the same fraction of the run.
    /// - If a rank fails, it stops all ranks with an error that names the rank and the cause; see
    ///   [`Communicator::abort`](crate::train::distributed::Communicator::abort).
    ///
    /// With [synchronized batch norm](Distributed::sync_batch_norm), the network must run the same layers on every rank.
    /// Without it, ranks may run different layers, for example under a condition.
    ///
    /// With [`step`](Self::step), each rank passes its own batch, and all ranks take the same number of steps. Optimizers
    /// that evaluate the loss several times in each step are not supported.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// use sconce::train::distributed::ThreadCommunicator;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
    /// let data = TensorDataset::new(x.clone(), (x * 3.)?)?.batch_size(2);
    /// for history in ThreadCommunicator::run(2, |communicator| {
    ///     let line = Linear::config(1, 1).init(&Device::Cpu)?;
    ///     let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.05)).quiet(true).distributed(communicator);
    ///     trainer.fit(&data, &data, Epochs(3))
    /// }) {
    ///     assert_eq!(history?.epochs()[0].train.examples, 8);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn distributed(mut self, settings: impl Into<Distributed>) -> Self {
        self.distributed = Some(settings.into());
        self
    }

    /// Returns how long gradients were reduced, and how much of this time the backward pass hid. Returns `None` before
    /// the first step and without [`distributed`](Self::distributed).
    pub fn communication(&self) -> Option<Communication> {
        self.ranks.as_ref().map(|ranks| ranks.communication())
    }

    /// Connects to the other ranks, unless this was done before or training is not distributed.
    pub(super) fn connect(&mut self) -> Result<Option<Arc<Ranks>>> {
        if self.ranks.is_none()
            && let Some(settings) = self.distributed.clone()
        {
            self.ranks = Some(Ranks::new(settings)?);
        }
        if self.ranks.as_ref().is_some_and(|ranks| !ranks.is_root()) {
            self.verbosity.lines = false;
        }
        Ok(self.ranks.clone())
    }

    /// Gives the network the tensors of rank 0. Checks what the ranks must share.
    pub(super) fn begin_on_ranks(&mut self, ranks: &Ranks) -> Result<()> {
        ranks.check_equal("number of batches of a step", self.step.accumulate)?;
        let names = |names: Vec<String>| names.join(", ");
        let trainable = self.model.trainable_parameters().into_iter();
        let buffers = self.model.buffers().into_iter();
        ranks.check_equal_settings(&[
            (
                "list of trainable parameters",
                names(trainable.map(|(name, var)| format!("{name} {:?}", var.dims())).collect()),
            ),
            (
                "list of buffers",
                names(buffers.map(|(name, buffer)| format!("{name} {:?}", buffer.dims())).collect()),
            ),
            ("list of metrics", names(self.metrics.iter().map(|metric| metric.name()).collect())),
        ])?;
        // A metric that cannot be merged fails here, before the first step.
        for metric in &mut self.metrics {
            let state = metric.state()?;
            metric.merge(&state)?;
            metric.reset();
        }
        broadcast_tensors(ranks, self.model)
    }

    /// Checks that all ranks start at the same place, and gives each rank its random number generator.
    pub(super) fn begin_epochs_on_ranks(
        &mut self,
        ranks: &Ranks,
        run: &Run<M>,
        epochs: usize,
        validates: bool,
    ) -> Result<()> {
        ranks.check_equal("number of finished steps", run.stepper.steps)?;
        ranks.check_equal("number of finished batches", run.stepper.batches)?;
        ranks.check_equal("number of batches of an epoch", run.batches_of_epoch.unwrap_or(0))?;
        let fingerprint = Fingerprint::new(self, run, run.stepper.schedule_steps, run.stepper.epochs);
        let mut settings = fingerprint.into_settings();
        settings.push(("number of epochs", epochs.to_string()));
        settings.push(("validation data", if validates { "some" } else { "none" }.into()));
        settings.push(("checkpoints", format!("{:?}", self.checkpoints.as_ref().map(Checkpoints::every))));
        ranks.check_equal_settings(&settings)?;
        check_equal_parameters(ranks, self.model)?;
        if !ranks.is_root() {
            // A checkpoint contains the metrics of all ranks, which rank 0 continues.
            self.metrics.iter_mut().for_each(|metric| metric.reset());
        }
        ranks.set_random_state(&ranks.random_state_of_root()?);
        Ok(())
    }

    /// Trains on the batches of an epoch like [`train_epoch`](Self::train_epoch).
    pub(super) fn train_epoch_on_ranks<D>(
        &mut self,
        run: &mut Run<M>,
        ranks: &Arc<Ranks>,
        train: &D,
        interrupt: Option<&InterruptGuard>,
    ) -> Result<Option<Stop>>
    where
        D: Batches<Batch: Batch<Target = T>>,
        M: Forward<<D::Batch as Batch>::Input, Output: IntoTensors<Tensors = O>>,
    {
        let mut batches = run.begin_epoch_on_ranks(ranks, train)?;
        let mut previous = None;
        let mut stop = None;
        loop {
            if interrupt.is_some_and(InterruptGuard::is_interrupted) {
                stop = Some(interrupted());
            }
            let batch = batches.next().transpose()?;
            let round = Round::agree(ranks, batch.as_ref().map(Batch::examples), stop.as_ref())?;
            if round.stop.is_some() && !run.stepper.has_accumulated() {
                return Ok(round.stop);
            }
            if round.total() == 0 {
                run.stepper.batches += round.batches;
                if round.batches > 0 {
                    continue;
                }
                stop = round.stop;
                break;
            }
            if batch.is_none() && previous.is_none() && ranks.syncs_batch_norm() {
                previous = run.first_batch(train)?;
            }
            run.set_random_state_of_round(ranks);
            let report = self.train_round(run, ranks, batch.as_ref(), previous.as_ref(), &round)?;
            stop = stop.or(self.notify(|callback| callback.on_step(&report))?);
            if batch.is_some() {
                previous = batch;
            }
            if !run.stepper.has_accumulated() && self.is_checkpoint_due(run) {
                self.save(run, false)?;
            }
        }
        if run.stepper.has_accumulated() {
            run.stepper.flush_on_ranks(self.model, &self.step)?;
        }
        Ok(stop)
    }

    /// Trains on the batches of a round, and adds their losses and metrics to those of the epoch. `previous` is an
    /// earlier batch of this rank.
    fn train_round<B>(
        &mut self,
        run: &mut Run<M>,
        ranks: &Arc<Ranks>,
        batch: Option<&B>,
        previous: Option<&B>,
        round: &Round,
    ) -> Result<StepReport>
    where
        B: Batch<Target = T>,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        let is_first = run.stepper.unreached.is_none();
        let own = batch.filter(|batch| batch.examples() > 0);
        let passed = match own {
            None if ranks.syncs_batch_norm() => Some(previous.ok_or_else(no_batch)?),
            own => own,
        };
        let stepped = run.stepper.step_on_ranks(self.model, &self.step, ranks, passed, round)?;
        let SteppedOnRanks { mut report, output, correct } = stepped;
        if is_first && run.stepper.unreached.is_some() {
            self.warn_of_unreached(run);
        }
        let losses = run.tally.add_values(report.batch, report.loss()?, report.examples, correct);
        self.check_losses(run, vec![losses])?;
        if let (Some(batch), Some(output)) = (own, &output) {
            update_metrics(&mut self.metrics, output, batch.target())?;
        }
        report.epoch_loss = Some(run.tally.loss());
        report.running = self.running(run);
        Ok(report)
    }

    /// Takes the step of [`Trainer::step`] on several ranks.
    pub(super) fn step_on_ranks<B>(
        &self,
        run: &mut Run<M>,
        ranks: &Arc<Ranks>,
        batch: &B,
    ) -> Result<Stepped<O>>
    where
        B: Batch<Target = T>,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        let round = Round::agree(ranks, Some(batch.examples()), None)?;
        let step = || run.stepper.step_on_ranks(self.model, &self.step, ranks, Some(batch), &round);
        let SteppedOnRanks { report, output, .. } = ranks.with_random_state(step)?;
        let output = output.ok_or_else(|| Error::msg("the step has no output"))?;
        Ok(Stepped { report, output })
    }

    /// Makes the buffers of all ranks equal. Checks that the parameters are.
    pub(super) fn sync_networks(&self, run: &Run<M>) -> Result<()> {
        let Some(ranks) = &self.ranks else { return Ok(()) };
        average_buffers(ranks, self.model)?;
        if let Some(average) = run.stepper.average.as_ref().map(Ema::network) {
            average_buffers(ranks, average)?;
        }
        check_equal_parameters(ranks, self.model)
    }

    /// Makes the networks of all ranks equal before an evaluation.
    pub(super) fn share_network(&self) -> Result<()> {
        match (&self.ranks, &self.run) {
            (Some(ranks), Some(run)) => average_buffers(ranks, run.network(self.model)),
            (Some(ranks), None) => broadcast_tensors(ranks, self.model),
            (None, _) => Ok(()),
        }
    }

    /// Returns the time of rank 0, so that the reports of all ranks are equal.
    pub(super) fn seconds_of_root(&self, seconds: f64) -> Result<f64> {
        match &self.ranks {
            Some(ranks) => Ok(ranks.gather(&[seconds])?[0][0]),
            None => Ok(seconds),
        }
    }

    /// Combines the metrics of all ranks.
    pub(super) fn merge_metrics(&mut self) -> Result<()> {
        self.ranks.as_ref().map_or(Ok(()), |ranks| merge_metrics(ranks, &mut self.metrics))
    }

    /// Returns the same `stop` on all ranks: that of any rank.
    pub(super) fn agree_on_stop(&self, stop: Option<Stop>) -> Result<Option<Stop>> {
        match &self.ranks {
            Some(ranks) => Ok(Round::agree(ranks, None, stop.as_ref())?.stop),
            None => Ok(stop),
        }
    }
}

/// Returns the error for synchronized batch norm on a rank that never had a batch.
fn no_batch() -> Error {
    Error::msg(
        "synchronized batch norm needs a batch on every rank: use a smaller batch size, or fewer ranks",
    )
}
