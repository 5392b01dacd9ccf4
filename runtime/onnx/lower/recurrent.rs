//! Recurrent layers.

use crate::Result;
use crate::graph::Recurrent;
use crate::kernels::recurrent::Recurrence;

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::super::symbolic::Size;
use super::Operands;

/// The number of operands of each direction.
const PARAMETERS: usize = 4;

/// Returns the outputs of all steps, unless the layer is a cell, and the tensors of the final state.
pub(super) fn recurrent(b: &mut Builder, operands: &Operands<'_>, op: &Recurrent) -> Result<Vec<String>> {
    let states = if op.recurrence == Recurrence::Lstm { 2 } else { 1 };
    let x = operands.required(0)?;
    let batched = x.rank() == if op.is_cell { 2 } else { 3 };
    let mut x = steps_first(b, &x, op, batched)?;
    let directions = if op.bidirectional { 2 } else { 1 };
    let layers = (operands.values.len() - 1 - states) / PARAMETERS / directions;
    let mut finals = vec![Vec::new(); states];
    for layer in 0..layers {
        let initial = (0..states)
            .map(|i| {
                initial_state(
                    b,
                    operands.optional(1 + i),
                    op,
                    batched,
                    layer * directions..(layer + 1) * directions,
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let first = 1 + states + layer * directions * PARAMETERS;
        let mut outputs = run_layer(b, operands, op, &x, first, &initial)?.into_iter();
        x = joined_directions(b, outputs.next().unwrap_or_default(), &x, op)?;
        finals.iter_mut().zip(outputs).for_each(|(list, state)| list.push(state));
    }
    let axis = |axis: i64| vec![Attribute::int("axis", axis)];
    let mut results = Vec::new();
    if !op.is_cell {
        results.push(match (batched, op.batch_first) {
            (true, true) => b.transpose(&x, &[1, 0, 2]).name,
            (true, false) => x.name,
            (false, _) => b.squeeze(&x, &[1])?.name,
        });
    }
    for states in finals {
        let state = if states.len() == 1 { states[0].clone() } else { b.op_with("Concat", &states, axis(0)) };
        let mut removed = if op.is_cell { vec![0] } else { Vec::new() };
        removed.extend((!batched).then_some(1));
        results.push(if removed.is_empty() {
            state
        } else {
            let axes = b.ints(&removed)?;
            b.op("Squeeze", &[state, axes])
        });
    }
    Ok(results)
}

/// Returns the input as `[steps, batch, features]`.
fn steps_first(b: &mut Builder, x: &Value, op: &Recurrent, batched: bool) -> Result<Value> {
    match (op.is_cell, batched) {
        (true, true) => b.unsqueeze(x, &[0]),
        (true, false) => b.unsqueeze(x, &[0, 1]),
        (false, true) if op.batch_first => Ok(b.transpose(x, &[1, 0, 2])),
        (false, true) => Ok(x.clone()),
        (false, false) => b.unsqueeze(x, &[1]),
    }
}

/// Returns the initial state of one layer, `[directions, batch, features]`, or no name if it is 0.
fn initial_state(
    b: &mut Builder,
    state: Option<&Value>,
    op: &Recurrent,
    batched: bool,
    directions: std::ops::Range<usize>,
) -> Result<String> {
    let Some(state) = state else { return Ok(String::new()) };
    let mut inserted = if op.is_cell { vec![0] } else { Vec::new() };
    inserted.extend((!batched).then_some(1));
    let state = b.unsqueeze(state, &inserted)?;
    if state.dims[0] == Size::constant(directions.len()) {
        return Ok(state.name);
    }
    b.slice(&state.name, 0, directions.start as i64, directions.end as i64)
}

/// Adds the node of one layer in all directions. Returns the outputs, `[steps, directions, batch, features]`, and the
/// final state.
fn run_layer(
    b: &mut Builder,
    operands: &Operands<'_>,
    op: &Recurrent,
    x: &Value,
    first: usize,
    initial: &[String],
) -> Result<Vec<String>> {
    let directions = if op.bidirectional { 2 } else { 1 };
    let of_directions = |b: &mut Builder, parameter: usize| -> Result<Option<String>> {
        let each = (0..directions).map(|direction| first + direction * PARAMETERS + parameter);
        let Some(parameters) = each.map(|i| operands.optional(i).cloned()).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let ordered = parameters.iter().map(|parameter| gates_in_order(b, parameter, op.recurrence));
        let ordered = ordered.collect::<Result<Vec<_>>>()?;
        Ok(Some(if ordered.len() == 1 {
            ordered[0].clone()
        } else {
            b.op_with("Concat", &ordered, vec![Attribute::int("axis", 0)])
        }))
    };
    let [weight_ih, weight_hh, bias_ih, bias_hh] = [0, 1, 2, 3].map(|parameter| of_directions(b, parameter));
    let bias = match (bias_ih?, bias_hh?) {
        (Some(ih), Some(hh)) => b.op_with("Concat", &[ih, hh], vec![Attribute::int("axis", 1)]),
        _ => String::new(),
    };
    let (weight_ih, weight_hh) = (weight_ih?.unwrap_or_default(), weight_hh?.unwrap_or_default());
    // The fifth input is the lengths of the sequences.
    let mut inputs = vec![x.name.clone(), weight_ih, weight_hh, bias, String::new()];
    inputs.extend(initial.iter().cloned());
    let direction = if op.bidirectional { "bidirectional" } else { "forward" };
    let mut attributes =
        vec![Attribute::int("hidden_size", op.hidden_size as i64), Attribute::string("direction", direction)];
    let op_type = match op.recurrence {
        Recurrence::Lstm => "LSTM",
        Recurrence::Gru => {
            attributes.push(Attribute::int("linear_before_reset", 1));
            "GRU"
        }
        Recurrence::Tanh => "RNN",
        Recurrence::Relu => {
            attributes.push(Attribute::strings("activations", &["Relu"; 2][..directions]));
            "RNN"
        }
    };
    Ok(b.op_with_outputs(op_type, &inputs, attributes, 1 + initial.len()))
}

/// Returns a parameter of all gates as ONNX orders them, with a dimension of directions.
fn gates_in_order(b: &mut Builder, parameter: &Value, recurrence: Recurrence) -> Result<String> {
    // PyTorch has the input, forget, cell and output gates, and the reset, update and new gates.
    let order: &[usize] = match recurrence {
        Recurrence::Lstm => &[0, 3, 1, 2],
        Recurrence::Gru => &[1, 0, 2],
        Recurrence::Tanh | Recurrence::Relu => return Ok(b.unsqueeze(parameter, &[0])?.name),
    };
    let axis = || vec![Attribute::int("axis", 0)];
    let gates = b.op_with_outputs("Split", &[&parameter.name], axis(), order.len());
    let ordered: Vec<&String> = order.iter().map(|gate| &gates[*gate]).collect();
    let name = b.op_with("Concat", &ordered, axis());
    Ok(b.unsqueeze(&Value { name, ..parameter.clone() }, &[0])?.name)
}

/// Joins the outputs of the directions along the features: `[steps, batch, directions · features]`.
fn joined_directions(b: &mut Builder, outputs: String, x: &Value, op: &Recurrent) -> Result<Value> {
    let (steps, batch) = (x.dims[0], x.dims[1]);
    let directions = if op.bidirectional { 2 } else { 1 };
    let (each, features) = (Size::constant(directions), Size::constant(op.hidden_size));
    let outputs = Value { name: outputs, dims: vec![steps, each, batch, features], dtype: x.dtype };
    if !op.bidirectional {
        return b.squeeze(&outputs, &[1]);
    }
    let transposed = b.transpose(&outputs, &[0, 2, 1, 3]);
    b.reshape(&transposed, &[steps, batch, Size::constant(directions * op.hidden_size)])
}
