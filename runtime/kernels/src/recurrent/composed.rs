//! A recurrence composed of candle's operations, for devices without a kernel and for projected hidden states.

use candle_core::{Result, Tensor};

use crate::empty::empty_output;
use crate::matmul::matmul;

use super::RecurrentWeights;
use super::cell::Cell;
use super::packing::Steps;

/// Runs all steps like [`super::run_packed`].
pub(super) fn run<C: Cell>(
    cell: C,
    inputs: &Tensor,
    weights: &RecurrentWeights,
    mut state: Vec<Tensor>,
    steps: &Steps,
) -> Result<(Tensor, Vec<Tensor>)> {
    let RecurrentWeights { weight, bias, projection } = *weights;
    let state_width = projection.map_or(inputs.dim(1)? / C::GATES, |projection| projection.dims()[0]);
    if steps.batch() == 0 {
        let mut operands: Vec<&Tensor> = [inputs, weight].into_iter().chain(bias).chain(projection).collect();
        operands.extend(&state);
        let last = state.iter().map(|state| empty_output(&operands, state.dims())).collect::<Result<_>>()?;
        return Ok((empty_output(&operands, (0, state_width))?, last));
    }
    let weight = weight.t()?;
    let projection = projection.map(Tensor::t).transpose()?;
    let mut outputs = Vec::new();
    for rows in steps.in_order() {
        let active = rows.len();
        let x = inputs.narrow(0, rows.start, active)?;
        let old = state.iter().map(|state| state.narrow(0, 0, active)).collect::<Result<Vec<_>>>()?;
        let mut h = matmul(&old[0], &weight)?;
        if let Some(bias) = bias {
            h = h.broadcast_add(bias)?;
        }
        let mut new = cell.compose(&x.chunk(C::GATES, 1)?, &h.chunk(C::GATES, 1)?, &old)?;
        if let Some(projection) = &projection {
            new[0] = matmul(&new[0], projection)?;
        }
        outputs.push((rows.start, new[0].clone()));
        state = state
            .iter()
            .zip(new)
            .map(|(state, new)| replace_first_rows(state, new))
            .collect::<Result<_>>()?;
    }
    outputs.sort_by_key(|(start, _)| *start);
    let outputs: Vec<Tensor> = outputs.into_iter().map(|(_, output)| output).collect();
    Ok((Tensor::cat(&outputs, 0)?, state))
}

/// Returns the matrix `old` with its first rows replaced by the rows of `new`.
fn replace_first_rows(old: &Tensor, new: Tensor) -> Result<Tensor> {
    let (rows, replaced) = (old.dim(0)?, new.dim(0)?);
    if replaced == rows {
        return Ok(new);
    }
    Tensor::cat(&[new, old.narrow(0, replaced, rows - replaced)?], 0)
}
