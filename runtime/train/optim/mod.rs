//! PyTorch's optimizers, with its names, defaults and arithmetic.
//!
//! An [`Optimizer`] holds the settings, as in `AdamW::new(1e-3).betas((0.9, 0.95))`. [`Optimizer::build`] combines
//! the settings with the parameters into a [`Step`], which holds the state. First-order optimizers implement
//! [`Rule`], the update of one parameter; [`RuleOptimizer`] applies a rule to all parameters.

mod adagrad;
mod adam;
mod candle;
mod curvature;
mod flat;
mod lbfgs;
mod line_search;
mod nadam;
mod rmsprop;
mod rule;
mod rule_optimizer;
mod sgd;

use std::collections::HashMap;
use std::fmt::Debug;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::Result;
use crate::kernels::backward;

pub use adagrad::{Adadelta, Adagrad};
pub use adam::{Adam, AdamW, Adamax, RAdam};
pub use candle::FromCandle;
pub use lbfgs::Lbfgs;
pub use line_search::LineSearch;
pub use nadam::NAdam;
pub use rmsprop::RmsProp;
pub(super) use rule::setters;
pub use rule::{ParameterUpdate, Rule};
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
/// let step = AdamW::new(1e-3).build(vec![("weight".into(), weight.clone())])?;
/// assert_eq!(step.learning_rate(), 1e-3);
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
    /// Fails if a setting is out of range, if a parameter or a name occurs twice, or if a parameter is not floating
    /// point.
    fn build(&self, parameters: Vec<(String, Var)>) -> Result<Box<dyn Step>>;
}

/// An optimizer with its parameters and their state.
///
/// ```
/// use sconce::candle::{Device, Tensor, Var};
/// use sconce::train::optim::{Optimizer, Sgd, Step};
///
/// let x = Var::new(&[4f32, -2.], &Device::Cpu)?;
/// let mut sgd = Sgd::new(0.1).momentum(0.9).build(vec![("x".into(), x.clone())])?;
/// for _ in 0..200 {
///     let loss = x.sqr()?.sum_all()?;
///     sgd.step(&loss.backward()?)?;
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

    /// Returns the learning rate.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate of the following steps.
    fn set_learning_rate(&mut self, rate: f64);

    /// Returns the state needed to resume training: the moments and the step count of each parameter, and the
    /// learning rate. The name of a moment has the form `conv1.weight.exp_avg`. The tensors are copies.
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
