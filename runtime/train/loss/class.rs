//! Losses over classes: cross entropy and negative log likelihood.

use candle_core::{DType, Tensor};

use super::{Loss, Reduction, in_full_precision};
use crate::kernels::softmax::log_softmax;
use crate::{Error, Result};

/// [`CrossEntropyLoss`] with its defaults: the mean cross entropy of `logits` `[batch, classes, …]` and
/// `target`, class indices `[batch, …]` or probabilities `[batch, classes, …]`.
pub fn cross_entropy(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    CrossEntropyLoss::new().forward(logits, target)
}

/// [`NllLoss`] with its defaults: the mean negative log likelihood of the classes `target` `[batch, …]`
/// under the log-probabilities `input` `[batch, classes, …]`.
pub fn nll_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    NllLoss::new().forward(input, target)
}

/// Cross entropy between logits and classes, as `torch.nn.CrossEntropyLoss`.
///
/// Logits are `[batch, classes, …]` or `[classes]`. The target is either class indices (an integer tensor
/// of the logits' shape without the classes) or probabilities (floating point, of the logits' shape).
/// An index outside `0..classes` that is not the `ignore_index` is an error; to find one, the indices are
/// read back from the device.
#[derive(Clone, Debug)]
pub struct CrossEntropyLoss {
    classes: Classes,
    label_smoothing: f64,
}

/// Negative log likelihood of log-probabilities, as `torch.nn.NLLLoss`: [`CrossEntropyLoss`] after the
/// log-softmax. The target is class indices.
#[derive(Clone, Debug, Default)]
pub struct NllLoss {
    classes: Classes,
}

/// What the losses over classes share.
#[derive(Clone, Debug)]
struct Classes {
    weight: Option<Tensor>,
    ignore_index: i64,
    reduction: Reduction,
}

impl Default for Classes {
    fn default() -> Self {
        Self { weight: None, ignore_index: -100, reduction: Reduction::Mean }
    }
}

macro_rules! class_setters {
    ($loss:ident) => {
        impl $loss {
            /// The loss with PyTorch's defaults.
            pub fn new() -> Self {
                Self::default()
            }

            /// A weight for each class, `[classes]`; a mean is then a weighted one.
            pub fn weight(mut self, weight: Tensor) -> Self {
                self.classes.weight = Some(weight);
                self
            }

            /// The target index whose elements count for nothing, by default −100.
            pub fn ignore_index(mut self, index: i64) -> Self {
                self.classes.ignore_index = index;
                self
            }

            /// How the elements' losses become one, by default their mean.
            pub fn reduction(mut self, reduction: Reduction) -> Self {
                self.classes.reduction = reduction;
                self
            }
        }
    };
}

class_setters!(CrossEntropyLoss);
class_setters!(NllLoss);

impl Default for CrossEntropyLoss {
    fn default() -> Self {
        Self { classes: Classes::default(), label_smoothing: 0. }
    }
}

impl CrossEntropyLoss {
    /// The share of the target, between 0 (the default) and 1, that is spread evenly over all classes.
    pub fn label_smoothing(mut self, share: f64) -> Self {
        self.label_smoothing = share;
        self
    }

    /// Cross entropy with a distribution over the classes as target.
    fn with_probabilities(&self, log_probabilities: &Tensor, target: &Tensor) -> Result<Tensor> {
        let (dims, smoothing) = (log_probabilities.dims(), self.label_smoothing);
        if target.dims() != dims {
            return Err(Error::msg(format!("expected probabilities {dims:?}, got {:?}", target.dims())));
        }
        let target = target.to_dtype(log_probabilities.dtype())?;
        let target = (target * (1. - smoothing))?.affine(1., smoothing / dims[1] as f64)?;
        let losses = self.classes.weighted(&(target * log_probabilities)?)?.sum(1)?.neg()?;
        self.classes.reduction.apply(&losses)
    }

    /// Cross entropy with class indices as target.
    fn with_indices(&self, log_probabilities: &Tensor, target: &Tensor) -> Result<Tensor> {
        let picked = self.classes.pick(log_probabilities, target)?;
        let reduction = self.classes.reduction;
        let hard = reduction.apply_over(&picked.losses, &picked.weights.sum_all()?)?;
        if self.label_smoothing == 0. {
            return Ok(hard);
        }
        let even = self.classes.weighted(log_probabilities)?.sum(1)?.neg()?;
        let even = picked.keep.where_cond(&even, &even.zeros_like()?)?;
        let even = reduction.apply_over(&even, &picked.weights.sum_all()?)?;
        let share = self.label_smoothing / log_probabilities.dim(1)? as f64;
        Ok(((hard * (1. - self.label_smoothing))? + (even * share)?)?)
    }
}

impl Loss for CrossEntropyLoss {
    fn forward(&self, logits: &Tensor, target: &Tensor) -> Result<Tensor> {
        if !(0. ..=1.).contains(&self.label_smoothing) {
            let message = format!("expected a label smoothing between 0 and 1, got {}", self.label_smoothing);
            return Err(Error::msg(message).in_layer("CrossEntropyLoss"));
        }
        let loss = batched(logits, target, self.classes.reduction, |logits, target| {
            let log_probabilities = log_softmax(logits, 1)?;
            match target.dtype().is_float() {
                true => self.with_probabilities(&log_probabilities, target),
                false => self.with_indices(&log_probabilities, target),
            }
        });
        loss.map_err(|e| e.in_layer("CrossEntropyLoss"))
    }
}

impl Loss for NllLoss {
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let loss = batched(input, target, self.classes.reduction, |input, target| {
            let picked = self.classes.pick(input, target)?;
            self.classes.reduction.apply_over(&picked.losses, &picked.weights.sum_all()?)
        });
        loss.map_err(|e| e.in_layer("NllLoss"))
    }
}

/// The weighted losses of the target classes; `weights` and losses are 0 where `keep` is.
struct Picked {
    losses: Tensor,
    weights: Tensor,
    keep: Tensor,
}

impl Classes {
    /// Takes from `[batch, classes, …]` the negated entries of the classes `target` `[batch, …]`.
    fn pick(&self, log_probabilities: &Tensor, target: &Tensor) -> Result<Picked> {
        let (classes, dtype) = (log_probabilities.dim(1)?, log_probabilities.dtype());
        let mut expected = log_probabilities.dims().to_vec();
        expected.remove(1);
        if target.dims() != expected {
            let (given, input) = (target.dims(), log_probabilities.dims());
            let message =
                format!("expected a target {expected:?} of class indices, got {given:?} (input {input:?})");
            return Err(Error::msg(message));
        }
        let target = target.to_dtype(DType::I64)?.contiguous()?;
        let keep = target.ne(self.ignore_index)?;
        let index = keep.where_cond(&target, &target.zeros_like()?)?;
        let (index, strangers) = check_indices(index, classes)?;

        let losses = log_probabilities.contiguous()?.gather(&index.unsqueeze(1)?, 1)?.squeeze(1)?.neg()?;
        let losses = match strangers {
            Some(strangers) => strangers.where_cond(&(losses.ones_like()? * f64::NAN)?, &losses)?,
            None => losses,
        };
        let zeros = losses.zeros_like()?;
        let weights = match self.class_weights(log_probabilities)? {
            Some(weight) => weight.index_select(&index.flatten_all()?, 0)?.reshape(index.shape())?,
            None => losses.ones_like()?,
        };
        // A select, not a product: an ignored element may hold an infinity.
        let losses = keep.where_cond(&(losses * &weights)?, &zeros)?;
        let weights = (weights * keep.to_dtype(dtype)?)?;
        Ok(Picked { losses, weights, keep })
    }

    /// Multiplies `[batch, classes, …]` by the classes' weights.
    fn weighted(&self, values: &Tensor) -> Result<Tensor> {
        let Some(weight) = self.class_weights(values)? else { return Ok(values.clone()) };
        let mut shape = vec![1; values.rank()];
        shape[1] = weight.elem_count();
        Ok(values.broadcast_mul(&weight.reshape(shape)?)?)
    }

    /// The weights in the type of `values` `[batch, classes, …]`, once they are seen to fit.
    fn class_weights(&self, values: &Tensor) -> Result<Option<Tensor>> {
        let Some(weight) = &self.weight else { return Ok(None) };
        let expected = values.dim(1)?;
        if weight.dims() != [expected] {
            return Err(Error::msg(format!("expected a weight [{expected}], got {:?}", weight.dims())));
        }
        Ok(Some(weight.to_dtype(values.dtype())?.to_device(values.device())?))
    }
}

/// Runs `loss` on inputs with a batch dimension, adding and taking away one of size 1 where there is none.
fn batched(
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    loss: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    in_full_precision(input, |input| match input.rank() {
        0 => Err(Error::msg("expected an input [batch, classes, …], got a scalar")),
        1 => {
            let loss = loss(&input.unsqueeze(0)?, &target.unsqueeze(0)?)?;
            Ok(if reduction == Reduction::None { loss.squeeze(0)? } else { loss })
        }
        _ => loss(input, target),
    })
}

/// An error that names the first of `index` that is no class. Where it is not on the CPU, nobody waits for it
/// to be read: see [`without_strangers`].
fn check_indices(index: Tensor, classes: usize) -> Result<(Tensor, Option<Tensor>)> {
    if !index.device().is_cpu() {
        let (index, strangers) = without_strangers(&index, classes)?;
        return Ok((index, Some(strangers)));
    }
    let indices = index.flatten_all()?.to_vec1::<i64>()?;
    match indices.iter().position(|&i| i < 0 || i as u64 >= classes as u64) {
        Some(at) => {
            let message =
                format!("class index {} of element {at} is not among {classes} classes", indices[at]);
            Err(Error::msg(message))
        }
        None => Ok((index, None)),
    }
}

/// The index with 0 for whatever is no class, and where that was: those losses are to be NaN.
fn without_strangers(index: &Tensor, classes: usize) -> Result<(Tensor, Tensor)> {
    let strangers = (index.lt(0i64)? + index.ge(classes as i64)?)?;
    Ok((strangers.where_cond(&index.zeros_like()?, index)?, strangers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn what_is_no_class_is_found_without_reading_it() -> Result<()> {
        let index = Tensor::new(&[[0i64, 2, 3], [-1, 1, i64::MAX]], &Device::Cpu)?;
        let (index, strangers) = without_strangers(&index, 3)?;
        assert_eq!(index.to_vec2::<i64>()?, [[0, 2, 0], [0, 1, 0]]);
        assert_eq!(strangers.to_vec2::<u8>()?, [[0, 0, 1], [1, 0, 1]]);
        Ok(())
    }
}
