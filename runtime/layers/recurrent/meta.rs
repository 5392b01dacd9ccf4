//! Recurrent layers on signals without numbers.

use candle_core::Tensor;

use crate::Result;
use crate::module::Mode;
use crate::ops::PackedLayout;
use crate::signal::{Meta, Signal};

use super::stack::{Stack, check_state};

impl Stack {
    /// Returns meta signals for the outputs of all steps and for the final state. Runs the layer on an empty batch to
    /// find their shapes.
    pub(super) fn sequence_meta(
        &self,
        x: &Signal,
        state: &Option<Vec<Signal>>,
    ) -> Result<(Signal, Vec<Signal>)> {
        let x = x.to_meta()?;
        let batch_dim = self.batch_dim();
        let (batch, probe) = match *x.shape.dims() {
            [a, b, features] if batch_dim == 0 => (Some(a), [0, b, features]),
            [a, b, features] => (Some(b), [a, 0, features]),
            [steps, features] if batch_dim == 0 => (None, [0, steps, features]),
            [steps, features] => (None, [steps, 0, features]),
            ref dims => return Err(self.input_error(dims)),
        };
        self.check_state_meta(state, batch)?;
        let (outputs, states) = self.run_probe(x.empty(&probe[..])?)?;
        Ok((
            resized(&outputs, batch_dim, batch),
            states.iter().map(|state| resized(state, 1, batch)).collect(),
        ))
    }

    /// Returns the shapes of the outputs of packed sequences and of the final state.
    pub(super) fn packed_meta(
        &self,
        layout: &PackedLayout,
        data: &Signal,
        state: &Option<Vec<Signal>>,
    ) -> Result<(Signal, Vec<Signal>)> {
        let batch = layout.lengths.len();
        let steps = layout.batch_sizes.len();
        let data = data.to_meta()?;
        let &[rows, features] = data.shape.dims() else { return Err(self.packed_error(data.shape.dims())) };
        let padded = if self.batch_dim() == 0 { (batch, steps, features) } else { (steps, batch, features) };
        let (outputs, state) = self.sequence_meta(&Meta { shape: padded.into(), ..data }.into(), state)?;
        let outputs = outputs.to_meta()?;
        Ok((Meta { shape: (rows, outputs.shape.dims()[2]).into(), ..outputs }.into(), state))
    }

    /// Returns the shape of the next state of a cell.
    pub(super) fn step_meta(&self, x: &Signal, state: &Option<Vec<Signal>>) -> Result<Vec<Signal>> {
        let x = x.to_meta()?;
        let (batch, probe) = match *x.shape.dims() {
            [batch, features] => (Some(batch), [0, features]),
            [features] => (None, [0, features]),
            ref dims => return Err(self.step_error(dims)),
        };
        let found = state.iter().flatten().map(Signal::dims).collect::<Result<Vec<_>>>()?;
        self.check_step_state(found.into_iter(), batch)?;
        let states = self.run_step(x.empty(&probe[..])?, None)?;
        Ok(states.iter().map(|state| resized(state, 0, batch)).collect())
    }

    fn check_state_meta(&self, state: &Option<Vec<Signal>>, batch: Option<usize>) -> Result<()> {
        let mut states = state.iter().flatten().zip(self.state_dims(batch));
        states.try_for_each(|(state, expected)| check_state(state.dims()?, &expected))
    }

    /// Runs the layer on the probe `x`, from an initial state of zeros.
    fn run_probe(&self, x: Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        self.check_dtype(&x)?;
        self.run_sequence(x, None, Mode::Eval)
    }
}

fn resized(probe: &Tensor, dim: usize, size: Option<usize>) -> Signal {
    Meta::resized(probe, dim, size).into()
}
