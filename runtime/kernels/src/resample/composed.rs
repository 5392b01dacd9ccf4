//! Resampling composed of candle's operations, for devices without a kernel.

use candle_core::{Result, Tensor, bail};

use super::Taps;

/// Resamples the rows, then the columns.
pub(super) fn resample(x: &Tensor, [rows, columns]: [&Taps; 2]) -> Result<Tensor> {
    let rank = x.rank();
    let y = resample_dim(&x.contiguous()?, rows, rank - 2)?;
    resample_dim(&y.contiguous()?, columns, rank - 1)
}

/// Resamples one dimension. Adds the products of the first tap of every output, then the products of the second tap,
/// and so on.
fn resample_dim(x: &Tensor, taps: &Taps, dim: usize) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[dim] = taps.list.len() / taps.per_output;
    let mut sum: Option<Tensor> = None;
    for tap in 0..taps.per_output {
        let tap_of_each_output = || taps.list.iter().skip(tap).step_by(taps.per_output);
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
