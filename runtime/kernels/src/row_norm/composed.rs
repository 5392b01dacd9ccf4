//! Row normalization composed of candle's operations, for devices without a kernel.

use candle_core::{Result, Tensor};

use crate::element::compute_dtype;

use super::op::RowNorm;
use super::rows::RowShape;

pub(super) fn normalize(x: &Tensor, weight: &Tensor, bias: &Tensor, op: &RowNorm) -> Result<Tensor> {
    let row_shape = op.shape;
    let wide = matrix(x, row_shape)?;
    let centered = if op.centered { wide.broadcast_sub(&wide.mean_keepdim(1)?)? } else { wide };
    let variance = centered.sqr()?.mean_keepdim(1)?;
    let y = centered.broadcast_div(&(variance + op.eps)?.sqrt()?)?;
    // The rows `i` and `i + period` have the same parameters.
    let parameters = row_shape.parameters();
    let y =
        y.reshape((row_shape.rows / row_shape.period.max(1), parameters, row_shape.elements_per_parameter))?;
    let shape = (1, parameters, 1);
    let y = y.broadcast_mul(&weight.reshape(shape)?)?.broadcast_add(&bias.reshape(shape)?)?;
    y.reshape(x.shape())?.to_dtype(x.dtype())
}

/// Returns the mean and the biased variance of each row.
pub(super) fn moments(x: &Tensor, row_shape: RowShape) -> Result<(Tensor, Tensor)> {
    let wide = matrix(x, row_shape)?;
    let mean = wide.mean_keepdim(1)?;
    let variance = wide.broadcast_sub(&mean)?.sqr()?.mean(1)?;
    Ok((mean.squeeze(1)?, variance))
}

/// Returns `x` as a matrix of rows in the dtype of the computation.
fn matrix(x: &Tensor, row_shape: RowShape) -> Result<Tensor> {
    x.to_dtype(compute_dtype(x.dtype()))?.reshape((row_shape.rows, row_shape.row_len()))
}
