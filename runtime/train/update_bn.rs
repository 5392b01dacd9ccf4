//! Recomputes the running statistics of batch norms.

use candle_core::Tensor;

use crate::layers::BatchNorm;
use crate::module::{Forward, Mode, Module, VisitorMut};
use crate::registry::Network;
use crate::signal::IntoTensors;
use crate::{Error, Result};

use super::batch::Batch;
use super::data::Batches;
use super::evaluate::run_network;

/// Recomputes the running statistics of all batch norms as means over the batches of `data`, like
/// `torch.optim.swa_utils.update_bn`. Every batch counts equally, regardless of its size.
///
/// The activations of an [average](super::AveragedModel) and of the network in training differ in their statistics, so
/// call this function before you evaluate the average. It runs the network once on each batch, in [`Mode::Train`],
/// without recording a graph, and changes the running statistics in place. The targets of `data` are ignored. A batch
/// norm that is pinned to [`Mode::Eval`] keeps its statistics. The statistics of candle-nn's batch norm are not reset.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::update_bn;
/// # fn main() -> Result<()> {
/// let norm = BatchNorm::config(1).init(&Device::Cpu)?;
/// let batch = |values: &[f32]| Tensor::new(values, &Device::Cpu)?.reshape((2, 1));
/// let data = vec![(batch(&[1., 3.])?, batch(&[0., 0.])?), (batch(&[5., 7.])?, batch(&[0., 0.])?)];
/// update_bn(&norm, &data)?;
/// let (name, mean) = &norm.buffers()[0];
/// assert_eq!((&name[..], mean.to_vec1::<f32>()?), ("running_mean", vec![4.]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if `data` has no examples, or if the data or the forward pass fails. After an error, the running statistics
/// may be means over only some of the batches.
pub fn update_bn<M, D>(network: &M, data: &D) -> Result<()>
where
    D: Batches,
    M: Forward<<D::Batch as Batch>::Input, Output: IntoTensors>,
{
    // The copy shares the running statistics, but not the momentum, which `average_all_batches` changes.
    let mut network = network.detached();
    let mut has_updated_stats = false;
    for_each_batch_norm(&mut network, &mut |norm| {
        has_updated_stats |= norm.average_all_batches();
        Ok(())
    })?;
    if !has_updated_stats {
        return Ok(());
    }
    let mut is_first = true;
    for batch in data.epoch()? {
        let batch = batch?;
        if batch.examples() == 0 {
            continue;
        }
        if std::mem::take(&mut is_first) {
            for_each_batch_norm(&mut network, &mut |norm| norm.reset_running_stats())?;
        }
        run_network(&network, batch.input(), Mode::Train, &Ok)?;
    }
    if is_first { Err(Error::msg("the data for the running statistics has no examples")) } else { Ok(()) }
}

/// Calls `change` for every batch norm of a network, until it fails.
fn for_each_batch_norm<M: Module>(
    network: &mut M,
    change: &mut dyn FnMut(&mut BatchNorm) -> Result<()>,
) -> Result<()> {
    let mut visitor = BatchNormVisitor { change, result: Ok(()) };
    network.visit_mut(&mut visitor);
    visitor.result
}

/// A visitor that passes each batch norm to `change`.
struct BatchNormVisitor<'a> {
    change: &'a mut dyn FnMut(&mut BatchNorm) -> Result<()>,
    result: Result<()>,
}

impl VisitorMut for BatchNormVisitor<'_> {
    fn parameter(&mut self, _: &str, _: &mut Tensor) {}

    fn buffer(&mut self, _: &str, _: &mut Tensor) {}

    fn child(&mut self, _: &str, child: &mut dyn Module) {
        child.visit_mut(self);
    }

    fn batch_norm(&mut self, norm: &mut BatchNorm) {
        if self.result.is_ok() {
            self.result = (self.change)(norm);
        }
    }
}
