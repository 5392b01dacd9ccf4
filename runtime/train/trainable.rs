//! A network that brings its loss and its optimiser along.

use candle_core::Tensor;

use super::data::Batches;
use super::evaluate::{Evaluation, evaluate};
use super::history::History;
use super::optim::Optimizer;
use super::trainer::{Epochs, Trainer, Validation};
use crate::Result;
use crate::module::Forward;
use crate::signal::Signal;

/// A network with a cost and a way to lower it: what
/// `#[module(loss = cross_entropy, optimizer = AdamW::new(1e-3))]` writes.
///
/// A network without that attribute trains through [`Trainer::new`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no loss and no optimizer to be trained with",
    note = "write #[module(loss = cross_entropy, optimizer = AdamW::new(1e-3))] above it",
    note = "or train it by `Trainer::new(&model, loss, optimizer)`"
)]
pub trait Trainable: Forward<Signal, Output = Signal> {
    /// The scalar to lower, of a batch's output and its target.
    fn loss(&self, output: &Tensor, target: &Tensor) -> Result<Tensor>;

    /// The optimiser to lower it with.
    fn optimizer(&self) -> Box<dyn Optimizer>;

    /// A [`Trainer`] of this network, to set more than [`fit`](Self::fit) asks for.
    fn trainer(&self) -> Trainer<'_, Self>
    where
        Self: Sized,
    {
        Trainer::of(self)
    }

    /// Trains on `train`, in place, and measures the loss on `valid` after each epoch; `&()` for `valid`
    /// means no validation. See [`Trainer::fit`].
    fn fit(&self, train: &impl Batches, valid: impl Validation, epochs: Epochs) -> Result<History>
    where
        Self: Sized,
    {
        self.trainer().fit(train, valid, epochs)
    }

    /// The loss, and the accuracy where there are classes, on `data`. See [`evaluate`].
    fn evaluate(&self, data: &impl Batches) -> Result<Evaluation>
    where
        Self: Sized,
    {
        evaluate(self, data)
    }
}
