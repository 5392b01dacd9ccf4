//! Training on several ranks.
//!
//! The ranks take turns with the batches of an epoch: in each *round*, every rank trains on one batch. In the last
//! round, some ranks may have no batch. They still take part in the communication, without an example.

mod epoch;
mod round;
mod step;

use std::sync::Arc;

use crate::module::{Forward, Module};
use crate::registry::Network;
use crate::signal::IntoTensors;
use crate::train::average::Ema;
use crate::train::batch::Batch;
use crate::train::distributed::{
    Communication, Distributed, Ranks, average_buffers, broadcast_tensors, check_equal_parameters,
    merge_metrics,
};
use crate::train::history::Stop;
use crate::{Error, Result};

use super::Trainer;
use super::checkpoints::Checkpoints;
use super::fingerprint::Fingerprint;
use super::run::Run;
use super::step::Stepped;

use round::Round;
use step::SteppedOnRanks;

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
    /// With [synchronized batch norm](Distributed::sync_batch_norm), the network must run the same layers on every
    /// rank. Without it, ranks may run different layers, for example under a condition.
    ///
    /// With [`step`](Self::step), each rank passes its own batch, and all ranks take the same number of steps.
    /// Optimizers that evaluate the loss several times in each step are not supported.
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

    /// Returns the time for which gradients were reduced, and how much of this time overlapped with the backward pass.
    /// Returns `None` before the first step and without [`distributed`](Self::distributed).
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
