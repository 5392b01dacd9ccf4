//! Kullback–Leibler divergence.

use candle_core::Tensor;

use crate::Result;

use super::pointwise::pointwise;
use super::{Loss, Reduction};

/// Returns the mean [`KlDivLoss`] over all elements.
///
/// # Errors
/// Fails if the shapes differ or `input` is not floating point.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let log_probs = Tensor::new(&[[0.5f32, 0.5]], &Device::Cpu)?.log()?;
/// let target = Tensor::new(&[[0.5f32, 0.5]], &Device::Cpu)?;
/// assert_eq!(kl_div(&log_probs, &target)?.to_scalar::<f32>()?, 0.);
/// # Ok(())
/// # }
/// ```
pub fn kl_div(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    KlDivLoss::new().forward(input, target)
}

/// The Kullback–Leibler divergence of a target distribution from log-probabilities of the same shape, like
/// `torch.nn.KLDivLoss`: `target · (log target − input)`.
///
/// As in PyTorch, the default reduction is the mean over all elements. Use [`Reduction::BatchMean`] for the
/// mathematical divergence.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let target = Tensor::new(&[[0.25f32, 0.75], [1., 0.]], &Device::Cpu)?;
/// let log_probs = Tensor::new(&[[0.5f32, 0.5], [0.5, 0.5]], &Device::Cpu)?.log()?;
/// let loss = KlDivLoss::new().reduction(Reduction::BatchMean).forward(&log_probs, &target)?;
/// assert!((loss.to_scalar::<f32>()? - 0.41198).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "KLDivLoss")]
#[derive(Clone, Debug, Default)]
pub struct KlDivLoss {
    reduction: Reduction,
    log_target: bool,
}

impl KlDivLoss {
    /// Creates the loss with PyTorch's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the reduction, by default [`Reduction::Mean`].
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Sets whether the target contains log-probabilities instead of probabilities. Default: `false`.
    pub fn log_target(mut self, log_target: bool) -> Self {
        self.log_target = log_target;
        self
    }
}

impl Loss for KlDivLoss {
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        pointwise("KlDivLoss", input, target, self.reduction, |x, y| {
            if self.log_target {
                return Ok((y.exp()? * (y - x)?)?);
            }
            // The loss of a target of 0 is 0. Replace 0 by 1 before the logarithm, because 0 · log 0 is NaN.
            let nonzero = y.ne(0f64)?.where_cond(y, &y.ones_like()?)?;
            Ok((y * (nonzero.log()? - x)?)?)
        })
    }
}
