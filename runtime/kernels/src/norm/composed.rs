//! Batch normalization composed of candle's operations, for devices without a kernel.

use candle_core::{Result, Tensor};

use crate::element::compute_dtype;

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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use crate::norm::{batch_norm_eval, batch_norm_train};

    use super::*;

    #[test]
    fn composed_norms_match_the_kernels() -> Result<()> {
        let device = &Device::Cpu;
        for shape in [vec![4, 3], vec![2, 3, 5, 4]] {
            let x = Var::from_tensor(&Tensor::rand(-1.0, 3.0, shape, device)?)?;
            let weight = Var::from_tensor(&Tensor::rand(0.5, 1.5, 3, device)?)?;
            let bias = Var::from_tensor(&Tensor::rand(-1.0, 1.0, 3, device)?)?;
            let (fused, mean, variance) = batch_norm_train(&x, Some(&weight), Some(&bias), 1e-3)?;
            let (composed, mean2, variance2) = train(&x, &weight, &bias, 1e-3)?;
            assert!(difference(&mean, &mean2)? < 1e-12 && difference(&variance, &variance2)? < 1e-12);
            let eval_fused = batch_norm_eval(&x, &mean, &variance, Some(&weight), Some(&bias), 1e-3)?;
            let eval_composed = eval(&x, [&mean, &variance], &weight, &bias, 1e-3)?;
            for (a, b) in [(fused, composed), (eval_fused, eval_composed)] {
                assert!(difference(&a, &b)? < 1e-9);
                let (a, b) = (a.powf(3.0)?.backward()?, b.powf(3.0)?.backward()?);
                for var in [&x, &weight, &bias] {
                    let (a, b) = (
                        a.get(var).expect("every variable has a gradient"),
                        b.get(var).expect("every variable has a gradient"),
                    );
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
