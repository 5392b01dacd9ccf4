//! What distinguishes one optimiser from another: the update of a single parameter.

use std::fmt::Debug;

use candle_core::Tensor;

use crate::kernels::internal::descent;
use crate::{Error, Result};

/// The update rule of an optimiser. Implement it for an optimiser of your own, and it is an
/// [`Optimizer`](super::Optimizer).
pub trait Rule: Clone + Debug + Send + Sync + 'static {
    /// The name in error messages.
    const NAME: &'static str;

    /// The base learning rate to begin with.
    fn learning_rate(&self) -> f64;

    /// The names of the tensors remembered of each parameter, as in PyTorch's `state_dict`.
    fn moments(&self) -> Vec<&'static str>;

    /// The value that moment `name` of `parameter` has before its first step.
    fn first_moment(&self, _name: &str, parameter: &Tensor) -> Result<Tensor> {
        Ok(parameter.zeros_like()?)
    }

    /// An error if a setting is out of its range.
    fn validate(&self) -> Result<()>;

    /// The parameter's value after this step; also brings the moments up to date.
    fn update(&self, moment: Moment) -> Result<Tensor>;

    /// Makes the same step in the parameter's and the moments' own memory, where the rule has a kernel for
    /// them; false where it has none, and nothing has changed.
    fn update_in_place(&self, _moment: &Moment) -> Result<bool> {
        Ok(false)
    }
}

/// One parameter at the moment of its update.
pub struct Moment<'a> {
    /// The parameter's value before the step.
    pub parameter: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// What is remembered of it, in the order of [`Rule::moments`].
    pub state: &'a mut [Tensor],
    /// Which step of this parameter it is, from 1.
    pub step: u64,
    /// The learning rate of this step.
    pub rate: f64,
}

impl Moment<'_> {
    /// Whether the kernels that step in place can take these tensors.
    pub(super) fn is_for_kernels(&self) -> bool {
        let tensors = self.state.iter().chain([self.parameter, self.gradient]);
        descent::supports(&tensors.collect::<Vec<_>>())
    }

    /// Whether the kernels of a CUDA device can.
    pub(super) fn is_for_cuda(&self) -> bool {
        let fits = |tensor: &Tensor| tensor.dtype() == self.parameter.dtype();
        let targets: Vec<_> = self.state.iter().chain([self.parameter]).collect();
        fits(self.gradient) && targets.iter().all(|target| fits(target)) && descent::cuda::supports(&targets)
    }

    /// The gradient with `decay · parameter` added: weight decay as an L2 penalty.
    pub(super) fn decayed_gradient(&self, decay: f64) -> Result<Tensor> {
        if decay == 0. {
            return Ok(self.gradient.clone());
        }
        Ok((self.gradient + (self.parameter * decay)?)?)
    }
}

/// `average · keep + value · (1 − keep)`: the exponential moving average that most optimisers are made of.
pub(super) fn moving_average(average: &Tensor, keep: f64, value: &Tensor) -> Result<Tensor> {
    Ok(((average * keep)? + (value * (1. - keep))?)?)
}

/// `1 − betaˢ`: how much of a moving average that began at 0 is there after `step` values.
pub(super) fn bias_correction(beta: f64, step: u64) -> f64 {
    1. - beta.powf(step as f64)
}

/// An error unless `value` of the setting `name` is not negative.
pub(super) fn not_negative(name: &str, value: f64) -> Result<()> {
    if value >= 0. { Ok(()) } else { Err(Error::msg(format!("{name} cannot be {value}: it is at least 0"))) }
}

/// An error unless `value` of the setting `name` is at least 0 and less than 1.
pub(super) fn fraction(name: &str, value: f64) -> Result<()> {
    if (0. ..1.).contains(&value) {
        return Ok(());
    }
    Err(Error::msg(format!("{name} cannot be {value}: it is at least 0 and less than 1")))
}

/// Writes a setter `pub fn name(mut self, name: type) -> Self` for each field.
macro_rules! setters {
    ($optimizer:ident { $($(#[$doc:meta])+ $field:ident: $type:ty,)+ }) => {
        impl $optimizer {
            $(
                $(#[$doc])+
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}
pub(in crate::train) use setters;
