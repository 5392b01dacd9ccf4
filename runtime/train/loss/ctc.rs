//! Connectionist temporal classification.

use candle_core::{DType, Tensor};

use super::{Reduction, in_full_precision};
use crate::kernels::ctc::{self, Ctc};
use crate::{Error, Result};

/// [`CtcLoss`] with its defaults.
pub fn ctc_loss(
    log_probs: &Tensor,
    targets: &Tensor,
    input_lengths: &[usize],
    target_lengths: &[usize],
) -> Result<Tensor> {
    CtcLoss::new().forward(log_probs, targets, input_lengths, target_lengths)
}

/// The negative log likelihood of label sequences that are nowhere aligned with the input, as
/// `torch.nn.CTCLoss` (Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented Sequence
/// Data with Recurrent Neural Networks", 2006): speech and handwriting.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// // 5 time steps, 2 samples, 4 classes of which 0 is the blank.
/// let logits = Tensor::zeros((5, 2, 4), DType::F32, &Device::Cpu)?;
/// let log_probs = log_softmax(&logits, -1).into_tensor()?;
/// let targets = Tensor::new(&[[1u32, 2, 2], [3, 1, 0]], &Device::Cpu)?;
/// let loss = CtcLoss::new().forward(&log_probs, &targets, &[5, 4], &[3, 2])?;
/// assert!(loss.to_scalar::<f32>()? > 0.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct CtcLoss {
    blank: usize,
    reduction: Reduction,
    zero_infinity: bool,
}

impl CtcLoss {
    /// The loss with PyTorch's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The class that stands for no label, by default 0.
    pub fn blank(mut self, blank: usize) -> Self {
        self.blank = blank;
        self
    }

    /// How the samples' losses become one; by default each is divided by the number of its labels, and the
    /// mean taken.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Whether labels that cannot be aligned, being too many for the input, cost nothing; by default their
    /// loss is infinite.
    pub fn zero_infinity(mut self, zero_infinity: bool) -> Self {
        self.zero_infinity = zero_infinity;
        self
    }

    /// The loss of log-probabilities `[time, batch, classes]` (`[time, classes]` of one sample) where the
    /// labels `targets` were wanted: `[batch, labels]`, padded with anything, or one after another
    /// `[sum of the lengths]`. Sample `i` has `input_lengths[i]` time steps and `target_lengths[i]` labels.
    ///
    /// As in PyTorch, the log-probabilities have to come from a log-softmax for the gradients to be right.
    ///
    /// # Errors
    /// Shapes and lengths that do not fit, a label that is no class or the blank. Labels are read back from
    /// the device, and the loss is computed on the CPU.
    pub fn forward(
        &self,
        log_probs: &Tensor,
        targets: &Tensor,
        input_lengths: &[usize],
        target_lengths: &[usize],
    ) -> Result<Tensor> {
        let loss = in_full_precision(log_probs, |log_probs| {
            let single = log_probs.rank() == 2;
            let batch = if single { log_probs.unsqueeze(1)? } else { log_probs.clone() };
            let ctc = Ctc {
                labels: labels(targets, target_lengths)?,
                input_lengths: input_lengths.to_vec(),
                blank: self.blank,
                zero_infinity: self.zero_infinity,
            };
            let losses = ctc::ctc_loss(&batch, ctc)?;
            match self.reduction {
                Reduction::None if single => Ok(losses.squeeze(0)?),
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

/// The labels of each sample.
fn labels(targets: &Tensor, lengths: &[usize]) -> Result<Vec<Vec<usize>>> {
    let (dims, total) = (targets.dims(), lengths.iter().sum::<usize>());
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
            let message = format!("expected targets for label counts {lengths:?}, got a tensor {dims:?}");
            return Err(Error::msg(message));
        }
    };
    let all = targets.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let class = |label: &i64| {
        usize::try_from(*label).map_err(|_| Error::msg(format!("{label} cannot be a label: it is negative")))
    };
    let of = |(start, length): (usize, &usize)| all[start..start + length].iter().map(class).collect();
    starts.into_iter().zip(lengths).map(of).collect()
}
