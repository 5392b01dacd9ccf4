//! Folding: batch norm in evaluation and biases as one product and one sum a channel, which the epilogue of a
//! convolution takes.

use crate::conv;
use crate::element::with_elements;
use crate::simd;
use candle_core::{DType, Result, Tensor};

/// `scale` and `shift`, `[channels]` each, of `y = x · scale + shift`: batch norm by the statistics `mean` and
/// `var`, then `affine`, a weight and a bias. Made anew at every call, since training writes to all of them.
pub fn batch_norm_fold(
    [mean, var]: [&Tensor; 2],
    affine: Option<&(Tensor, Tensor)>,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let (weight, bias) = affine.map(|(weight, bias)| (weight, bias)).unzip();
    let operands = [Some(mean), Some(var), weight, bias].into_iter().flatten();
    let plain = |x: &Tensor| x.dtype() == DType::F32 && x.device().is_cpu() && !x.track_op();
    let lengths = operands.clone().all(|x| x.dims() == mean.dims());
    match operands.clone().all(plain) && lengths {
        true => loops([mean, var], weight, bias, eps as f32),
        false => composed([mean, var], weight, bias, eps),
    }
}

/// Folds the bias of a convolution into the shift of the batch norm after it: `(x + bias) · scale + shift`.
///
/// Returns `None` if the sum is not finite: a half may be too small for it.
pub fn fold_bias(bias: Option<&Tensor>, scale: &Tensor, shift: &Tensor) -> Result<Option<Tensor>> {
    let Some(bias) = bias else { return Ok(Some(shift.clone())) };
    let sum = ((bias * scale)? + shift)?;
    Ok(is_finite(&sum)?.then_some(sum))
}

/// Folds a factor of each output channel, `[out_channels]`, into a weight `[out_channels, …]`.
pub fn fold_scale(weight: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; weight.rank()];
    shape[0] = scale.elem_count();
    weight.broadcast_mul(&scale.reshape(shape)?)
}

/// In two passes over vectors that stay in the nearest cache.
fn loops(
    [mean, var]: [&Tensor; 2],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<(Tensor, Tensor)> {
    let mut scale = var.to_vec1::<f32>()?;
    scale.iter_mut().for_each(|x| *x = 1. / (*x + eps).sqrt());
    if let Some(weight) = weight {
        scale.iter_mut().zip(weight.to_vec1::<f32>()?).for_each(|(x, weight)| *x *= weight);
    }
    let mut shift = mean.to_vec1::<f32>()?;
    shift.iter_mut().zip(&scale).for_each(|(x, scale)| *x *= -scale);
    if let Some(bias) = bias {
        shift.iter_mut().zip(bias.to_vec1::<f32>()?).for_each(|(x, bias)| *x += bias);
    }
    let vector = |values| Tensor::from_vec(values, mean.dims(), mean.device());
    Ok((vector(scale)?, vector(shift)?))
}

/// Out of operations that have gradients, for every device.
fn composed(
    [mean, var]: [&Tensor; 2],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let mut scale = (var + eps)?.sqrt()?.recip()?;
    if let Some(weight) = weight {
        scale = (weight * scale)?;
    }
    let shift = (mean * &scale)?;
    let shift = match bias {
        Some(bias) => (bias - shift)?,
        None => shift.neg()?,
    };
    Ok((scale, shift))
}

/// Whether all elements of a vector on the CPU are finite. On other devices, which would have to come to an end with
/// their work before they could tell, they are taken to be.
pub fn is_finite(x: &Tensor) -> Result<bool> {
    if !x.device().is_cpu() {
        return Ok(true);
    }
    match x.dtype() {
        DType::F32 => with_elements(x, |x| conv::cpu::is_finite(x, simd::isa())),
        _ => with_elements::<f64, _>(&x.to_dtype(DType::F64)?, |x| x.iter().all(|x| x.is_finite())),
    }
}
