//! All steps as one operation: a matrix product and one pass over the units a step, and a gradient that
//! goes back through time the same way, with one matrix product for the weights of all steps.

use super::cell::Cell;
use super::step::{Gradients, Values, product};
use crate::element::{Element, elements, not_a_float, with_elements};
use crate::operation::{self, CpuOperand, Operation};
use crate::simd::dispatch_loops;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};
use std::sync::OnceLock;

/// See [`super::run`]; `weights` is the packed matrix, everything of f32 or f64.
pub(super) fn run<C: Cell>(
    cell: C,
    inputs: &Tensor,
    weights: &Tensor,
    state: &[Tensor],
    reverse: bool,
) -> Result<(Tensor, Vec<Tensor>)> {
    let (steps, batch, gates) = inputs.dims3()?;
    let sizes = Sizes { steps, batch, hidden: gates / C::GATES, columns: weights.dim(1)?, reverse };
    let inputs = inputs.contiguous()?;
    let state = Tensor::stack(state, 0)?;
    let tracked = inputs.track_op() || weights.track_op() || state.track_op();
    let op = Fused { cell, sizes, saved: tracked.then(OnceLock::new) };
    let all = operation::apply([&inputs, &weights.contiguous()?, &state], op)?;
    let outputs = all.narrow(0, 0, steps)?;
    let mut state = vec![outputs.get(sizes.time(steps - 1))?];
    for extra in 0..C::STATES - 1 {
        state.push(all.get(steps + extra)?);
    }
    Ok((outputs, state))
}

#[derive(Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    hidden: usize,
    /// Of the packed weights: `hidden`, or one more for the bias.
    columns: usize,
    reverse: bool,
}

impl Sizes {
    /// The place in the sequence of the step that is taken as number `step`.
    fn time(self, step: usize) -> usize {
        if self.reverse { self.steps - 1 - step } else { step }
    }

    /// Elements of one state.
    fn state(self) -> usize {
        self.batch * self.hidden
    }

    /// Hidden states as the weights want them: rows that end in a one where there is a bias.
    fn augmented<T: Element>(self, hidden: &[T]) -> Vec<T> {
        if self.columns == self.hidden {
            return hidden.to_vec();
        }
        let rows = hidden.chunks_exact(self.hidden);
        rows.flat_map(|row| row.iter().copied().chain([T::ONE])).collect()
    }
}

/// Its output is the hidden states of all steps and, for the LSTM, the last cell: `[steps (+ 1), batch, hidden]`.
struct Fused<C> {
    cell: C,
    sizes: Sizes,
    /// What each step saves for the gradient, in the order of time; none where nobody asks for one.
    saved: Option<OnceLock<CpuStorage>>,
}

/// The parts of a state: hidden, cell.
fn parts<T>(state: &mut [T], len: usize) -> [&mut [T]; 2] {
    let (hidden, cell) = state.split_at_mut(len);
    [hidden, cell]
}

impl<C: Cell> Fused<C> {
    /// The output and what the gradient needs.
    fn steps<T: Element>(&self, inputs: &[T], weights: CpuOperand, state: &[T]) -> Result<(Vec<T>, Vec<T>)> {
        let Sizes { steps, batch, hidden, columns, .. } = self.sizes;
        let (len, gates) = (self.sizes.state(), C::GATES * self.sizes.state());
        let kept = C::SAVED * len;
        let mut saved = vec![T::ZERO; if self.saved.is_some() { steps * kept } else { kept }];
        let mut out = vec![T::ZERO; (steps + C::STATES - 1) * len];
        let mut state = state.to_vec();
        let transposed = weights.1.transpose(0, 1)?;
        for time in (0..steps).map(|step| self.sizes.time(step)) {
            let before = self.sizes.augmented(&state[..len]);
            let h = product(before, &Layout::contiguous((batch, columns)), weights.0, &transposed)?;
            let place = if self.saved.is_some() { time * kept } else { 0 };
            dispatch_loops(Values {
                cell: self.cell,
                hidden,
                x: &inputs[time * gates..][..gates],
                h: &h,
                state: parts(&mut state, len),
                saved: &mut saved[place..][..kept],
            });
            out[time * len..][..len].copy_from_slice(&state[..len]);
        }
        out[steps * len..].copy_from_slice(&state[len..]);
        Ok((out, saved))
    }

    fn forward_storage<T: Element>(
        &self,
        [(inputs, inputs_layout), weights, (state, state_layout)]: [CpuOperand; 3],
    ) -> Result<CpuStorage> {
        let (inputs, state) = (elements(inputs, inputs_layout)?, elements(state, state_layout)?);
        let (out, saved) = self.steps::<T>(inputs, weights, state)?;
        if let Some(place) = &self.saved {
            // An operation runs forward once.
            let _ = place.set(T::to_cpu_storage_owned(saved));
        }
        Ok(T::to_cpu_storage_owned(out))
    }

    /// The gradients of the gates' two parts and of the initial state, from that of the output.
    fn through_time<T: Element>(&self, saved: &[T], grad: &[T], weights: CpuOperand) -> Result<Backward<T>> {
        let Sizes { steps, batch, hidden, columns, .. } = self.sizes;
        let (len, gates, kept) =
            (self.sizes.state(), C::GATES * self.sizes.state(), C::SAVED * self.sizes.state());
        let mut dx = vec![T::ZERO; steps * gates];
        let mut dh = vec![T::ZERO; if C::ADDITIVE { 0 } else { dx.len() }];
        let mut state = vec![T::ZERO; len];
        state.extend_from_slice(&grad[steps * len..]);
        for time in (0..steps).rev().map(|step| self.sizes.time(step)) {
            let (place, own) = (time * gates, if C::ADDITIVE { 0 } else { gates });
            add(&mut state[..len], &grad[time * len..]);
            dispatch_loops(Gradients {
                cell: self.cell,
                hidden,
                saved: &saved[time * kept..][..kept],
                state: parts(&mut state, len),
                dx: &mut dx[place..][..gates],
                dh: &mut dh[if C::ADDITIVE { 0 } else { place }..][..own],
            });
            let dgates = if C::ADDITIVE { &dx } else { &dh }[place..][..gates].to_vec();
            let before =
                product(dgates, &Layout::contiguous((batch, C::GATES * hidden)), weights.0, weights.1)?;
            for (state, before) in state.chunks_exact_mut(hidden).zip(before.chunks_exact(columns)) {
                add(state, before);
            }
        }
        Ok(Backward { dx, dh, state })
    }

    /// `dhᵀ · h`: the gradient of the packed weights, over all steps at once.
    fn weight_gradient<T: Element>(&self, dgates: &[T], out: &[T], initial: &[T]) -> Result<Vec<T>> {
        let Sizes { steps, batch, hidden, columns, .. } = self.sizes;
        let len = self.sizes.state();
        let mut before = vec![T::ZERO; steps * len];
        for step in 0..steps {
            let source = match step {
                0 => &initial[..len],
                _ => &out[self.sizes.time(step - 1) * len..][..len],
            };
            before[self.sizes.time(step) * len..][..len].copy_from_slice(source);
        }
        let before = T::to_cpu_storage_owned(self.sizes.augmented(&before));
        let rows = steps * batch;
        let dgates_layout = Layout::contiguous((rows, C::GATES * hidden)).transpose(0, 1)?;
        product(dgates.to_vec(), &dgates_layout, &before, &Layout::contiguous((rows, columns)))
    }

    fn gradients<T: Element>(
        &self,
        [inputs, weights, state, out, grad]: [&Tensor; 5],
    ) -> Result<[Tensor; 3]> {
        let Some(saved) = self.saved.as_ref().and_then(OnceLock::get) else {
            bail!("{}: the forward pass kept nothing for a gradient", C::NAME);
        };
        let saved = T::cpu_storage_as_slice(saved)?;
        let gradients = {
            let (storage, layout) = weights.storage_and_layout();
            let Storage::Cpu(storage) = &*storage else { bail!("{}: weights are not on the CPU", C::NAME) };
            with_elements::<T, _>(grad, |grad| self.through_time(saved, grad, (storage, layout)))??
        };
        let dgates = if C::ADDITIVE { &gradients.dx } else { &gradients.dh };
        let dw = with_elements::<T, _>(out, |out| {
            with_elements(state, |state| self.weight_gradient(dgates, out, state))
        })???;
        let tensor = |data: Vec<T>, like: &Tensor| Tensor::from_vec(data, like.shape(), like.device());
        Ok([tensor(gradients.dx, inputs)?, tensor(dw, weights)?, tensor(gradients.state, state)?])
    }
}

struct Backward<T> {
    dx: Vec<T>,
    /// Empty where it is the same as `dx`.
    dh: Vec<T>,
    state: Vec<T>,
}

fn add<T: Element>(to: &mut [T], from: &[T]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
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
