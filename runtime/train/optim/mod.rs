//! Twelve optimizers: ten of PyTorch's, with PyTorch's names, defaults and arithmetic, and [`Lion`] and [`Lamb`], which
//! PyTorch does not have.
//!
//! An [`Optimizer`] holds the settings, as in `AdamW::new(1e-3).betas((0.9, 0.95))`. [`Optimizer::build`] combines
//! the settings with the parameters into a [`Step`], which holds the state. First-order optimizers implement
//! [`Rule`], the update of one parameter; [`RuleOptimizer`] applies a rule to all parameters.

mod adagrad;
mod adam;
mod candle;
mod curvature;
mod flat;
mod groups;
mod lamb;
mod lbfgs;
mod line_search;
mod lion;
mod nadam;
mod rmsprop;
mod rule;
mod rule_optimizer;
mod sgd;

use std::collections::HashMap;
use std::fmt::Debug;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::kernels::backward;
use crate::{Error, Result};

pub use adagrad::{Adadelta, Adagrad};
pub use adam::{Adam, AdamW, Adamax, RAdam};
pub use candle::FromCandle;
pub use groups::Groups;
pub use lamb::Lamb;
pub use lbfgs::Lbfgs;
pub use line_search::LineSearch;
pub use lion::Lion;
pub use nadam::NAdam;
pub use rmsprop::RmsProp;
use rule::check_learning_rate;
pub use rule::{ParameterUpdate, Rule};
pub(super) use rule::{check_not_negative, read_scalar, setters};
pub use rule_optimizer::RuleOptimizer;
pub use sgd::Sgd;

/// The settings of an optimizer, without parameters.
///
/// The optimizers of this module implement this trait: [`Sgd`], [`AdamW`] and the others. To write an optimizer,
/// implement [`Rule`]: every type that implements `Rule` is an `Optimizer`. Of this module's optimizers, only [`Lbfgs`]
/// and [`FromCandle`] do not implement `Rule`.
///
/// ```
/// use sconce::candle::{DType, Device, Var};
/// use sconce::train::optim::{AdamW, Optimizer};
///
/// let weight = Var::zeros((2, 3), DType::F32, &Device::Cpu)?;
/// let optimizer = AdamW::new(1e-3).build(vec![("weight".into(), weight.clone())])?;
/// assert_eq!(optimizer.learning_rate(), 1e-3);
/// // A variable cannot be a parameter twice.
/// let twice = vec![("a".into(), weight.clone()), ("b".into(), weight)];
/// assert!(AdamW::new(1e-3).build(twice).is_err());
/// # Ok::<(), sconce::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an optimizer",
    label = "expected an optimizer, such as `AdamW::new(1e-3)`",
    note = "to write an optimizer, implement `sconce::train::optim::Rule` or `sconce::train::optim::Optimizer`"
)]
pub trait Optimizer: Debug + Send + Sync {
    /// Combines the settings with `parameters`, each with its path in the network. The state is empty at first.
    ///
    /// # Errors
    /// Fails if a setting is out of range, if a parameter or a name occurs twice, if a parameter is not floating
    /// point, or if a [group](Self::group) matches no parameter.
    fn build(&self, parameters: Vec<(String, Var)>) -> Result<Box<dyn Step>>;

    /// Changes the settings for the parameters whose names match `pattern`, as in
    /// `AdamW::new(3e-4).group("**.bias", |g| g.weight_decay(0.))`. [`Groups`] describes the patterns, and what
    /// happens if a parameter matches several groups. Not available for [`Lbfgs`] and [`FromCandle`], which treat all
    /// parameters equally.
    fn group(
        self,
        pattern: impl Into<String>,
        change: impl Fn(Self) -> Self + Send + Sync + 'static,
    ) -> Groups<Self>
    where
        Self: Rule + Sized,
    {
        Groups::new(self).group(pattern, change)
    }
}

/// An optimizer with its parameters and their state. [`Optimizer::build`] returns it.
///
/// ```
/// use sconce::candle::{Device, Tensor, Var};
/// use sconce::train::optim::{Optimizer, Sgd, Step};
///
/// let x = Var::new(&[4f32, -2.], &Device::Cpu)?;
/// let mut optimizer = Sgd::new(0.1).momentum(0.9).build(vec![("x".into(), x.clone())])?;
/// for _ in 0..200 {
///     let loss = x.sqr()?.sum_all()?;
///     optimizer.step(&loss.backward()?)?;
/// }
/// assert!(x.abs()?.max_all()?.to_scalar::<f32>()? < 1e-3);
/// # Ok::<(), sconce::Error>(())
/// ```
pub trait Step: Send {
    /// Updates each parameter that has a gradient in `grads`, in place. The other parameters do not change.
    ///
    /// # Errors
    /// Fails if a gradient does not have the shape of its parameter, or if the update of a parameter fails.
    fn step(&mut self, grads: &GradStore) -> Result<()>;

    /// Evaluates `loss`, takes a step with its gradients, and returns the loss before the step. [`Lbfgs`] evaluates
    /// `loss` several times, each time with different parameter values.
    ///
    /// # Errors
    /// Fails if `loss` fails, if its gradients cannot be computed, or if the step fails.
    fn step_with(&mut self, loss: &mut dyn FnMut() -> Result<Tensor>) -> Result<Tensor> {
        let value = loss()?;
        self.step(&backward(&value)?)?;
        Ok(value)
    }

    /// Returns `true` if [`step_with`](Self::step_with) evaluates the loss more than once, as for [`Lbfgs`]. Gradients
    /// can then neither be accumulated nor clipped.
    fn reevaluates(&self) -> bool {
        false
    }

    /// Returns the learning rate of the parameters in no [group](Optimizer::group), even if there are no such
    /// parameters.
    fn learning_rate(&self) -> f64;

    /// Returns the learning rates: first the rate of the parameters in no [group](Optimizer::group), then one rate
    /// for each combination of groups that a parameter matches. The combinations are in the order in which they first
    /// occur among the parameters.
    ///
    /// ```
    /// use sconce::candle::{Device, Var};
    /// use sconce::prelude::*;
    ///
    /// # fn main() -> Result<()> {
    /// let (x, y) = (Var::new(1f32, &Device::Cpu)?, Var::new(1f32, &Device::Cpu)?);
    /// let settings = Sgd::new(0.5).group("y", |g| g.lr(0.25));
    /// let mut optimizer = settings.build(vec![("x".into(), x), ("y".into(), y)])?;
    /// // A schedule changes each learning rate, starting from its initial value.
    /// let initial = optimizer.learning_rates();
    /// let schedule = ExponentialLr::new(0.5);
    /// let rates = initial.iter().map(|rate| schedule.rate(*rate, 1));
    /// optimizer.set_learning_rates(&rates.collect::<Vec<_>>())?;
    /// assert_eq!(optimizer.learning_rates(), [0.25, 0.125]);
    /// # Ok(())
    /// # }
    /// ```
    fn learning_rates(&self) -> Vec<f64> {
        vec![self.learning_rate()]
    }

    /// Sets the learning rate of the following steps, for all parameters.
    fn set_learning_rate(&mut self, rate: f64);

    /// Sets the learning rates of the following steps, in the order of [`learning_rates`](Self::learning_rates).
    ///
    /// # Errors
    /// Fails, and changes nothing, if the number of rates is wrong, or if a rate is negative or not finite.
    fn set_learning_rates(&mut self, rates: &[f64]) -> Result<()> {
        check_learning_rates(rates, 1)?;
        rates.iter().for_each(|rate| self.set_learning_rate(*rate));
        Ok(())
    }

    /// Returns the state needed to resume training: the moments and the step count of each parameter, and the
    /// learning rates. The name of a moment has the form `conv1.weight.exp_avg`. The tensors are copies.
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied. Always fails for an optimizer built by [`FromCandle`].
    fn state(&self) -> Result<Vec<(String, Tensor)>>;

    /// Restores a state returned by [`state`](Self::state).
    ///
    /// # Errors
    /// Fails, and changes nothing, if a key is unexpected or missing, or if a tensor has the wrong shape.
    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()>;
}

/// Returns an error unless there are `count` learning rates, each finite and at least 0.
fn check_learning_rates(rates: &[f64], count: usize) -> Result<()> {
    if rates.len() != count {
        let found = rates.len();
        return Err(Error::msg(format!("expected {count} learning rates, found {found}")));
    }
    rates.iter().try_for_each(|rate| check_learning_rate("a learning rate", *rate))
}
