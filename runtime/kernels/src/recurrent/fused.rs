//! All steps of a recurrence as one operation. Each step is a matrix product and one loop over the units. The backward
//! pass runs through the steps in reverse order in the same way, and computes the gradient of the weights with one
//! matrix product for all steps.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, bail};

use crate::element::{Element, elements, not_a_float, with_elements};
use crate::gemm::{Matrix, Product};
use crate::operation::{CpuOperand, Operation};
use crate::relay;

use super::RecurrentWeights;
use super::cell::Cell;
use super::packing::Steps;
use super::step::{BackwardStep, ForwardStep, StepElement};

/// Runs all steps like [`super::run_packed`], without a projection. All tensors are f32 or f64.
pub(super) fn run<C: Cell>(
    cell: C,
    inputs: &Tensor,
    weights: &RecurrentWeights,
    state: &[Tensor],
    steps: Steps,
) -> Result<(Tensor, Vec<Tensor>)> {
    let (rows, width) = inputs.dims2()?;
    let batch = steps.batch();
    let inputs = inputs.contiguous()?;
    let state = Tensor::stack(state, 0)?;
    let RecurrentWeights { weight, bias, .. } = *weights;
    let tracked = [&inputs, weight, &state].into_iter().chain(bias).any(Tensor::track_op);
    let (weights, bias) = match bias {
        Some(bias) if tracked => (with_bias_column(weight, bias)?, None),
        bias => (weight.contiguous()?, bias.cloned()),
    };
    let (hidden, columns) = (width / C::GATES, weights.dim(1)?);
    let op = Fused { cell, steps, hidden, columns, bias, saved: tracked.then(OnceLock::new) };
    let all = relay::apply([&inputs, &weights, &state], op)?;
    let state = (0..C::STATES).map(|i| all.narrow(0, rows + i * batch, batch)).collect::<Result<_>>()?;
    Ok((all.narrow(0, 0, rows)?, state))
}

/// Returns the weight with the bias as its last column, `[gates · hidden, hidden + 1]`. If the state is extended by a
/// 1, the matrix product of a step also adds the bias, and the matrix product for the gradient of the weight also
/// computes the gradient of the bias.
fn with_bias_column(weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Tensor::cat(&[weight, &bias.unsqueeze(1)?], 1)?.contiguous()
}

/// The operation on all steps. Its output is the hidden states of all steps and the final state:
/// `[rows + states · batch, hidden]`.
struct Fused<C> {
    cell: C,
    steps: Steps,
    hidden: usize,
    /// The number of columns of the weights: `hidden`, plus 1 if there is a bias column.
    columns: usize,
    /// `[gates · hidden]`, if the weights have no bias column.
    bias: Option<Tensor>,
    /// The values that each step saves for the gradient, in time order, even if the steps run in reverse. `None` if no
    /// gradient is needed.
    saved: Option<OnceLock<CpuStorage>>,
}

/// Returns the first `active` elements of the hidden state and of the cell state, which have `len` elements each. The
/// cell state may be empty.
fn active_state<T>(state: &mut [T], len: usize, active: usize) -> [&mut [T]; 2] {
    let (hidden, cell) = state.split_at_mut(len);
    let active_cell = active.min(cell.len());
    [&mut hidden[..active], &mut cell[..active_cell]]
}

impl<C: Cell> Fused<C> {
    /// Returns the number of elements of one tensor of the state.
    fn state_len(&self) -> usize {
        self.steps.batch() * self.hidden
    }

    /// Returns the hidden states, each extended by a 1 if there is a bias column.
    fn augmented<'a, T: Element>(&self, hidden: &'a [T]) -> Cow<'a, [T]> {
        if self.columns == self.hidden {
            return Cow::Borrowed(hidden);
        }
        let rows = hidden.chunks_exact(self.hidden);
        rows.flat_map(|row| row.iter().copied().chain([T::ONE])).collect()
    }

    /// Returns the output and the values saved for the gradient.
    fn steps<T: StepElement>(&self, inputs: &[T], weights: &[T], state: &[T]) -> Result<(Vec<T>, Vec<T>)> {
        let Self { hidden, columns, .. } = *self;
        let weights = Matrix::new(weights, C::GATES * hidden, columns).t();
        let bias = self.bias.as_ref().map(Tensor::to_vec1).transpose()?.unwrap_or_default();
        let len = self.state_len();
        let saved_rows = if self.saved.is_some() { self.steps.rows() } else { self.steps.batch() };
        let mut saved = vec![T::ZERO; saved_rows * C::SAVED * hidden];
        let outputs_len = self.steps.rows() * hidden;
        let mut out = vec![T::ZERO; outputs_len + state.len()];
        let mut state = state.to_vec();
        for rows in self.steps.in_order() {
            let active = rows.len() * hidden;
            let old = self.augmented(&state[..active]);
            let mut h = product(Matrix::new(&old, rows.len(), columns), weights);
            h.chunks_exact_mut(C::GATES * hidden).for_each(|h| add_to(h, &bias));
            let saved_start = if self.saved.is_some() { rows.start } else { 0 };
            ForwardStep {
                cell: self.cell,
                hidden,
                x: of_rows(inputs, &rows, C::GATES * hidden),
                h: &h,
                state: active_state(&mut state, len, active),
                saved: &mut saved[saved_start * C::SAVED * hidden..][..C::SAVED * active],
            }
            .run();
            of_rows_mut(&mut out, &rows, hidden).copy_from_slice(&state[..active]);
        }
        out[outputs_len..].copy_from_slice(&state);
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
        let Self { hidden, columns, .. } = *self;
        let weights = Matrix::new(weight_columns, columns, C::GATES * hidden).t();
        let len = self.state_len();
        let gates_width = C::GATES * hidden;
        let mut dx = vec![T::ZERO; self.steps.rows() * gates_width];
        let mut dh = vec![T::ZERO; if C::ADDITIVE { 0 } else { dx.len() }];
        let (grad, final_state) = grad.split_at(self.steps.rows() * hidden);
        let mut state = final_state.to_vec();
        for rows in self.steps.in_order().rev() {
            let active = rows.len() * hidden;
            add_to(&mut state[..active], of_rows(grad, &rows, hidden));
            BackwardStep {
                cell: self.cell,
                hidden,
                saved: of_rows(saved, &rows, C::SAVED * hidden),
                state: active_state(&mut state, len, active),
                dx: of_rows_mut(&mut dx, &rows, gates_width),
                dh: if C::ADDITIVE { &mut [] } else { of_rows_mut(&mut dh, &rows, gates_width) },
            }
            .run();
            let dgates = of_rows(if C::ADDITIVE { &dx } else { &dh }, &rows, gates_width);
            let dstate = product(Matrix::new(dgates, rows.len(), gates_width), weights);
            for (state, dstate) in state[..active].chunks_exact_mut(hidden).zip(dstate.chunks_exact(columns))
            {
                add_to(state, dstate);
            }
        }
        Backward { dx, dh, state }
    }

    /// Returns the gradient of the weights over all steps, `dgatesᵀ · h`.
    fn weight_gradient<T: StepElement>(&self, dgates: &[T], out: &[T], initial: &[T]) -> Vec<T> {
        let Self { hidden, columns, .. } = *self;
        let rows = self.steps.rows();
        let mut old = vec![T::ZERO; rows * hidden];
        // The state before each step: the hidden states of the previous step, and the initial states of the sequences
        // that the previous step does not reach.
        let mut state = initial[..self.state_len()].to_vec();
        for rows in self.steps.in_order() {
            let active = rows.len() * hidden;
            of_rows_mut(&mut old, &rows, hidden).copy_from_slice(&state[..active]);
            state[..active].copy_from_slice(of_rows(out, &rows, hidden));
        }
        let old = self.augmented(&old);
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

/// Returns these rows of a matrix with rows of `width` elements.
fn of_rows<'a, T>(data: &'a [T], rows: &Range<usize>, width: usize) -> &'a [T] {
    &data[rows.start * width..rows.end * width]
}

/// Like [`of_rows`], for writing.
fn of_rows_mut<'a, T>(data: &'a mut [T], rows: &Range<usize>, width: usize) -> &'a mut [T] {
    &mut data[rows.start * width..rows.end * width]
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
        let rows = self.steps.rows() + C::STATES * self.steps.batch();
        Ok((out, Shape::from((rows, self.hidden))))
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
