//! Gradient clipping.

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use crate::kernels::internal::on_cpu_in_f64;
use crate::module::Module;
use crate::registry::Network;
use crate::{Error, Result};

use super::optim::check_not_negative;

/// Scales the gradients of the trainable parameters of `network` so that their norm is at most `max_norm`, like
/// `torch.nn.utils.clip_grad_norm_`. Returns the norm before clipping.
///
/// The norm is the L2 norm of all gradients as one vector. If it is greater than `max_norm`, the gradients in `grads`
/// are replaced with `gradient · max_norm / (norm + 1e-6)`. Parameters without a gradient are skipped. [`ClipGradNorm`]
/// has further settings. Pascanu et al. describe the method ("On the difficulty of training recurrent neural networks",
/// 2013).
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::clip_grad_norm;
/// # fn main() -> Result<()> {
/// let net = Linear::config(2, 2).init(&Device::Cpu)?;
/// let x = Tensor::new(&[[30f32, 40.]], &Device::Cpu)?;
/// let mut optimizer = Sgd::new(0.1).build(net.trainable_parameters())?;
/// let mut grads = sconce::backward(&mse_loss(&net.forward(&x)?, &Tensor::ones((1, 2), DType::F32, &Device::Cpu)?)?)?;
/// let norm = clip_grad_norm(&net, &mut grads, 1.)?;
/// assert!(norm > 1. && (clip_grad_norm(&net, &mut grads, 1.)? - 1.).abs() < 1e-4);
/// optimizer.step(&grads)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if `max_norm` is negative or NaN, or if a tensor operation fails.
pub fn clip_grad_norm(network: &impl Module, grads: &mut GradStore, max_norm: f64) -> Result<f64> {
    ClipGradNorm::new(max_norm).clip(network, grads)
}

/// Clamps each element of the gradients of the trainable parameters of `network` to `-clip_value..=clip_value`, like
/// `torch.nn.utils.clip_grad_value_`. Parameters without a gradient are skipped.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::clip_grad_value;
/// # fn main() -> Result<()> {
/// let net = Linear::config(2, 1).bias(false).init(&Device::Cpu)?;
/// let x = Tensor::new(&[[0.25f32, -3.]], &Device::Cpu)?;
/// let mut grads = sconce::backward(&net.forward(&x)?.sum_all()?)?;
/// clip_grad_value(&net, &mut grads, 0.5)?;
/// let gradient = grads.get(net.weight()).expect("the weight has a gradient");
/// assert_eq!(gradient.to_vec2::<f32>()?, [[0.25, -0.5]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if `clip_value` is negative or NaN, or if a tensor operation fails.
pub fn clip_grad_value(network: &impl Module, grads: &mut GradStore, clip_value: f64) -> Result<()> {
    clamp_gradients(&network.trainable_parameters(), grads, clip_value)
}

/// Clamps the elements of the gradients of `parameters`; see [`clip_grad_value`].
pub(super) fn clamp_gradients(
    parameters: &[(String, Var)],
    grads: &mut GradStore,
    clip_value: f64,
) -> Result<()> {
    check_not_negative("clip_value", clip_value).map_err(|error| error.in_layer("clip_grad_value"))?;
    for (_, var) in parameters {
        if let Some(gradient) = grads.get(var) {
            let gradient = gradient.detach();
            let clipped = gradient.clamp(-clip_value, clip_value)?;
            // On CUDA, `clamp` replaces NaN with a bound.
            let clipped = gradient.ne(&gradient)?.where_cond(&gradient, &clipped)?;
            grads.insert(var, clipped);
        }
    }
    Ok(())
}

/// The settings of [`clip_grad_norm`].
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::ClipGradNorm;
/// # fn main() -> Result<()> {
/// let net = Linear::config(2, 1).bias(false).init(&Device::Cpu)?;
/// let x = Tensor::new(&[[1f32, -3.]], &Device::Cpu)?;
/// let mut grads = sconce::backward(&net.forward(&x)?.sum_all()?)?;
/// let clip = ClipGradNorm::new(1.5).norm_type(f64::INFINITY).error_if_nonfinite(true);
/// assert_eq!(clip.clip(&net, &mut grads)?, 3.);
/// let gradient = grads.get(net.weight()).expect("the weight has a gradient");
/// assert!((gradient.abs()?.max_all()?.to_scalar::<f32>()? - 1.5).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ClipGradNorm {
    pub(super) max_norm: f64,
    norm_type: f64,
    error_if_nonfinite: bool,
}

impl ClipGradNorm {
    /// Creates settings that limit the L2 norm to `max_norm`.
    pub fn new(max_norm: f64) -> Self {
        Self { max_norm, norm_type: 2., error_if_nonfinite: false }
    }

    /// Sets the order p of the norm `(Σ |g|^p)^(1/p)`, by default 2. The norm of order `f64::INFINITY` is the largest
    /// magnitude.
    pub fn norm_type(mut self, norm_type: f64) -> Self {
        self.norm_type = norm_type;
        self
    }

    /// Sets whether a norm that is NaN or infinite is an error. Default: `false`, as in PyTorch: if the norm is NaN,
    /// all gradients become NaN, and if it is infinite, finite elements become 0 and infinite elements NaN.
    pub fn error_if_nonfinite(mut self, error: bool) -> Self {
        self.error_if_nonfinite = error;
        self
    }

    /// Clips the gradients of the trainable parameters of `network` and returns their norm before clipping; see
    /// [`clip_grad_norm`]. Reading the norm synchronizes with the device. The norm is 0 if there are no gradients.
    ///
    /// # Errors
    /// Fails if `max_norm` is negative or NaN, if the order of the norm is not greater than 0, or if a tensor
    /// operation fails. With [`error_if_nonfinite`](Self::error_if_nonfinite), also fails if the norm is not finite.
    /// `grads` is then unchanged.
    pub fn clip(&self, network: &impl Module, grads: &mut GradStore) -> Result<f64> {
        self.clip_parameters(&network.trainable_parameters(), grads)
    }

    /// Clips the gradients of `parameters`; see [`clip`](Self::clip).
    pub(super) fn clip_parameters(&self, parameters: &[(String, Var)], grads: &mut GradStore) -> Result<f64> {
        check_not_negative("max_norm", self.max_norm)?;
        let norm_type = self.norm_type;
        if norm_type.is_nan() || norm_type <= 0. {
            return Err(Error::msg(format!("norm_type must be greater than 0, found {norm_type}")));
        }
        let has_gradient = |var: &Var| grads.get(var).is_some_and(|gradient| gradient.elem_count() > 0);
        let parameters: Vec<_> = parameters.iter().filter(|(_, var)| has_gradient(var)).collect();
        let norms = self.norms(&parameters, grads)?;
        let norm = self.total(&norms);
        if self.error_if_nonfinite && !norm.is_finite() {
            return Err(non_finite(norm, &parameters, &norms));
        }
        let factor = self.max_norm / (norm + 1e-6);
        // If the norm is NaN, so is the factor, and the comparison is false.
        if factor >= 1. {
            return Ok(norm);
        }
        for (_, var) in parameters {
            if let Some(gradient) = grads.get(var) {
                // Not in place: one tensor may be the gradient of several variables.
                let clipped = (gradient.detach() * factor)?;
                grads.insert(var, clipped);
            }
        }
        Ok(norm)
    }

    /// Returns the norm of each gradient. Reads all norms from the device at once if they have the same device and
    /// dtype.
    fn norms(&self, parameters: &[&(String, Var)], grads: &GradStore) -> Result<Vec<f64>> {
        let gradients = parameters.iter().filter_map(|(_, var)| grads.get(var));
        let norms = gradients.map(|gradient| self.norm(&gradient.detach())).collect::<Result<Vec<_>>>()?;
        let Some(first) = norms.first() else { return Ok(Vec::new()) };
        let is_uniform = norms
            .iter()
            .all(|norm| norm.dtype() == first.dtype() && norm.device().same_device(first.device()));
        if is_uniform {
            return Ok(on_cpu_in_f64(&Tensor::stack(&norms, 0)?)?.to_vec1()?);
        }
        norms.iter().map(|norm| Ok(on_cpu_in_f64(norm)?.to_scalar()?)).collect()
    }

    /// Returns the norm of one gradient, a scalar of dtype f64 for an f64 gradient and f32 otherwise.
    fn norm(&self, gradient: &Tensor) -> Result<Tensor> {
        let dtype = if gradient.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let gradient = gradient.to_dtype(dtype)?;
        if self.norm_type == f64::INFINITY {
            // `max_all` may skip NaN.
            let largest = gradient.abs()?.max_all()?;
            let nan = (largest.zeros_like()? * f64::NAN)?;
            return Ok(gradient.ne(&gradient)?.max_all()?.where_cond(&nan, &largest)?);
        }
        if self.norm_type == 2. {
            return Ok(gradient.sqr()?.sum_all()?.sqrt()?);
        }
        let power = gradient.abs()?.powf(self.norm_type)?;
        Ok(power.sum_all()?.powf(1. / self.norm_type)?)
    }

    /// Returns the norm of all gradients, given the norm of each.
    fn total(&self, norms: &[f64]) -> f64 {
        if self.norm_type == f64::INFINITY {
            // `f64::max` ignores NaN.
            let larger = |a: f64, b: &f64| if b.is_nan() || *b > a { *b } else { a };
            return norms.iter().fold(0., larger);
        }
        norms.iter().map(|norm| norm.powf(self.norm_type)).sum::<f64>().powf(1. / self.norm_type)
    }
}

/// Returns the error for a norm that is NaN or infinite.
fn non_finite(norm: f64, parameters: &[&(String, Var)], norms: &[f64]) -> Error {
    let first = parameters.iter().zip(norms).find(|(_, norm)| !norm.is_finite());
    let first = first
        .map_or(String::new(), |((name, _), norm)| format!("; the gradient of `{name}` has the norm {norm}"));
    Error::msg(format!("expected a finite norm of the gradients, found {norm}{first}"))
}
