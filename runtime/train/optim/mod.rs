//! PyTorch's optimisers, by its names, defaults and arithmetic.
//!
//! An optimiser is described by plain data, `AdamW::new(1e-3).betas(0.9, 0.95)`: an [`Optimizer`]. Given
//! the parameters it becomes a [`Step`], which holds the state. All of them share one loop,
//! [`Running`]; what makes each its own is a [`Rule`] of a few lines.

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
mod running;
mod sgd;

use std::collections::HashMap;
use std::fmt::Debug;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::Result;

pub use adagrad::{Adadelta, Adagrad};
pub use adam::{Adam, AdamW, Adamax, RAdam};
pub use candle::FromCandle;
pub use lbfgs::Lbfgs;
pub use line_search::LineSearch;
pub use nadam::NAdam;
pub use rmsprop::RmsProp;
pub(super) use rule::setters;
pub use rule::{Moment, Rule};
pub use running::Running;
pub use sgd::Sgd;

/// The description of an optimiser: its kind and its settings, before it knows the parameters.
pub trait Optimizer: Debug + Send + Sync {
    /// The running optimiser of `parameters`, which come with their names in the network.
    ///
    /// # Errors
    /// A setting out of its range, two parameters of one name, or a parameter that is not floating point.
    fn build(&self, parameters: Vec<(String, Var)>) -> Result<Box<dyn Step>>;
}

/// A running optimiser: the parameters, and what it remembers of each.
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
    /// Moves each parameter that has a gradient in `grads`, in its own storage; the others stay as they are.
    fn step(&mut self, grads: &GradStore) -> Result<()>;

    /// Evaluates `loss`, steps by its gradients and returns its value before the step. An optimiser that
    /// looks around evaluates it several times, each time at other parameters: [`Lbfgs`].
    fn step_with(&mut self, loss: &mut dyn FnMut() -> Result<Tensor>) -> Result<Tensor> {
        let value = loss()?;
        self.step(&value.backward()?)?;
        Ok(value)
    }

    /// The base rate; a schedule reads it once and sets it before each step.
    fn learning_rate(&self) -> f64;

    /// Sets the base rate from the next step on.
    fn set_learning_rate(&mut self, rate: f64);

    /// All that a run must save to go on exactly where it stopped, by names like `conv1.weight.exp_avg`:
    /// the moments and step of each parameter, and the learning rate.
    /// The tensors share no storage with the optimiser.
    fn state(&self) -> Result<Vec<(String, Tensor)>>;

    /// Takes back what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// A tensor that belongs to no parameter, has the wrong shape, or is missing beside its siblings;
    /// nothing has changed then.
    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()>;
}
