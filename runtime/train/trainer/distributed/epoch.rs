//! An epoch of several ranks.

use std::sync::Arc;
use std::time::Instant;

use crate::module::{Forward, Module};
use crate::signal::IntoTensors;
use crate::train::batch::Batch;
use crate::train::data::{Batches, Epoch};
use crate::train::distributed::Ranks;
use crate::train::evaluate::update_metrics;
use crate::train::history::Stop;
use crate::train::trainer::Trainer;
use crate::train::trainer::callback::StepReport;
use crate::train::trainer::epoch::interrupted;
use crate::train::trainer::interrupt::InterruptGuard;
use crate::train::trainer::run::{Run, Suspended, check_finished_batches};
use crate::{Error, Result, random};

use super::round::Round;
use super::step::SteppedOnRanks;

impl<M: Module> Run<M> {
    /// Begins or continues an epoch like [`begin_epoch`](Self::begin_epoch). Returns the remaining batches of this
    /// rank.
    fn begin_epoch_on_ranks<'d, D: Batches>(
        &mut self,
        ranks: &Ranks,
        data: &'d D,
    ) -> Result<Epoch<'d, D::Batch>> {
        self.epoch_start = Instant::now();
        data.set_epoch(self.stepper.epochs as u64);
        let suspended = self.suspended.take();
        match &suspended {
            None => self.random_state_at_epoch_start = ranks.random_state_of_root()?,
            Some(_) if ranks.is_root() => self.check_finished(data)?,
            Some(_) => {}
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

    /// Returns an error if the epoch that continues has fewer batches than are finished.
    fn check_finished<D: Batches>(&self, data: &D) -> Result<()> {
        let check = || check_finished_batches(data, self.stepper.batches);
        random::with_state(&self.random_state_at_epoch_start, check).0?;
        // The next call to the data must return the same epoch again.
        data.set_epoch(self.stepper.epochs as u64);
        Ok(())
    }

    /// Returns the first batch of the epoch. A rank that continues in an epoch may have no batch of its own left.
    fn first_batch<D: Batches>(&self, data: &D) -> Result<Option<D::Batch>> {
        let first = || data.epoch_part(0, 1)?.next().transpose();
        random::with_state(&self.random_state_at_epoch_start, first).0
    }

    /// Sets the random numbers that a rank other than 0 draws in the next round, for its batch and for its masks. They
    /// depend only on the epoch and the batch, so that a checkpoint needs to contain only the generator of rank 0.
    fn set_random_state_of_round(&self, ranks: &Ranks) {
        if !ranks.is_root() {
            random::set_state(&self.random_state_at_epoch_start.for_rank(ranks.rank(), self.stepper.batches));
        }
    }
}

impl<M: Module, O: 'static, T: 'static> Trainer<'_, M, O, T> {
    /// Trains on the batches of an epoch like [`train_epoch`](Self::train_epoch).
    pub(in crate::train::trainer) fn train_epoch_on_ranks<D>(
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
            run.set_random_state_of_round(ranks);
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
}

/// Returns the error for synchronized batch norm on a rank that never had a batch.
fn no_batch() -> Error {
    Error::msg(
        "synchronized batch norm needs a batch on every rank: use a smaller batch size, or fewer ranks",
    )
}
