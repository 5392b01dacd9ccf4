//! Recurrent layers, with the instructions of every step.

use crate::Result;
use crate::graph::Recurrent;
use crate::kernels::recurrent::Recurrence;

use super::super::builder::Builder;
use super::super::ir::Binary::Maximum;
use super::super::ir::{Unary, Value};
use super::{Operands, arithmetic};

/// The number of operands of each direction.
const PARAMETERS: usize = 4;

/// Returns the outputs of all steps, unless the layer is a cell, and the tensors of the final state.
pub(super) fn recurrent(b: &mut Builder, operands: &Operands<'_>, op: &Recurrent) -> Result<Vec<Value>> {
    let states = if op.recurrence == Recurrence::Lstm { 2 } else { 1 };
    let x = operands.required(0)?;
    let batched = x.rank() == if op.is_cell { 2 } else { 3 };
    let mut x = steps_first(b, &x, op, batched);
    let directions = if op.bidirectional { 2 } else { 1 };
    let layers = (operands.values.len() - 1 - states) / PARAMETERS / directions;
    let mut finals = vec![Vec::new(); states];
    for layer in 0..layers {
        let mut outputs = Vec::new();
        for direction in 0..directions {
            let index = layer * directions + direction;
            let state = (0..states)
                .map(|i| initial_state(b, operands.optional(1 + i), op, batched, index, &x))
                .collect::<Vec<_>>();
            let parameters = Parameters::of(operands, 1 + states + index * PARAMETERS)?;
            let (output, state) = run(b, &x, &parameters, state, op, direction == 1);
            outputs.push(output);
            finals.iter_mut().zip(state).for_each(|(list, state)| list.push(b.unsqueeze(&state, &[0])));
        }
        x = b.concat(&outputs, 2);
    }
    let mut results = Vec::new();
    if !op.is_cell {
        results.push(match (batched, op.batch_first) {
            (true, true) => b.swap(&x, 0, 1),
            (true, false) => x,
            (false, _) => b.squeeze(&x, &[1]),
        });
    }
    for states in finals {
        let state = b.concat(&states, 0);
        let mut removed = if op.is_cell { vec![0] } else { Vec::new() };
        removed.extend((!batched).then_some(1));
        results.push(b.squeeze(&state, &removed));
    }
    Ok(results)
}

/// Returns the input as `[steps, batch, features]`.
fn steps_first(b: &mut Builder, x: &Value, op: &Recurrent, batched: bool) -> Value {
    match (op.is_cell, batched) {
        (true, true) => b.unsqueeze(x, &[0]),
        (true, false) => b.unsqueeze(x, &[0, 1]),
        (false, true) if op.batch_first => b.swap(x, 0, 1),
        (false, true) => x.clone(),
        (false, false) => b.unsqueeze(x, &[1]),
    }
}

/// Returns the initial state of one direction of a layer, `[batch, features]`.
fn initial_state(
    b: &mut Builder,
    state: Option<&Value>,
    op: &Recurrent,
    batched: bool,
    index: usize,
    x: &Value,
) -> Value {
    let batch = x.dims[1];
    let dims = [batch, op.hidden_size];
    let Some(state) = state else { return b.full(0., &dims, x.element) };
    let mut inserted = if op.is_cell { vec![0] } else { Vec::new() };
    inserted.extend((!batched).then_some(1));
    let state = b.unsqueeze(state, &inserted);
    let state = b.slice(&state, 0, index..index + 1, 1);
    b.reshape(&state, &dims)
}

/// The parameters of one direction of a layer.
struct Parameters {
    weight_ih: Value,
    weight_hh: Value,
    bias_ih: Option<Value>,
    bias_hh: Option<Value>,
}

impl Parameters {
    fn of(operands: &Operands<'_>, first: usize) -> Result<Self> {
        Ok(Self {
            weight_ih: operands.required(first)?,
            weight_hh: operands.required(first + 1)?,
            bias_ih: operands.optional(first + 2).cloned(),
            bias_hh: operands.optional(first + 3).cloned(),
        })
    }
}

/// Runs one direction of a layer. Returns the outputs of all steps, `[steps, batch, features]`, and the final state.
fn run(
    b: &mut Builder,
    x: &Value,
    parameters: &Parameters,
    mut state: Vec<Value>,
    op: &Recurrent,
    is_reversed: bool,
) -> (Value, Vec<Value>) {
    let steps = x.dims[0];
    let projected = arithmetic::project(b, x, &parameters.weight_ih, parameters.bias_ih.as_ref());
    let mut outputs = Vec::new();
    for i in 0..steps {
        let step = if is_reversed { steps - 1 - i } else { i };
        let x = b.slice(&projected, 0, step..step + 1, 1);
        let x = b.reshape(&x, &projected.dims[1..]);
        let h = arithmetic::project(b, &state[0], &parameters.weight_hh, parameters.bias_hh.as_ref());
        state = cell(b, op, &x, &h, &state);
        outputs.push(b.unsqueeze(&state[0], &[0]));
    }
    if is_reversed {
        outputs.reverse();
    }
    (b.concat(&outputs, 0), state)
}

/// Returns the state after one step. `x` and `h` have the gates of the input and of the hidden state.
fn cell(b: &mut Builder, op: &Recurrent, x: &Value, h: &Value, state: &[Value]) -> Vec<Value> {
    let gate =
        |b: &mut Builder, x: &Value, i: usize| b.slice(x, 1, i * op.hidden_size..(i + 1) * op.hidden_size, 1);
    match op.recurrence {
        Recurrence::Lstm => {
            let sum = b.add(x, h);
            let [input, forget, output] = [0, 1, 3].map(|i| {
                let sum = gate(b, &sum, i);
                b.unary(Unary::Logistic, &sum)
            });
            let candidate = gate(b, &sum, 2);
            let candidate = b.unary(Unary::Tanh, &candidate);
            let [kept, added] = [b.mul(&forget, &state[1]), b.mul(&input, &candidate)];
            let cell = b.add(&kept, &added);
            let tanh = b.unary(Unary::Tanh, &cell);
            vec![b.mul(&output, &tanh), cell]
        }
        Recurrence::Gru => {
            let [reset, update] = [0, 1].map(|i| {
                let [x, h] = [x, h].map(|x| gate(b, x, i));
                let sum = b.add(&x, &h);
                b.unary(Unary::Logistic, &sum)
            });
            let [x, h] = [x, h].map(|x| gate(b, x, 2));
            let h = b.mul(&reset, &h);
            let sum = b.add(&x, &h);
            let candidate = b.unary(Unary::Tanh, &sum);
            // (1 − update) · candidate + update · state
            let difference = b.sub(&state[0], &candidate);
            let moved = b.mul(&update, &difference);
            vec![b.add(&candidate, &moved)]
        }
        Recurrence::Tanh => {
            let sum = b.add(x, h);
            vec![b.unary(Unary::Tanh, &sum)]
        }
        Recurrence::Relu => {
            let sum = b.add(x, h);
            vec![b.with_number(Maximum, &sum, 0.)]
        }
    }
}
