//! Update rules: how an optimizer updates a single parameter.

use std::fmt::Debug;

use candle_core::Tensor;

use crate::kernels::internal::{descent, on_cpu_in_f64};
use crate::{Error, Result};

/// The update rule of an optimizer.
///
/// Every type that implements `Rule` is an [`Optimizer`](super::Optimizer), so a custom optimizer needs only this
/// trait.
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// use sconce::train::optim::{ParameterUpdate, Rule};
///
/// /// Moves each element by the learning rate, against the sign of its gradient.
/// #[derive(Clone, Debug)]
/// struct SignSgd(f64);
///
/// impl Rule for SignSgd {
///     const NAME: &'static str = "SignSgd";
///
///     fn learning_rate(&self) -> f64 {
///         self.0
///     }
///
///     fn moments(&self) -> Vec<&'static str> {
///         Vec::new()
///     }
///
///     fn validate(&self) -> Result<()> {
///         Ok(())
///     }
///
///     fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
///         Ok((update.parameter - (update.gradient.sign()? * update.rate)?)?)
///     }
/// }
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = SignSgd(0.5).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?;
/// assert_eq!(x.to_vec1::<f32>()?, [0.5, -1.5]);
/// # Ok(())
/// # }
/// ```
pub trait Rule: Clone + Debug + Send + Sync + 'static {
    /// The name in error messages.
    const NAME: &'static str;

    /// Returns the initial learning rate.
    fn learning_rate(&self) -> f64;

    /// Returns the names of the tensors that the rule keeps for each parameter, as in PyTorch's `state_dict`.
    fn moments(&self) -> Vec<&'static str>;

    /// Returns the initial value of the moment `name` of `parameter`.
    ///
    /// # Errors
    /// Fails if the tensor cannot be created.
    fn initial_moment(&self, _name: &str, parameter: &Tensor) -> Result<Tensor> {
        Ok(parameter.zeros_like()?)
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Fails if a setting is out of range.
    fn validate(&self) -> Result<()>;

    /// Updates the moments and returns the value of the parameter after the step.
    ///
    /// # Errors
    /// Fails if an operation on the tensors fails, for example because there is not enough memory.
    fn update(&self, update: ParameterUpdate) -> Result<Tensor>;

    /// Updates the parameter and the moments in place. Returns `false` and changes nothing if no kernel supports the
    /// update.
    ///
    /// # Errors
    /// Fails if the kernel returns an error.
    fn update_in_place(&self, _update: &ParameterUpdate) -> Result<bool> {
        Ok(false)
    }
}

/// The inputs of one optimizer step for one parameter.
///
/// [`Rule::update`] returns the new value of the parameter, computed from these fields. [`Rule`] has an example of an
/// implementation.
///
/// ```
/// use sconce::Result;
/// use sconce::candle::{Device, Tensor};
/// use sconce::train::optim::ParameterUpdate;
///
/// /// Gradient descent with momentum.
/// fn momentum(update: ParameterUpdate) -> Result<Tensor> {
///     update.moments[0] = ((&update.moments[0] * 0.9)? + update.gradient)?;
///     Ok((update.parameter - (&update.moments[0] * update.rate)?)?)
/// }
///
/// let (parameter, gradient) = (Tensor::new(1f32, &Device::Cpu)?, Tensor::new(2f32, &Device::Cpu)?);
/// let moments = &mut [Tensor::new(0f32, &Device::Cpu)?];
/// let update = ParameterUpdate { parameter: &parameter, gradient: &gradient, moments, step: 1, rate: 0.5 };
/// assert_eq!(momentum(update)?.to_scalar::<f32>()?, 0.);
/// # Ok::<(), sconce::Error>(())
/// ```
pub struct ParameterUpdate<'a> {
    /// The value before the step.
    pub parameter: &'a Tensor,
    /// The gradient.
    pub gradient: &'a Tensor,
    /// The moments, in the order of [`Rule::moments`].
    pub moments: &'a mut [Tensor],
    /// The step number of this parameter, starting at 1.
    pub step: u64,
    /// The learning rate of this step.
    pub rate: f64,
}

impl ParameterUpdate<'_> {
    /// Returns `true` if the in-place CPU kernels support these tensors.
    pub(super) fn supported_by_kernels(&self) -> bool {
        let tensors = self.moments.iter().chain([self.parameter, self.gradient]);
        descent::supports(&tensors.collect::<Vec<_>>())
    }

    /// Returns `true` if the in-place CUDA kernels support these tensors.
    pub(super) fn supported_by_cuda_kernels(&self) -> bool {
        let same_dtype = |tensor: &Tensor| tensor.dtype() == self.parameter.dtype();
        let targets: Vec<_> = self.moments.iter().chain([self.parameter]).collect();
        same_dtype(self.gradient)
            && targets.iter().all(|target| same_dtype(target))
            && descent::cuda::supports(&targets)
    }

    /// Returns `gradient + decay · parameter`: weight decay as an L2 penalty.
    pub(super) fn decayed_gradient(&self, decay: f64) -> Result<Tensor> {
        if decay == 0. {
            return Ok(self.gradient.clone());
        }
        Ok((self.gradient + (self.parameter * decay)?)?)
    }
}

/// Returns the exponential moving average `average · keep + value · (1 − keep)`.
pub(super) fn moving_average(average: &Tensor, keep: f64, value: &Tensor) -> Result<Tensor> {
    Ok(((average * keep)? + (value * (1. - keep))?)?)
}

/// Returns `1 − beta^step`. Dividing a moving average that started at 0 by this number removes its bias.
pub(super) fn bias_correction(beta: f64, step: u64) -> f64 {
    1. - beta.powf(step as f64)
}

/// Returns an error unless the setting `name` is at least 0.
pub(in crate::train) fn check_not_negative(name: &str, value: f64) -> Result<()> {
    if value >= 0. { Ok(()) } else { Err(Error::msg(format!("{name} must be at least 0, found {value}"))) }
}

/// Reads the number in a tensor of a state. Returns an error that names the tensor `name` if it is not a scalar.
pub(in crate::train) fn read_scalar(name: &str, tensor: &Tensor) -> Result<f64> {
    if tensor.rank() > 0 {
        return Err(Error::msg(format!("expected a scalar as {name}, found shape {:?}", tensor.dims())));
    }
    Ok(on_cpu_in_f64(tensor)?.to_scalar()?)
}

/// Returns an error unless the learning rate `name` is finite and at least 0.
pub(super) fn check_learning_rate(name: &str, rate: f64) -> Result<()> {
    check_not_negative(name, rate)?;
    if rate.is_finite() { Ok(()) } else { Err(Error::msg(format!("{name} must be finite, found {rate}"))) }
}

/// Returns an error unless the setting `name` is at least 0 and less than 1.
pub(super) fn check_fraction(name: &str, value: f64) -> Result<()> {
    if (0. ..1.).contains(&value) {
        return Ok(());
    }
    Err(Error::msg(format!("{name} must be at least 0 and less than 1, found {value}")))
}

/// Generates a setter `pub fn field(mut self, field: Type) -> Self` for each field.
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

/// Generates the setter of the learning rate, for [groups](super::Groups).
macro_rules! learning_rate_setter {
    ($($optimizer:ident)+) => {$(
        impl $optimizer {
            /// Sets the learning rate.
            pub fn lr(mut self, lr: f64) -> Self {
                self.rate = lr;
                self
            }
        }
    )+};
}
pub(super) use learning_rate_setter;
