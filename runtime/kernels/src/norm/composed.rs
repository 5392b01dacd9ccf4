//! Batch normalization composed of candle's operations, for devices without a kernel.

use candle_core::{Result, Tensor};

use crate::element::compute_dtype;

/// Normalizes with the statistics of the batch. Returns the output, the mean and the biased variance.
pub(super) fn train(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    let wide = x.to_dtype(compute_dtype(x.dtype()))?;
    let mut mean = wide.mean_keepdim(0)?;
    for dim in 2..x.rank() {
        mean = mean.mean_keepdim(dim)?;
    }
    let centered = wide.broadcast_sub(&mean)?;
    let mut variance = centered.sqr()?.mean_keepdim(0)?;
    for dim in 2..x.rank() {
        variance = variance.mean_keepdim(dim)?;
    }
    let y = centered.broadcast_div(&(&variance + eps)?.sqrt()?)?;
    let y = scale_and_shift(&y, weight, bias)?.to_dtype(x.dtype())?;
    let channels = weight.dims();
    Ok((y, mean.detach().reshape(channels)?, variance.detach().reshape(channels)?))
}

/// Normalizes with given statistics.
pub(super) fn eval(
    x: &Tensor,
    [mean, var]: [&Tensor; 2],
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let dtype = compute_dtype(x.dtype());
    let [mean, var] = [mean.detach().to_dtype(dtype)?, var.detach().to_dtype(dtype)?];
    let inv_std = (var + eps)?.sqrt()?.recip()?;
    let centered = x.to_dtype(dtype)?.broadcast_sub(&per_channel(&mean, x.rank())?)?;
    scale_and_shift(&centered, &weight.mul(&inv_std)?, bias)?.to_dtype(x.dtype())
}

fn scale_and_shift(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let [weight, bias] = [per_channel(weight, x.rank())?, per_channel(bias, x.rank())?];
    x.broadcast_mul(&weight)?.broadcast_add(&bias)
}

/// Reshapes a tensor `[channels]` so that it broadcasts over `rank` dimensions.
fn per_channel(tensor: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = vec![1; rank];
    shape[1] = tensor.elem_count();
    tensor.reshape(shape)
}
