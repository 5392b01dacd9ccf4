//! The buckets into which gradients are collected.

use candle_core::{DType, DeviceLocation, Tensor, Var};

use crate::Result;

/// Parameters whose gradients are reduced together.
pub(super) struct Bucket {
    /// The indices of the parameters.
    pub parameters: Vec<usize>,
}

/// Divides `parameters`, taken in `order`, into buckets of at least `bytes` bytes. The parameters of a bucket have the
/// same dtype and device.
pub(super) fn divide(parameters: &[Var], order: &[usize], bytes: usize) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut size = 0;
    let mut kind: Option<(DType, DeviceLocation)> = None;
    for &index in order {
        let parameter = &parameters[index];
        let this = (parameter.dtype(), parameter.device().location());
        if kind != Some(this) || size >= bytes || buckets.is_empty() {
            buckets.push(Bucket { parameters: Vec::new() });
            size = 0;
            kind = Some(this);
        }
        if let Some(bucket) = buckets.last_mut() {
            bucket.parameters.push(index);
        }
        size += parameter.elem_count() * parameter.dtype().size_in_bytes();
    }
    buckets
}

/// One parameter of a bucket: the gradient of this rank, with its weight in the mean.
pub(super) struct Term {
    pub gradient: Option<Tensor>,
    /// The factor of the gradient.
    pub weight: f64,
    /// The weighted sum of the gradients of earlier batches, with accumulation.
    pub earlier: Option<Tensor>,
    /// The factor of `earlier`.
    pub earlier_weight: f64,
    /// A tensor with the shape of the parameter.
    pub parameter: Tensor,
}

impl Term {
    /// Returns the contribution of this rank to the mean, `[n]`.
    fn flatten(self) -> Result<Tensor> {
        let scale = |gradient: Tensor, weight: f64| -> Result<Tensor> {
            let flat = gradient.detach().to_dtype(self.parameter.dtype())?.flatten_all()?;
            Ok(if weight == 1. { flat } else { (flat * weight)? })
        };
        // The gradients of a batch that does not count may be NaN.
        let gradient = self.gradient.filter(|_| self.weight != 0.);
        let gradient = gradient.map(|gradient| scale(gradient, self.weight)).transpose()?;
        let earlier = self.earlier.map(|earlier| scale(earlier, self.earlier_weight)).transpose()?;
        Ok(match (gradient, earlier) {
            (Some(gradient), Some(earlier)) => (gradient + earlier)?,
            (Some(gradient), None) | (None, Some(gradient)) => gradient,
            (None, None) => self.parameter.zeros_like()?.flatten_all()?,
        })
    }
}

/// Returns the contributions of all terms, one after another, `[n]`.
pub(super) fn pack(terms: Vec<Term>) -> Result<Tensor> {
    let flat = terms.into_iter().map(Term::flatten).collect::<Result<Vec<_>>>()?;
    Ok(match &flat[..] {
        [only] => only.contiguous()?,
        _ => Tensor::cat(&flat, 0)?,
    })
}
