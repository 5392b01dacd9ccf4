//! PyTorch's losses on tensors: a function with PyTorch's defaults, and a struct where there are options.
//!
//! Everything but [`CtcLoss`] and the log-softmax, which have kernels of their own, is composed of operations whose
//! gradient candle knows, so `loss.backward()` reaches the logits. Half-precision inputs are summed in f32 and the result has the input's type again.

mod class;
mod cosine;
mod ctc;
mod divergence;
mod pointwise;

use candle_core::{DType, Tensor};

use crate::{Error, Result};

pub use class::{CrossEntropyLoss, NllLoss, cross_entropy, nll_loss};
pub use cosine::{CosineEmbeddingLoss, cosine_embedding_loss};
pub use ctc::{CtcLoss, ctc_loss};
pub use divergence::{KlDivLoss, kl_div};
pub use pointwise::{
    BceWithLogitsLoss, HuberLoss, L1Loss, MseLoss, SmoothL1Loss, bce_with_logits, huber_loss, l1_loss,
    mse_loss, smooth_l1_loss,
};

/// What a network is trained to lower: a scalar, or one value an element under [`Reduction::None`].
///
/// Every loss of this module is one, and so is any function or closure of the same signature:
///
/// ```
/// use sconce::candle::{Device, Tensor};
/// use sconce::train::loss::{CrossEntropyLoss, Loss, cross_entropy};
///
/// let logits = Tensor::new(&[[2f32, 0.], [0., 1.]], &Device::Cpu)?;
/// let classes = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// let plain = cross_entropy(&logits, &classes)?.to_scalar::<f32>()?;
/// let smooth = CrossEntropyLoss::new().label_smoothing(0.1).forward(&logits, &classes)?;
/// assert!(plain < smooth.to_scalar::<f32>()?);
/// # Ok::<(), sconce::Error>(())
/// ```
pub trait Loss {
    /// The loss of a network's output `input` where `target` was wanted.
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor>;
}

impl<F: Fn(&Tensor, &Tensor) -> Result<Tensor>> Loss for F {
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        self(input, target)
    }
}

/// How the losses of the elements become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean (of class losses: weighted by the classes' weights); NaN where there are none.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// No reduction: the losses as they are.
    None,
    /// Their sum divided by the size of the first dimension: what makes [`KlDivLoss`] the divergence.
    BatchMean,
}

impl Reduction {
    /// Reduces losses of which each counts alike.
    fn apply(self, losses: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Mean => losses.mean_all()?,
            Self::Sum => losses.sum_all()?,
            Self::None => losses.clone(),
            Self::BatchMean => (losses.sum_all()? / losses.dims().first().copied().unwrap_or(1) as f64)?,
        })
    }

    /// Reduces losses whose mean is to be taken over `total`, a scalar tensor.
    fn apply_over(self, losses: &Tensor, total: &Tensor) -> Result<Tensor> {
        match self {
            Self::Mean => Ok(losses.sum_all()?.div(total)?),
            _ => self.apply(losses),
        }
    }
}

/// Runs `loss` in at least f32: a sum of many f16 losses overflows, and one of bf16 stops growing.
fn in_full_precision(input: &Tensor, loss: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match input.dtype() {
        DType::F32 | DType::F64 => loss(input),
        narrow @ (DType::F16 | DType::BF16) => Ok(loss(&input.to_dtype(DType::F32)?)?.to_dtype(narrow)?),
        other => Err(Error::msg(format!("expected a floating-point input, got {other:?}"))),
    }
}
