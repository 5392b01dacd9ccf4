//! PyTorch's losses. Each loss is a function with PyTorch's defaults and a struct with options.
//!
//! [`CtcLoss`] and the log-softmax of [`CrossEntropyLoss`] run in kernels of this crate. The other computations are
//! composed of elementwise operations and sums, mostly candle's. Half-precision inputs are converted to f32, and the
//! result is converted back to the input's dtype.

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

/// A loss function: compares the output of a network with the target of a [`Batch`](super::Batch).
///
/// The losses of this module implement this trait for tensors. Every function or closure with the signature of
/// [`forward`](Self::forward), without `self`, implements it for its types of output and target:
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a loss of the output `{Output}` and the target `{Target}`",
    note = "a loss is a function of the output and the target such as `mse_loss`, a closure `|output, target| …`, or a \
            value such as `MseLoss::new()`"
)]
pub trait Loss<Output = Tensor, Target = Tensor> {
    /// Returns the loss of the network's output for `target`: a scalar, or one value per element with
    /// [`Reduction::None`].
    ///
    /// # Errors
    /// The losses of this module fail if the shapes do not match, if `output` is not floating point, or if a setting of
    /// the loss is out of range.
    fn forward(&self, output: &Output, target: &Target) -> Result<Tensor>;
}

#[diagnostic::do_not_recommend]
impl<Output, Target, F: Fn(&Output, &Target) -> Result<Tensor>> Loss<Output, Target> for F {
    fn forward(&self, output: &Output, target: &Target) -> Result<Tensor> {
        self(output, target)
    }
}

/// The reduction applied to the losses of the elements.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let output = Tensor::new(&[1f32, 2., 6.], &Device::Cpu)?;
/// let target = output.zeros_like()?;
/// let loss = |reduction| L1Loss::new().reduction(reduction).forward(&output, &target);
/// assert_eq!(loss(Reduction::Mean)?.to_scalar::<f32>()?, 3.);
/// assert_eq!(loss(Reduction::Sum)?.to_scalar::<f32>()?, 9.);
/// assert_eq!(loss(Reduction::None)?.to_vec1::<f32>()?, [1., 2., 6.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// The mean, or NaN if there are no elements. Classification losses return the mean weighted by the class weights.
    #[default]
    Mean,
    /// The sum.
    Sum,
    /// No reduction.
    None,
    /// The sum divided by the size of the first dimension. With this reduction, [`KlDivLoss`] is the mathematical
    /// divergence.
    BatchMean,
}

impl Reduction {
    /// Reduces losses. `Mean` divides their sum by their number.
    fn apply(self, losses: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Mean => losses.mean_all()?,
            Self::Sum => losses.sum_all()?,
            Self::None => losses.clone(),
            Self::BatchMean => (losses.sum_all()? / losses.dims().first().copied().unwrap_or(1) as f64)?,
        })
    }

    /// Reduces weighted losses. `Mean` divides their sum by `total_weight`, a scalar tensor with the sum of the
    /// weights.
    fn apply_weighted(self, losses: &Tensor, total_weight: &Tensor) -> Result<Tensor> {
        match self {
            Self::Mean => Ok(losses.sum_all()?.div(total_weight)?),
            _ => self.apply(losses),
        }
    }
}

/// Runs `loss` in f32 or f64. A sum of many losses may overflow in f16, and loses small terms in bf16.
fn in_full_precision(input: &Tensor, loss: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match input.dtype() {
        DType::F32 | DType::F64 => loss(input),
        narrow @ (DType::F16 | DType::BF16) => Ok(loss(&input.to_dtype(DType::F32)?)?.to_dtype(narrow)?),
        other => Err(Error::msg(format!("expected a floating-point input, found {other:?}"))),
    }
}
