//! Connectionist temporal classification.

use candle_core::{DType, Tensor};

use crate::kernels::ctc::{self, Ctc};
use crate::{Error, Result};

use super::{Reduction, in_full_precision};

/// Returns the [`CtcLoss`] with PyTorch's defaults.
///
/// # Errors
/// Fails under the same conditions as [`CtcLoss::forward`].
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// // One time step and one label: the loss is the negative log-probability of the label.
/// let log_probs = Tensor::new(&[[[-1f32, -0.5]]], &Device::Cpu)?; // [time, batch, classes]
/// let targets = Tensor::new(&[[1u32]], &Device::Cpu)?;
/// assert_eq!(ctc_loss(&log_probs, &targets, &[1], &[1])?.to_scalar::<f32>()?, 0.5);
/// # Ok(())
/// # }
/// ```
pub fn ctc_loss(
    log_probs: &Tensor,
    targets: &Tensor,
    input_lengths: &[usize],
    target_lengths: &[usize],
) -> Result<Tensor> {
    CtcLoss::new().forward(log_probs, targets, input_lengths, target_lengths)
}

/// The negative log likelihood of label sequences whose alignment with the input is unknown, as in speech and
/// handwriting recognition. Equals `torch.nn.CTCLoss` (Graves et al., "Connectionist Temporal Classification:
/// Labelling Unsegmented Sequence Data with Recurrent Neural Networks", 2006).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// // 5 time steps, 2 samples, 4 classes; class 0 is the blank.
/// let logits = Tensor::zeros((5, 2, 4), DType::F32, &Device::Cpu)?;
/// let log_probs = log_softmax(&logits, -1).into_tensor()?;
/// let targets = Tensor::new(&[[1u32, 2, 2], [3, 1, 0]], &Device::Cpu)?;
/// let loss = CtcLoss::new().forward(&log_probs, &targets, &[5, 4], &[3, 2])?;
/// assert!(loss.to_scalar::<f32>()? > 0.);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "CTCLoss")]
#[derive(Clone, Debug, Default)]
pub struct CtcLoss {
    blank: usize,
    reduction: Reduction,
    zero_infinity: bool,
}

impl CtcLoss {
    /// Creates the loss with PyTorch's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the index of the blank class, by default 0.
    pub fn blank(mut self, blank: usize) -> Self {
        self.blank = blank;
        self
    }

    /// Sets the reduction. The default, [`Reduction::Mean`], divides the loss of each sample by its number of labels
    /// and returns the mean of the quotients.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Sets whether to replace infinite losses with 0. Default: `false`. A loss is infinite if the input is too short
    /// for the labels.
    pub fn zero_infinity(mut self, zero_infinity: bool) -> Self {
        self.zero_infinity = zero_infinity;
        self
    }

    /// Returns the loss of log-probabilities `[time, batch, classes]`, or `[time, classes]` for one sample.
    ///
    /// `targets` holds the labels, either padded to `[batch, labels]` (the padding is ignored) or concatenated to
    /// `[sum(target_lengths)]`. Sample `i` has `input_lengths[i]` time steps and `target_lengths[i]` labels.
    ///
    /// As in PyTorch, gradients are correct only if the log-probabilities are the output of a log-softmax. The loss
    /// is computed on the CPU.
    ///
    /// # Errors
    /// Fails if shapes or lengths do not match, or if a label is the blank or is out of range.
    pub fn forward(
        &self,
        log_probs: &Tensor,
        targets: &Tensor,
        input_lengths: &[usize],
        target_lengths: &[usize],
    ) -> Result<Tensor> {
        let loss = in_full_precision(log_probs, |log_probs| {
            let has_no_batch = log_probs.rank() == 2;
            let batch = if has_no_batch { log_probs.unsqueeze(1)? } else { log_probs.clone() };
            let ctc = Ctc {
                labels: labels(targets, target_lengths)?,
                input_lengths: input_lengths.to_vec(),
                blank: self.blank,
                zero_infinity: self.zero_infinity,
            };
            let losses = ctc::ctc_loss(&batch, ctc)?;
            match self.reduction {
                Reduction::None if has_no_batch => Ok(losses.squeeze(0)?),
                Reduction::Mean => {
                    let counts: Vec<f64> = target_lengths.iter().map(|&n| n.max(1) as f64).collect();
                    let counts = Tensor::new(counts, losses.device())?.to_dtype(losses.dtype())?;
                    Reduction::Mean.apply(&(losses / counts)?)
                }
                other => other.apply(&losses),
            }
        });
        loss.map_err(|e| e.in_layer("CtcLoss"))
    }
}

/// Returns the labels of each sample.
fn labels(targets: &Tensor, lengths: &[usize]) -> Result<Vec<Vec<usize>>> {
    let dims = targets.dims();
    let total = lengths.iter().sum::<usize>();
    let starts: Vec<usize> = match *dims {
        [samples, width] if samples == lengths.len() && lengths.iter().all(|&n| n <= width) => {
            (0..samples).map(|sample| sample * width).collect()
        }
        [count] if count == total => lengths
            .iter()
            .scan(0, |end, length| {
                *end += length;
                Some(*end - length)
            })
            .collect(),
        _ => {
            let message = format!(
                "expected targets whose shape matches the target lengths {lengths:?}, found shape {dims:?}"
            );
            return Err(Error::msg(message));
        }
    };
    let all = targets.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let class = |label: &i64| {
        usize::try_from(*label)
            .map_err(|_| Error::msg(format!("expected labels of at least 0, found {label}")))
    };
    let sample = |(start, length): (usize, &usize)| all[start..start + length].iter().map(class).collect();
    starts.into_iter().zip(lengths).map(sample).collect()
}
