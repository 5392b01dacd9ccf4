//! A function that gets the report of each epoch.

use std::ops::ControlFlow;

use crate::Result;
use crate::train::history::EpochReport;

use super::callback::Callback;

/// The callback of [`Trainer::on_epoch`](super::Trainer::on_epoch).
pub(super) struct OnEpoch<F>(pub F);

impl<F: FnMut(&EpochReport)> Callback for OnEpoch<F> {
    fn on_epoch(&mut self, epoch: &EpochReport) -> Result<ControlFlow<()>> {
        (self.0)(epoch);
        Ok(ControlFlow::Continue(()))
    }
}
