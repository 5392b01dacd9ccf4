//! Classification losses: cross entropy and negative log likelihood.

use candle_core::{DType, Tensor};

use crate::kernels::softmax::log_softmax;
use crate::{Error, Result};

use super::{Loss, Reduction, in_full_precision};

/// Returns the mean cross entropy of `logits` `[batch, classes, …]` and `target`, which is either class indices
/// `[batch, …]` or probabilities `[batch, classes, …]`. See [`CrossEntropyLoss`].
///
/// # Errors
/// Fails if the logits are not floating point, if the shape of the target does not match, or if a class index is out of
/// range on the CPU.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new(&[[0f32, 0.], [100., 0.]], &Device::Cpu)?;
/// let target = Tensor::new(&[1u32, 0], &Device::Cpu)?;
/// let loss = cross_entropy(&logits, &target)?.to_scalar::<f32>()?;
/// assert!((loss - 0.34657).abs() < 1e-4); // (ln 2 + 0) / 2
/// # Ok(())
/// # }
/// ```
pub fn cross_entropy(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    CrossEntropyLoss::new().forward(logits, target)
}

/// Returns the mean negative log likelihood of the class indices `target` `[batch, …]` under the log-probabilities
/// `input` `[batch, classes, …]`. See [`NllLoss`].
///
/// # Errors
/// Fails if `input` is not floating point, if the shape of the target does not match, or if a class index is out of
/// range on the CPU.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let log_probs = Tensor::new(&[[-0.5f32, -1.], [-2., -0.1]], &Device::Cpu)?;
/// let target = Tensor::new(&[1u32, 0], &Device::Cpu)?;
/// assert_eq!(nll_loss(&log_probs, &target)?.to_scalar::<f32>()?, 1.5);
/// # Ok(())
/// # }
/// ```
pub fn nll_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    NllLoss::new().forward(input, target)
}

/// Cross entropy between logits and classes, like `torch.nn.CrossEntropyLoss`.
///
/// Logits have shape `[batch, classes, …]` or `[classes]`. The target is either class indices (an integer tensor
/// of the logits' shape without the class dimension) or probabilities (a floating-point tensor of the logits'
/// shape). An index that is neither in `0..classes` nor `ignore_index` is an error on the CPU. On a GPU, the loss of
/// such an element is NaN instead, because reading the indices to check them would synchronize the device.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new(&[[0f32, 0.], [100., 0.]], &Device::Cpu)?;
/// let target = Tensor::new(&[1i64, -1], &Device::Cpu)?;
/// let loss = CrossEntropyLoss::new().ignore_index(-1).forward(&logits, &target)?;
/// assert!((loss.to_scalar::<f32>()? - 0.69315).abs() < 1e-4); // ln 2, the loss of the first row
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CrossEntropyLoss {
    settings: ClassSettings,
    label_smoothing: f64,
}

/// Negative log likelihood of class indices under log-probabilities, like `torch.nn.NLLLoss`. Equals
/// [`CrossEntropyLoss`] without its log-softmax.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let log_probs = Tensor::new(&[[-0.5f32, -1.], [-2., -0.1]], &Device::Cpu)?;
/// let target = Tensor::new(&[1u32, 0], &Device::Cpu)?;
/// let loss = NllLoss::new().reduction(Reduction::None).forward(&log_probs, &target)?;
/// assert_eq!(loss.to_vec1::<f32>()?, [1., 2.]);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "NLLLoss")]
#[derive(Clone, Debug, Default)]
pub struct NllLoss {
    settings: ClassSettings,
}

/// The settings of both classification losses.
#[derive(Clone, Debug)]
struct ClassSettings {
    weight: Option<Tensor>,
    ignore_index: i64,
    reduction: Reduction,
}

impl Default for ClassSettings {
    fn default() -> Self {
        Self { weight: None, ignore_index: -100, reduction: Reduction::Mean }
    }
}

macro_rules! class_setters {
    ($loss:ident) => {
        impl $loss {
            /// Creates the loss with PyTorch's defaults.
            pub fn new() -> Self {
                Self::default()
            }

            /// Sets a weight for each class, `[classes]`. [`Reduction::Mean`] is then a weighted mean.
            pub fn weight(mut self, weight: Tensor) -> Self {
                self.settings.weight = Some(weight);
                self
            }

            /// Sets the target index of the elements to ignore, by default −100.
            pub fn ignore_index(mut self, index: i64) -> Self {
                self.settings.ignore_index = index;
                self
            }

            /// Sets the reduction, by default [`Reduction::Mean`].
            pub fn reduction(mut self, reduction: Reduction) -> Self {
                self.settings.reduction = reduction;
                self
            }
        }
    };
}

class_setters!(CrossEntropyLoss);
class_setters!(NllLoss);

impl Default for CrossEntropyLoss {
    fn default() -> Self {
        Self { settings: ClassSettings::default(), label_smoothing: 0. }
    }
}

impl CrossEntropyLoss {
    /// Sets the fraction of the target probability, from 0 (the default) to 1, that is distributed uniformly over
    /// all classes.
    pub fn label_smoothing(mut self, label_smoothing: f64) -> Self {
        self.label_smoothing = label_smoothing;
        self
    }

    /// Returns the cross entropy with probabilities as target.
    fn with_probabilities(&self, log_probabilities: &Tensor, target: &Tensor) -> Result<Tensor> {
        let dims = log_probabilities.dims();
        let smoothing = self.label_smoothing;
        if target.dims() != dims {
            return Err(Error::msg(format!(
                "expected probabilities of shape {dims:?}, found {:?}",
                target.dims()
            )));
        }
        let target = target.to_dtype(log_probabilities.dtype())?;
        let target = (target * (1. - smoothing))?.affine(1., smoothing / dims[1] as f64)?;
        let losses = self.settings.weighted(&(target * log_probabilities)?)?.sum(1)?.neg()?;
        self.settings.reduction.apply(&losses)
    }

    /// Returns the cross entropy with class indices as target.
    fn with_indices(&self, log_probabilities: &Tensor, target: &Tensor) -> Result<Tensor> {
        let selected = self.settings.select(log_probabilities, target)?;
        let reduction = self.settings.reduction;
        let target_loss = reduction.apply_weighted(&selected.losses, &selected.weights.sum_all()?)?;
        if self.label_smoothing == 0. {
            return Ok(target_loss);
        }
        let losses = self.settings.weighted(log_probabilities)?.sum(1)?.neg()?;
        let losses = selected.keep.where_cond(&losses, &losses.zeros_like()?)?;
        let all_classes_loss = reduction.apply_weighted(&losses, &selected.weights.sum_all()?)?;
        let smoothing_per_class = self.label_smoothing / log_probabilities.dim(1)? as f64;
        Ok(((target_loss * (1. - self.label_smoothing))? + (all_classes_loss * smoothing_per_class)?)?)
    }
}

impl Loss for CrossEntropyLoss {
    fn forward(&self, logits: &Tensor, target: &Tensor) -> Result<Tensor> {
        if !(0. ..=1.).contains(&self.label_smoothing) {
            let message =
                format!("expected a label smoothing between 0 and 1, found {}", self.label_smoothing);
            return Err(Error::msg(message).in_layer("CrossEntropyLoss"));
        }
        let loss = batched(logits, target, self.settings.reduction, |logits, target| {
            let log_probabilities = log_softmax(logits, 1)?;
            if target.dtype().is_float() {
                self.with_probabilities(&log_probabilities, target)
            } else {
                self.with_indices(&log_probabilities, target)
            }
        });
        loss.map_err(|e| e.in_layer("CrossEntropyLoss"))
    }
}

impl Loss for NllLoss {
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let loss = batched(input, target, self.settings.reduction, |input, target| {
            let selected = self.settings.select(input, target)?;
            self.settings.reduction.apply_weighted(&selected.losses, &selected.weights.sum_all()?)
        });
        loss.map_err(|e| e.in_layer("NllLoss"))
    }
}

/// The weighted losses of the target classes, and their weights. Each tensor is `[batch, …]`.
struct Selected {
    /// 0 for ignored elements.
    losses: Tensor,
    /// The class weights of the targets, and 0 for ignored elements.
    weights: Tensor,
    /// 0 for ignored elements, and 1 for all others.
    keep: Tensor,
}

impl ClassSettings {
    /// Selects the log-probability of each element's target class, negates it and multiplies it by the class weight.
    /// `log_probabilities` is `[batch, classes, …]`, and `target` is `[batch, …]`.
    fn select(&self, log_probabilities: &Tensor, target: &Tensor) -> Result<Selected> {
        let classes = log_probabilities.dim(1)?;
        let dtype = log_probabilities.dtype();
        let mut expected = log_probabilities.dims().to_vec();
        expected.remove(1);
        if target.dims() != expected {
            let found = target.dims();
            let input = log_probabilities.dims();
            let message =
                format!("expected class indices of shape {expected:?}, found {found:?} (input {input:?})");
            return Err(Error::msg(message));
        }
        let target = target.to_dtype(DType::I64)?.contiguous()?;
        let keep = target.ne(self.ignore_index)?;
        let index = keep.where_cond(&target, &target.zeros_like()?)?;
        let (index, out_of_range) = check_indices(index, classes)?;

        let losses = log_probabilities.contiguous()?.gather(&index.unsqueeze(1)?, 1)?.squeeze(1)?.neg()?;
        let losses = match out_of_range {
            Some(mask) => mask.where_cond(&(losses.ones_like()? * f64::NAN)?, &losses)?,
            None => losses,
        };
        let zeros = losses.zeros_like()?;
        let weights = match self.class_weights(log_probabilities)? {
            Some(weight) => weight.index_select(&index.flatten_all()?, 0)?.reshape(index.shape())?,
            None => losses.ones_like()?,
        };
        // Select instead of multiplying by the mask: an ignored loss may be infinite, and ∞ · 0 is NaN.
        let losses = keep.where_cond(&(losses * &weights)?, &zeros)?;
        let weights = (weights * keep.to_dtype(dtype)?)?;
        Ok(Selected { losses, weights, keep })
    }

    /// Multiplies `values` `[batch, classes, …]` by the class weights.
    fn weighted(&self, values: &Tensor) -> Result<Tensor> {
        let Some(weight) = self.class_weights(values)? else { return Ok(values.clone()) };
        let mut shape = vec![1; values.rank()];
        shape[1] = weight.elem_count();
        Ok(values.broadcast_mul(&weight.reshape(shape)?)?)
    }

    /// Checks the shape of the class weights and converts them to the dtype and the device of `values`
    /// `[batch, classes, …]`.
    fn class_weights(&self, values: &Tensor) -> Result<Option<Tensor>> {
        let Some(weight) = &self.weight else { return Ok(None) };
        let expected = values.dim(1)?;
        if weight.dims() != [expected] {
            return Err(Error::msg(format!(
                "expected a weight of shape [{expected}], found {:?}",
                weight.dims()
            )));
        }
        Ok(Some(weight.to_dtype(values.dtype())?.to_device(values.device())?))
    }
}

/// Runs `loss` on inputs with a batch dimension. Adds a batch dimension of 1 to an input that has none, and removes
/// this dimension from the result.
fn batched(
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    loss: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    in_full_precision(input, |input| match input.rank() {
        0 => Err(Error::msg("expected an input [batch, classes, …], found a scalar")),
        1 => {
            let loss = loss(&input.unsqueeze(0)?, &target.unsqueeze(0)?)?;
            Ok(if reduction == Reduction::None { loss.squeeze(0)? } else { loss })
        }
        _ => loss(input, target),
    })
}

/// Checks class indices. On the CPU, returns an error that names the first index out of range. Checking on a GPU would
/// synchronize the GPU, so there the function returns the result of [`mask_out_of_range`].
fn check_indices(index: Tensor, classes: usize) -> Result<(Tensor, Option<Tensor>)> {
    if !index.device().is_cpu() {
        let (index, out_of_range) = mask_out_of_range(&index, classes)?;
        return Ok((index, Some(out_of_range)));
    }
    let indices = index.flatten_all()?.to_vec1::<i64>()?;
    match indices.iter().position(|&i| i < 0 || i as u64 >= classes as u64) {
        Some(element) => {
            let index = indices[element];
            let message =
                format!("class index {index} of element {element} is out of range for {classes} classes");
            Err(Error::msg(message))
        }
        None => Ok((index, None)),
    }
}

/// Replaces indices that are out of range with 0. Also returns a mask of these elements; the caller must set their
/// losses to NaN.
fn mask_out_of_range(index: &Tensor, classes: usize) -> Result<(Tensor, Tensor)> {
    let out_of_range = (index.lt(0i64)? + index.ge(classes as i64)?)?;
    Ok((out_of_range.where_cond(&index.zeros_like()?, index)?, out_of_range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn masks_indices_out_of_range() -> Result<()> {
        let index = Tensor::new(&[[0i64, 2, 3], [-1, 1, i64::MAX]], &Device::Cpu)?;
        let (index, out_of_range) = mask_out_of_range(&index, 3)?;
        assert_eq!(index.to_vec2::<i64>()?, [[0, 2, 0], [0, 1, 0]]);
        assert_eq!(out_of_range.to_vec2::<u8>()?, [[0, 0, 1], [1, 0, 1]]);
        Ok(())
    }
}
