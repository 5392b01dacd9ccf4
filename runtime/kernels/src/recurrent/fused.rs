//! All steps of a recurrence as one operation. Each step is a matrix product and one loop over the units. The backward
//! pass runs through the steps in reverse order in the same way, and computes the gradient of the weights with one
//! matrix product for all steps.

use std::borrow::Cow;
use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, bail};

use crate::element::{Element, elements, not_a_float, with_elements};
use crate::gemm::{Matrix, Product};
use crate::operation::{CpuOperand, Operation};
use crate::relay;

use super::RecurrentWeights;
use super::cell::Cell;
use super::step::{BackwardStep, ForwardStep, StepElement};

/// Runs all steps like [`super::run`], without a projection. All tensors are f32 or f64.
pub(super) fn run<C: Cell>(
    cell: C,
    inputs: &Tensor,
    weights: &RecurrentWeights,
    state: &[Tensor],
    reverse: bool,
) -> Result<(Tensor, Vec<Tensor>)> {
    let (steps, batch, width) = inputs.dims3()?;
    let inputs = inputs.contiguous()?;
    let state = Tensor::stack(state, 0)?;
    let RecurrentWeights { weight, bias, .. } = *weights;
    let tracked = [&inputs, weight, &state].into_iter().chain(bias).any(Tensor::track_op);
    let (weights, bias) = match bias {
        Some(bias) if tracked => (with_bias_column(weight, bias)?, None),
        bias => (weight.contiguous()?, bias.cloned()),
    };
    let sizes = Sizes { steps, batch, hidden: width / C::GATES, columns: weights.dim(1)?, reverse };
    let op = Fused { cell, sizes, bias, saved: tracked.then(OnceLock::new) };
    let all = relay::apply([&inputs, &weights, &state], op)?;
    let outputs = all.narrow(0, 0, steps)?;
    let mut state = vec![outputs.get(sizes.time(steps - 1))?];
    for extra in 0..C::STATES - 1 {
        state.push(all.get(steps + extra)?);
    }
    Ok((outputs, state))
}

/// Returns the weight with the bias as its last column, `[gates · hidden, hidden + 1]`. If the state is extended by a
/// 1, the matrix product of a step also adds the bias, and the matrix product for the gradient of the weight also
/// computes the gradient of the bias.
fn with_bias_column(weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Tensor::cat(&[weight, &bias.unsqueeze(1)?], 1)?.contiguous()
}

#[derive(Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    hidden: usize,
    /// The number of columns of the weights: `hidden`, plus 1 if there is a bias column.
    columns: usize,
    reverse: bool,
}

impl Sizes {
    /// Returns the index of a step along the time axis. `step` counts the steps in the order in which they run.
    fn time(self, step: usize) -> usize {
        if self.reverse { self.steps - 1 - step } else { step }
    }

    /// Returns the number of elements of one state.
    fn state_len(self) -> usize {
        self.batch * self.hidden
    }

    /// Returns the hidden states, each extended by a 1 if there is a bias column.
    fn augmented<T: Element>(self, hidden: &[T]) -> Cow<'_, [T]> {
        if self.columns == self.hidden {
            return Cow::Borrowed(hidden);
        }
        let rows = hidden.chunks_exact(self.hidden);
        rows.flat_map(|row| row.iter().copied().chain([T::ONE])).collect()
    }
}

/// The operation on all steps. Its output is the hidden states of all steps and, for an LSTM, the last cell state:
/// `[steps (+ 1), batch, hidden]`.
struct Fused<C> {
    cell: C,
    sizes: Sizes,
    /// `[gates · hidden]`, if the weights have no bias column.
    bias: Option<Tensor>,
    /// The values that each step saves for the gradient, in the order of time, not of the steps. `None` if no gradient
    /// is needed.
    saved: Option<OnceLock<CpuStorage>>,
}

/// Splits a state into the hidden state and the cell state.
fn split_state<T>(state: &mut [T], len: usize) -> [&mut [T]; 2] {
    let (hidden, cell) = state.split_at_mut(len);
    [hidden, cell]
}

impl<C: Cell> Fused<C> {
    /// Returns the output and the values saved for the gradient.
    fn steps<T: StepElement>(&self, inputs: &[T], weights: &[T], state: &[T]) -> Result<(Vec<T>, Vec<T>)> {
        let Sizes { steps, batch, hidden, columns, .. } = self.sizes;
        let weights = Matrix::new(weights, C::GATES * hidden, columns).t();
        let bias = self.bias.as_ref().map(Tensor::to_vec1).transpose()?.unwrap_or_default();
        let (len, gates_len) = (self.sizes.state_len(), C::GATES * self.sizes.state_len());
        let saved_len = C::SAVED * len;
        let saved_steps = if self.saved.is_some() { steps } else { 1 };
        let mut saved = vec![T::ZERO; saved_steps * saved_len];
        let mut out = vec![T::ZERO; (steps + C::STATES - 1) * len];
        let mut state = state.to_vec();
        for time in (0..steps).map(|step| self.sizes.time(step)) {
            let old = self.sizes.augmented(&state[..len]);
            let mut h = product(Matrix::new(&old, batch, columns), weights);
            h.chunks_exact_mut(C::GATES * hidden).for_each(|h| add_to(h, &bias));
            let offset = if self.saved.is_some() { time * saved_len } else { 0 };
            ForwardStep {
                cell: self.cell,
                hidden,
                x: &inputs[time * gates_len..][..gates_len],
                h: &h,
                state: split_state(&mut state, len),
                saved: &mut saved[offset..][..saved_len],
            }
            .run();
            out[time * len..][..len].copy_from_slice(&state[..len]);
        }
        out[steps * len..].copy_from_slice(&state[len..]);
        Ok((out, saved))
    }

    fn forward_storage<T: StepElement>(&self, operands: [CpuOperand; 3]) -> Result<CpuStorage> {
        let [inputs, weights, state] = operands.map(|(storage, layout)| elements::<T>(storage, layout));
        let (out, saved) = self.steps(inputs?, weights?, state?)?;
        if let Some(slot) = &self.saved {
            // The forward pass of an operation runs only once.
            let _ = slot.set(T::to_cpu_storage_owned(saved));
        }
        Ok(T::to_cpu_storage_owned(out))
    }

    /// Computes the gradients of `x` and `h` of all gates (see [`Cell`]) and of the initial state, by backpropagation
    /// through time. `weight_columns` is the transposed weight, `[hidden (+ 1), gates · hidden]`.
    fn backpropagate<T: StepElement>(&self, saved: &[T], grad: &[T], weight_columns: &[T]) -> Backward<T> {
        let Sizes { steps, batch, hidden, columns, .. } = self.sizes;
        let weights = Matrix::new(weight_columns, columns, C::GATES * hidden).t();
        let len = self.sizes.state_len();
        let (gates_len, saved_len) = (C::GATES * len, C::SAVED * len);
        let mut dx = vec![T::ZERO; steps * gates_len];
        let mut dh = vec![T::ZERO; if C::ADDITIVE { 0 } else { dx.len() }];
        let mut state = vec![T::ZERO; len];
        state.extend_from_slice(&grad[steps * len..]);
        for time in (0..steps).rev().map(|step| self.sizes.time(step)) {
            let offset = time * gates_len;
            let (dh_offset, dh_len) = if C::ADDITIVE { (0, 0) } else { (offset, gates_len) };
            add_to(&mut state[..len], &grad[time * len..]);
            BackwardStep {
                cell: self.cell,
                hidden,
                saved: &saved[time * saved_len..][..saved_len],
                state: split_state(&mut state, len),
                dx: &mut dx[offset..][..gates_len],
                dh: &mut dh[dh_offset..][..dh_len],
            }
            .run();
            let dgates = &(if C::ADDITIVE { &dx } else { &dh })[offset..][..gates_len];
            let dstate = product(Matrix::new(dgates, batch, C::GATES * hidden), weights);
            for (state, dstate) in state.chunks_exact_mut(hidden).zip(dstate.chunks_exact(columns)) {
                add_to(state, dstate);
            }
        }
        Backward { dx, dh, state }
    }

    /// Returns the gradient of the weights over all steps, `dgatesᵀ · h`.
    fn weight_gradient<T: StepElement>(&self, dgates: &[T], out: &[T], initial: &[T]) -> Vec<T> {
        let Sizes { steps, batch, hidden, columns, .. } = self.sizes;
        let len = self.sizes.state_len();
        let mut old = vec![T::ZERO; steps * len];
        for step in 0..steps {
            let source = match step {
                0 => &initial[..len],
                _ => &out[self.sizes.time(step - 1) * len..][..len],
            };
            old[self.sizes.time(step) * len..][..len].copy_from_slice(source);
        }
        let old = self.sizes.augmented(&old);
        let rows = steps * batch;
        product(Matrix::new(dgates, rows, C::GATES * hidden).t(), Matrix::new(&old, rows, columns))
    }

    fn gradients<T: StepElement>(
        &self,
        [inputs, weights, state, out, grad]: [&Tensor; 5],
    ) -> Result<[Tensor; 3]> {
        let Some(saved) = self.saved.as_ref().and_then(OnceLock::get) else {
            bail!("{}: the forward pass saved no values for the gradient", C::NAME);
        };
        let saved = T::cpu_storage_as_slice(saved)?;
        // Every step reads the columns of the weights, which `with_elements` copies to contiguous memory once.
        let weight_columns = weights.t()?;
        let gradients = with_elements::<T, _>(grad, |grad| {
            with_elements(&weight_columns, |columns| self.backpropagate(saved, grad, columns))
        })??;
        let dgates = if C::ADDITIVE { &gradients.dx } else { &gradients.dh };
        let dw = with_elements::<T, _>(out, |out| {
            with_elements(state, |state| self.weight_gradient(dgates, out, state))
        })??;
        let tensor = |data: Vec<T>, like: &Tensor| Tensor::from_vec(data, like.shape(), like.device());
        Ok([tensor(gradients.dx, inputs)?, tensor(dw, weights)?, tensor(gradients.state, state)?])
    }
}

/// Returns the matrix product `a · b`.
fn product<T: StepElement>(a: Matrix<'_, T>, b: Matrix<'_, T>) -> Vec<T> {
    T::multiply_all(&[Product { a, b }])
}

/// The gradients that [`Fused::backpropagate`] returns.
struct Backward<T> {
    dx: Vec<T>,
    /// Empty if it equals `dx`.
    dh: Vec<T>,
    state: Vec<T>,
}

/// Adds the terms to the sums elementwise.
fn add_to<T: Element>(sums: &mut [T], terms: &[T]) {
    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += *term);
}

impl<C: Cell> Operation<3> for Fused<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn forward(&self, operands: [CpuOperand; 3]) -> Result<(CpuStorage, Shape)> {
        let [(inputs, _), ..] = operands;
        let out = match inputs.dtype() {
            DType::F32 => self.forward_storage::<f32>(operands),
            DType::F64 => self.forward_storage::<f64>(operands),
            other => Err(not_a_float(C::NAME, other)),
        }?;
        let Sizes { steps, batch, hidden, .. } = self.sizes;
        Ok((out, Shape::from((steps + C::STATES - 1, batch, hidden))))
    }

    fn backward(
        &self,
        [inputs, weights, state]: [&Tensor; 3],
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let tensors = [inputs, weights, state, out, grad];
        let gradients = match inputs.dtype() {
            DType::F32 => self.gradients::<f32>(tensors),
            DType::F64 => self.gradients::<f64>(tensors),
            other => Err(not_a_float(C::NAME, other)),
        }?;
        Ok(gradients.map(Some))
    }
}
