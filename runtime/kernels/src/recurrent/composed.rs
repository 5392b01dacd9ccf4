//! A recurrence composed of candle's operations, for devices without a kernel and for projected hidden states.

use candle_core::{Result, Tensor};

use crate::empty::empty_output;
use crate::matmul::matmul;

use super::RecurrentWeights;
use super::cell::Cell;

/// Runs all steps like [`super::run`].
pub(super) fn run<C: Cell>(
    cell: C,
    inputs: &Tensor,
    weights: &RecurrentWeights,
    mut state: Vec<Tensor>,
    reverse: bool,
) -> Result<(Tensor, Vec<Tensor>)> {
    let RecurrentWeights { weight, bias, projection } = *weights;
    let steps = inputs.dim(0)?;
    let state_width = projection.map_or(inputs.dim(2)? / C::GATES, |projection| projection.dims()[0]);
    if inputs.dim(1)? == 0 {
        let mut operands: Vec<&Tensor> = [inputs, weight].into_iter().chain(bias).chain(projection).collect();
        operands.extend(&state);
        let last = state.iter().map(|state| empty_output(&operands, state.dims())).collect::<Result<_>>()?;
        return Ok((empty_output(&operands, (steps, 0, state_width))?, last));
    }
    let weight = weight.t()?;
    let projection = projection.map(Tensor::t).transpose()?;
    let mut outputs = Vec::with_capacity(steps);
    for step in 0..steps {
        let x = inputs.get(if reverse { steps - 1 - step } else { step })?;
        let mut h = matmul(&state[0], &weight)?;
        if let Some(bias) = bias {
            h = h.broadcast_add(bias)?;
        }
        state = cell.compose(&x.chunk(C::GATES, 1)?, &h.chunk(C::GATES, 1)?, &state)?;
        if let Some(projection) = &projection {
            state[0] = matmul(&state[0], projection)?;
        }
        outputs.push(state[0].clone());
    }
    if reverse {
        outputs.reverse();
    }
    Ok((Tensor::stack(&outputs, 0)?, state))
}
