//! Networks that define their loss and optimizer.

use candle_core::Tensor;

use crate::Result;
use crate::module::Forward;
use crate::signal::Signal;

use super::data::Batches;
use super::evaluate::{Evaluation, evaluate};
use super::history::History;
use super::optim::Optimizer;
use super::trainer::{Epochs, LearningRate, Trainer, Validation};

/// A network with a loss and an optimizer.
///
/// `#[module(loss = cross_entropy, optimizer = AdamW::new(1e-3))]` implements this trait. Use [`Trainer::new`] to
/// train a network without that attribute.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// #[derive(Module)]
/// #[module(loss = cross_entropy, optimizer = Sgd::new(0.5))]
/// struct Classifier {
///     #[layer(2, 8)]
///     hidden: Linear,
///     relu: Relu,
///     #[layer(8, 2)]
///     head: Linear,
/// }
///
/// let x = Tensor::new(&[[0f32, 1.], [1., 0.]], &Device::Cpu)?;
/// let data = (x, Tensor::new(&[0u32, 1], &Device::Cpu)?);
/// let net = Classifier::new(&Device::Cpu)?;
/// let history = net.trainer().quiet(true).fit(&data, &(), Epochs(50))?;
/// assert!(history.last().unwrap().loss() < history.epochs()[0].loss());
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no loss and no optimizer to be trained with",
    note = "write #[module(loss = cross_entropy, optimizer = AdamW::new(1e-3))] above it",
    note = "or train it with `Trainer::new(&model, loss, optimizer)`"
)]
pub trait Trainable: Forward<Signal, Output = Signal> {
    /// Returns the loss of a batch, a scalar.
    ///
    /// # Errors
    /// Fails if the loss function fails, for example because the shapes of `output` and `target` do not match.
    fn loss(&self, output: &Tensor, target: &Tensor) -> Result<Tensor>;

    /// Returns the optimizer.
    fn optimizer(&self) -> Box<dyn Optimizer>;

    /// Returns the learning-rate schedule, or `None` for a constant learning rate.
    fn schedule(&self) -> Option<LearningRate<'static>> {
        None
    }

    /// Returns a [`Trainer`] for this network. The trainer has settings that [`fit`](Self::fit) does not have.
    fn trainer(&self) -> Trainer<'_, Self>
    where
        Self: Sized,
    {
        Trainer::for_trainable(self)
    }

    /// Trains the network in place on `train` and evaluates it on `valid` after each epoch. Pass `&()` as `valid`
    /// to skip validation. See [`Trainer::fit`].
    ///
    /// # Errors
    /// Fails under the same conditions as [`Trainer::fit`].
    fn fit(
        &self,
        train: &impl Batches<Batch = (Tensor, Tensor)>,
        valid: impl Validation<(Tensor, Tensor)>,
        epochs: Epochs,
    ) -> Result<History>
    where
        Self: Sized,
    {
        self.trainer().fit(train, valid, epochs)
    }

    /// Returns the loss on `data`, and the accuracy if the targets are class indices. See [`evaluate`].
    ///
    /// # Errors
    /// Fails if there are no examples, or if the data, the forward pass or the loss fails.
    fn evaluate(&self, data: &impl Batches<Batch = (Tensor, Tensor)>) -> Result<Evaluation>
    where
        Self: Sized,
    {
        evaluate(self, data)
    }
}
