//! How far one distribution is from another.

use candle_core::Tensor;

use super::pointwise::pointwise;
use super::{Loss, Reduction};
use crate::Result;

/// [`KlDivLoss`] with its defaults.
pub fn kl_div(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    KlDivLoss::new().forward(input, target)
}

/// The Kullback–Leibler divergence of log-probabilities from a target distribution of the same shape, as
/// `torch.nn.KLDivLoss`: `target · (log target − input)`.
///
/// The mean over all elements is PyTorch's default; [`Reduction::BatchMean`] is the divergence itself.
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
#[derive(Clone, Debug, Default)]
pub struct KlDivLoss {
    reduction: Reduction,
    log_target: bool,
}

impl KlDivLoss {
    /// The loss with PyTorch's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the elements' losses become one, by default their mean.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Whether the target is log-probabilities as well; by default it is probabilities.
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
            // Where the target is 0 the loss is 0, and not 0 · log 0.
            let safe = y.ne(0f64)?.where_cond(y, &y.ones_like()?)?;
            Ok((y * (safe.log()? - x)?)?)
        })
    }
}
