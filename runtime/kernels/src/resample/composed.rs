//! Resampling composed of candle's operations, for devices without a kernel.

use candle_core::{Result, Tensor, bail};

use super::{Resample, Taps};

pub(super) fn resample(x: &Tensor, op: &Resample) -> Result<Tensor> {
    let rank = x.rank();
    let y = resample_dim(&x.contiguous()?, &op.rows, rank - 2)?;
    resample_dim(&y.contiguous()?, &op.columns, rank - 1)
}

/// Resamples one dimension. Adds the products of the first tap of every output, then those of the second tap, and so
/// on.
fn resample_dim(x: &Tensor, taps: &Taps, dim: usize) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[dim] = taps.list.len() / taps.count;
    let mut sum: Option<Tensor> = None;
    for tap in 0..taps.count {
        let tap_of_each_output = || taps.list.iter().skip(tap).step_by(taps.count);
        let positions: Vec<u32> = tap_of_each_output().map(|(position, _)| *position as u32).collect();
        let weights: Vec<f64> = tap_of_each_output().map(|(_, weight)| *weight).collect();
        let weights = Tensor::from_vec(weights, shape.as_slice(), x.device())?.to_dtype(x.dtype())?;
        let selected = x.index_select(&Tensor::new(positions, x.device())?, dim)?.broadcast_mul(&weights)?;
        sum = Some(match sum {
            Some(sum) => sum.add(&selected)?,
            None => selected,
        });
    }
    match sum {
        Some(sum) => Ok(sum),
        None => bail!("resample: an axis has no taps"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::{Axis, Filter, Resample, Resampling, resample2d};
    use super::*;

    #[test]
    fn composed_resampling_matches_the_kernel() -> Result<()> {
        let x = Var::from_tensor(&Tensor::rand(-1f64, 1.0, (2, 3, 5, 6), &Device::Cpu)?)?;
        let (input, output) = ([5, 6], [9, 4]);
        for filter in [Filter::Nearest, Filter::NearestExact, Filter::Linear, Filter::Cubic] {
            for (scale, align_corners) in [([None; 2], true), ([Some(1.9), Some(0.7)], false)] {
                let axis = |axis: usize| Axis {
                    input: input[axis],
                    output: output[axis],
                    scale: scale[axis],
                    align_corners,
                };
                let [rows, columns] = [0, 1].map(|i| axis(i).taps(filter, false));
                let fused = resample2d(&x, &Resampling { filter, output, scale, align_corners })?;
                let composed = resample(&x, &Resample { rows, columns, input, output })?;
                let gradient = |y: &Tensor| -> Result<Tensor> {
                    let grads = y.sqr()?.sum_all()?.backward()?;
                    Ok(grads.get(&x).expect("`x` has a gradient").clone())
                };
                for (a, b) in [(&gradient(&fused)?, &gradient(&composed)?), (&fused, &composed)] {
                    let difference = a.sub(b)?.abs()?.max_all()?.to_scalar::<f64>()?;
                    assert!(difference < 1e-12, "{filter:?} {difference}");
                }
            }
        }
        Ok(())
    }
}
