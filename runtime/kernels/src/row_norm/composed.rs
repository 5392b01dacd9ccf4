//! Row normalization composed of candle's operations, for devices without a kernel.

use candle_core::{Result, Tensor};

use crate::element::compute_dtype;

use super::op::RowNorm;
use super::rows::Rows;

pub(super) fn normalize(x: &Tensor, weight: &Tensor, bias: &Tensor, op: &RowNorm) -> Result<Tensor> {
    let rows = op.rows;
    let wide = matrix(x, rows)?;
    let centered = if op.centered { wide.broadcast_sub(&wide.mean_keepdim(1)?)? } else { wide };
    let variance = centered.sqr()?.mean_keepdim(1)?;
    let y = centered.broadcast_div(&(variance + op.eps)?.sqrt()?)?;
    let parameters = rows.parameters();
    let y = y.reshape((rows.rows / rows.period.max(1), parameters, rows.span))?;
    let shape = (1, parameters, 1);
    let y = y.broadcast_mul(&weight.reshape(shape)?)?.broadcast_add(&bias.reshape(shape)?)?;
    y.reshape(x.shape())?.to_dtype(x.dtype())
}

/// Returns the mean and the biased variance of each row.
pub(super) fn moments(x: &Tensor, rows: Rows) -> Result<(Tensor, Tensor)> {
    let wide = matrix(x, rows)?;
    let mean = wide.mean_keepdim(1)?;
    let variance = wide.broadcast_sub(&mean)?.sqr()?.mean(1)?;
    Ok((mean.squeeze(1)?, variance))
}

/// Returns `x` as a matrix of rows in the dtype of the computation.
fn matrix(x: &Tensor, rows: Rows) -> Result<Tensor> {
    x.to_dtype(compute_dtype(x.dtype()))?.reshape((rows.rows, rows.elements()))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use crate::operation;

    use super::*;

    #[test]
    fn composed_norms_match_the_kernel() -> Result<()> {
        let device = &Device::Cpu;
        let x = Var::from_tensor(&Tensor::rand(-1.0, 3.0, (3, 6, 4, 5), device)?)?;
        let group_rows = |groups| Rows::groups("group_norm", &x, groups);
        for rows in
            [Rows::trailing("layer_norm", &x, &[4, 5])?, group_rows(1)?, group_rows(3)?, group_rows(6)?]
        {
            for centered in [false, true] {
                let op = || RowNorm { name: "norm", rows, eps: 1e-3, centered };
                let weight = Var::from_tensor(&Tensor::rand(0.5, 1.5, rows.parameters(), device)?)?;
                let bias = Var::from_tensor(&Tensor::rand(-1.0, 1.0, rows.parameters(), device)?)?;
                let composed = normalize(&x, &weight, &bias, &op())?;
                let fused = operation::apply([&x, &weight, &bias], op())?;
                assert!(difference(&composed, &fused)? < 1e-9);
                let (a, b) = (composed.powf(3.0)?.backward()?, fused.powf(3.0)?.backward()?);
                for var in [&x, &weight, &bias] {
                    let (a, b) = (
                        a.get(var).expect("every variable has a gradient"),
                        b.get(var).expect("every variable has a gradient"),
                    );
                    assert!(difference(a, b)? < 1e-7);
                }
            }
            let (mean, variance) = moments(&x, rows)?;
            let (mean2, variance2) = rows.moments(&x.flatten_all()?.to_vec1::<f64>()?);
            let [mean2, variance2] = [Tensor::new(mean2, device)?, Tensor::new(variance2, device)?];
            assert!(difference(&mean, &mean2)? < 1e-9 && difference(&variance, &variance2)? < 1e-9);
        }
        Ok(())
    }

    fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
        a.sub(b)?.abs()?.sum_all()?.to_scalar::<f64>()
    }
}
