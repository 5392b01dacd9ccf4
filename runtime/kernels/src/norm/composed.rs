//! Batch normalisation from candle's own operations, for devices that this crate's loops do not reach.

use crate::element::compute_dtype;
use candle_core::{Result, Tensor};

pub(super) fn train(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    let wide = x.to_dtype(compute_dtype(x.dtype()))?;
    let mut statistics = wide.mean_keepdim(0)?;
    for dim in 2..x.rank() {
        statistics = statistics.mean_keepdim(dim)?;
    }
    let centred = wide.broadcast_sub(&statistics)?;
    let mut variance = centred.sqr()?.mean_keepdim(0)?;
    for dim in 2..x.rank() {
        variance = variance.mean_keepdim(dim)?;
    }
    let y = centred.broadcast_div(&(&variance + eps)?.sqrt()?)?;
    let y = scale_and_shift(&y, weight, bias)?.to_dtype(x.dtype())?;
    let channels = weight.dims();
    Ok((y, statistics.detach().reshape(channels)?, variance.detach().reshape(channels)?))
}

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
    let centred = x.to_dtype(dtype)?.broadcast_sub(&per_channel(&mean, x.rank())?)?;
    scale_and_shift(&centred, &weight.mul(&inv_std)?, bias)?.to_dtype(x.dtype())
}

fn scale_and_shift(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let [weight, bias] = [per_channel(weight, x.rank())?, per_channel(bias, x.rank())?];
    x.broadcast_mul(&weight)?.broadcast_add(&bias)
}

/// A tensor `[channels]` in the shape that broadcasts over `rank` dimensions.
fn per_channel(tensor: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = vec![1; rank];
    shape[1] = tensor.elem_count();
    tensor.reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::norm::{batch_norm_eval, batch_norm_train};
    use candle_core::{Device, Var};

    #[test]
    fn composed_norms_agree_with_the_kernels() -> Result<()> {
        let device = &Device::Cpu;
        for shape in [vec![4, 3], vec![2, 3, 5, 4]] {
            let x = Var::from_tensor(&Tensor::rand(-1.0, 3.0, shape, device)?)?;
            let weight = Var::from_tensor(&Tensor::rand(0.5, 1.5, 3, device)?)?;
            let bias = Var::from_tensor(&Tensor::rand(-1.0, 1.0, 3, device)?)?;
            let (fused, mean, variance) = batch_norm_train(&x, Some(&weight), Some(&bias), 1e-3)?;
            let (whole, mean2, variance2) = train(&x, &weight, &bias, 1e-3)?;
            assert!(difference(&mean, &mean2)? < 1e-12 && difference(&variance, &variance2)? < 1e-12);
            let given = batch_norm_eval(&x, &mean, &variance, Some(&weight), Some(&bias), 1e-3)?;
            let given2 = eval(&x, [&mean, &variance], &weight, &bias, 1e-3)?;
            for (a, b) in [(fused, whole), (given, given2)] {
                assert!(difference(&a, &b)? < 1e-9);
                let (a, b) = (a.powf(3.0)?.backward()?, b.powf(3.0)?.backward()?);
                for var in [&x, &weight, &bias] {
                    let (a, b) = (a.get(var).expect("a gradient"), b.get(var).expect("a gradient"));
                    assert!(difference(a, b)? < 1e-8);
                }
            }
        }
        Ok(())
    }

    fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
        a.sub(b)?.abs()?.sum_all()?.to_scalar::<f64>()
    }
}
