//! The loss, the optimizer and the schedule of `#[module(loss = …, optimizer = …, schedule = …)]`.

use candle_core::Tensor;

use crate::train::{IntoSchedule, LearningRate, Loss, Optimizer};
use crate::{Error, Result};

/// Calls the closure of `loss = |output, target| …`. The bound on `loss` determines the closure's argument types.
pub fn loss(
    loss: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    output: &Tensor,
    target: &Tensor,
) -> Result<Tensor> {
    loss(output, target)
}

/// The value of `loss = …` if it is not a closure. Method resolution selects the method `loss` of this type for a
/// function, and the method of [`ConfiguredLoss`] for any other value.
pub struct LossExpression<L>(pub ConfiguredLoss<L>);

/// The value of `loss = …`, to which [`LossExpression`] dereferences. The method `loss` of this type is for values that
/// implement [`Loss`], such as `CrossEntropyLoss::new()`.
pub struct ConfiguredLoss<L>(L);

/// Wraps the value of `loss = …`.
pub fn loss_expression<L>(loss: L) -> LossExpression<L> {
    LossExpression(ConfiguredLoss(loss))
}

impl<F, E> LossExpression<F>
where
    F: Fn(&Tensor, &Tensor) -> Result<Tensor, E>,
    E: Into<Error>,
{
    /// Calls a loss function of sconce, candle or the user.
    pub fn loss(&self, output: &Tensor, target: &Tensor) -> Result<Tensor> {
        (self.0.0)(output, target).map_err(Into::into)
    }
}

impl<L> std::ops::Deref for LossExpression<L> {
    type Target = ConfiguredLoss<L>;

    fn deref(&self) -> &ConfiguredLoss<L> {
        &self.0
    }
}

impl<L> ConfiguredLoss<L> {
    /// Computes the loss.
    pub fn loss(&self, output: &Tensor, target: &Tensor) -> Result<Tensor>
    where
        L: Loss,
    {
        self.0.forward(output, target)
    }
}

/// Boxes the value of `optimizer = …`.
pub fn optimizer(optimizer: impl Optimizer + 'static) -> Box<dyn Optimizer> {
    Box::new(optimizer)
}

/// Converts the value of `schedule = …`: a schedule, or a pair of a schedule and `Every`.
pub fn schedule(schedule: impl IntoSchedule<'static>) -> Option<LearningRate<'static>> {
    Some(schedule.into_schedule())
}
