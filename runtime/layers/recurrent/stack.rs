//! A stack of recurrent layers in one or both directions. A cell is a stack of one layer.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use crate::graph::{Description, Op, Recurrent};
use crate::init::symmetric_uniform;
use crate::kernels::internal::{can_allocate, equal_batch_sizes, reshape};
use crate::kernels::recurrent::{RecurrentWeights, run_packed};
use crate::module::{Mode, Visitor, VisitorMut};
use crate::ops::{Lengths, PackedLayout, PackedSequence, dropout, linear};
use crate::scope::{self, Path};
use crate::signal::{Outcome, Recording, Signal, add_multiply_adds, add_operands, add_results, product};
use crate::{Error, Result};

use super::State;
use super::arguments::Arguments;

/// The arguments and the tensors of all layers and directions.
#[derive(Clone)]
pub(super) struct Stack {
    arguments: Arguments,
    /// The directions of the first layer (forward, then reverse if bidirectional), then those of each further layer.
    directions: Vec<Direction>,
    /// The mode to which the layer is pinned.
    pinned: Option<Mode>,
}

/// The tensors of one layer in one direction.
#[derive(Clone)]
struct Direction {
    /// The suffix of the tensors' names, such as `_l0` or `_l0_reverse`; empty for cells.
    suffix: String,
    weight_ih: Tensor,
    weight_hh: Tensor,
    /// PyTorch's `bias_ih` and `bias_hh`.
    bias: Option<[Tensor; 2]>,
    /// The weight of an LSTM's projection.
    weight_hr: Option<Tensor>,
}

/// Returns the outputs and the state of a layer, or signals that have failed.
fn outputs_and_state<S: State>(result: Result<(Signal, Vec<Signal>)>) -> (Signal, S) {
    match result {
        Ok((outputs, state)) => (outputs, S::from_signals(state)),
        Err(error) => <(Signal, S)>::failed(error),
    }
}

/// Checks the shape of a tensor of an initial state.
pub(super) fn check_state(found: &[usize], expected: &[usize]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::msg(format!("expected an initial state {expected:?}, found {found:?}")))
}

/// Packed sequences, the longest first.
struct PackedRows<'a> {
    /// `[rows, features]`
    data: Tensor,
    /// The number of sequences that have each step.
    batch_sizes: &'a [usize],
}

/// The outputs of all steps, and the tensors of the final state.
type OutputsAndState = (Tensor, Vec<Tensor>);

impl Direction {
    fn build(arguments: &Arguments, suffix: String, input_size: usize, vb: &VarBuilder) -> Result<Self> {
        let init = symmetric_uniform(1. / (arguments.hidden_size as f64).sqrt());
        let gate_size = arguments.hidden_size.saturating_mul(arguments.recurrence.gates());
        let tensor = |name: &str, shape: &[usize]| vb.get_with_hints(shape, &format!("{name}{suffix}"), init);
        let weight_ih = tensor("weight_ih", &[gate_size, input_size])?;
        let weight_hh = tensor("weight_hh", &[gate_size, arguments.width()])?;
        let bias = if arguments.bias {
            Some([tensor("bias_ih", &[gate_size])?, tensor("bias_hh", &[gate_size])?])
        } else {
            None
        };
        let weight_hr = match arguments.proj_size {
            0 => None,
            width => Some(tensor("weight_hr", &[width, arguments.hidden_size])?),
        };
        Ok(Self { suffix, weight_ih, weight_hh, bias, weight_hr })
    }

    /// Runs all steps of the packed sequences `x`: one matrix product for the inputs, then the recurrence.
    fn run(
        &self,
        arguments: &Arguments,
        x: &PackedRows,
        state: &[Tensor],
        reverse: bool,
    ) -> Result<OutputsAndState> {
        let bias = self.bias.as_ref();
        let inputs = linear(&x.data, &self.weight_ih, bias.map(|bias| bias[0].clone())).into_tensor()?;
        let weights = RecurrentWeights {
            weight: &self.weight_hh,
            bias: bias.map(|bias| &bias[1]),
            projection: self.weight_hr.as_ref(),
        };
        let (output, last) =
            run_packed(arguments.recurrence, &inputs, x.batch_sizes, &weights, state, reverse)?;
        // The products of the inputs are a launch of their own. Each step multiplies each of the other weights once.
        let matrices = [Some(&self.weight_hh), self.weight_hr.as_ref()];
        add_multiply_adds(|| {
            let weights = matrices.into_iter().flatten().map(|weight| product(weight.dims()));
            product(x.data.dims().first()).saturating_mul(weights.fold(0, u64::saturating_add))
        });
        add_operands(matrices.into_iter().chain([Some(&inputs), weights.bias]).chain(state.iter().map(Some)));
        add_results(std::iter::once(&output).chain(&last));
        Ok((output, last))
    }

    /// Returns the tensors and their names without the suffix, in PyTorch's order.
    fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let bias = self.bias.iter().flat_map(|[ih, hh]| [("bias_ih", ih), ("bias_hh", hh)]);
        let weights = [("weight_ih", &self.weight_ih), ("weight_hh", &self.weight_hh)];
        weights.into_iter().chain(bias).chain(self.weight_hr.iter().map(|weight| ("weight_hr", weight)))
    }

    fn tensors_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor)> {
        let bias = self.bias.iter_mut().flat_map(|[ih, hh]| [("bias_ih", ih), ("bias_hh", hh)]);
        let weights = [("weight_ih", &mut self.weight_ih), ("weight_hh", &mut self.weight_hh)];
        let projection = self.weight_hr.iter_mut().map(|weight| ("weight_hr", weight));
        weights.into_iter().chain(bias).chain(projection)
    }
}

impl Stack {
    pub fn build(arguments: Arguments, vb: VarBuilder) -> Result<Self> {
        arguments.check()?;
        let mut directions = Vec::new();
        for layer in 0..arguments.num_layers {
            let input_size = match layer {
                0 => arguments.input_size,
                _ => arguments.width() * arguments.num_directions(),
            };
            for direction in ["", "_reverse"].iter().take(arguments.num_directions()) {
                let suffix = if arguments.is_cell { String::new() } else { format!("_l{layer}{direction}") };
                directions.push(Direction::build(&arguments, suffix, input_size, &vb)?);
            }
        }
        Ok(Self { arguments, directions, pinned: None })
    }

    /// Runs all steps of a sequence. Returns their outputs and the final state.
    pub fn sequence<S: State>(&self, x: Signal, state: Option<S>, mode: Mode) -> (Signal, S) {
        let mode = self.pinned.unwrap_or(mode);
        let on_meta = |x: &Signal, state: &Option<Vec<Signal>>| self.sequence_meta(x, state);
        let state = state.map(S::into_signals);
        let recording = self.start_recording(&x, state.as_deref());
        let result = self.run(x, state, on_meta, |x, state| {
            let (outputs, state) = self.run_sequence(x, state, mode)?;
            Ok((outputs.into(), state))
        });
        if let Ok((outputs, state)) = &result {
            let results: Vec<&Signal> = std::iter::once(outputs).chain(state).collect();
            recording.end(&results, self.describe(mode), |x, _| self.products(x));
        }
        outputs_and_state(result)
    }

    /// Runs all steps of packed sequences. Returns their outputs and the state of each sequence after its last step.
    pub fn packed<S: State>(&self, x: PackedSequence, state: Option<S>, mode: Mode) -> (PackedSequence, S) {
        let layout = x.layout();
        let on_meta = |data: &Signal, state: &Option<Vec<Signal>>| self.packed_meta(layout, data, state);
        let recording = Recording::start(x.data());
        let state = state.map(S::into_signals);
        let result = self.run(x.data().clone(), state, on_meta, |data, state| {
            let (outputs, state) = self.run_packed(layout, data, state, mode)?;
            Ok((outputs.into(), state))
        });
        match result {
            Ok((outputs, state)) => {
                recording.end(&[&outputs], self.arguments.kind, |x, _| self.products(x));
                (x.with_data(outputs), S::from_signals(state))
            }
            Err(error) => <(PackedSequence, S)>::failed(error),
        }
    }

    /// Runs the first steps of each sequence of a padded batch. The outputs of the other steps are 0.
    pub fn sequence_of_lengths<S: State>(
        &self,
        (x, state, lengths): (Signal, Option<S>, Lengths),
        mode: Mode,
    ) -> (Signal, S) {
        let layouts = |x: &[usize]| {
            if !matches!(*x, [_, _, features] if features == self.arguments.input_size) {
                return Err(self.batch_error(x));
            }
            PackedLayout::of_padded(x, lengths.clone(), self.arguments.batch_first)
        };
        let on_meta = |x: &Signal, state: &Option<Vec<Signal>>| {
            layouts(x.dims()?)?;
            self.sequence_meta(x, state)
        };
        let recording = Recording::start(&x);
        let state = state.map(S::into_signals);
        let result = outputs_and_state(self.run(x, state, on_meta, |x, state| {
            let (layout, padded) = layouts(x.dims())?;
            if layout.lengths.is_empty() {
                return self.run_sequence(x, state, mode).map(|(outputs, state)| (outputs.into(), state));
            }
            let (outputs, state) = self.run_packed(&layout, layout.pack(&x, padded)?, state, mode)?;
            Ok((layout.pad(&outputs, padded, 0.)?.into(), state))
        }));
        recording.end(&[&result.0], self.arguments.kind, |x, _| self.products(x));
        result
    }

    /// Runs one step. Returns the next state.
    pub fn step<S: State>(&self, x: Signal, state: Option<S>, _: Mode) -> S {
        let on_meta = |x: &Signal, state: &Option<Vec<Signal>>| Ok(((), self.step_meta(x, state)?));
        let state = state.map(S::into_signals);
        let recording = self.start_recording(&x, state.as_deref());
        match self.run(x, state, on_meta, |x, state| Ok(((), self.run_step(x, state)?))) {
            Ok(((), state)) => {
                let results: Vec<&Signal> = state.iter().collect();
                recording.end(&results, self.describe(Mode::Eval), |x, _| self.products(x));
                S::from_signals(state)
            }
            Err(error) => S::failed(error),
        }
    }

    /// Begins an operation on `x` and the tensors of the initial state.
    fn start_recording(&self, x: &Signal, state: Option<&[Signal]>) -> Recording {
        let states = self.arguments.state_widths().len();
        let states = (0..states).map(|i| state.and_then(|state| state.get(i)));
        Recording::start_optional(std::iter::once(Some(x)).chain(states))
    }

    /// Describes the operation without dropout and without projections.
    fn describe(&self, mode: Mode) -> Description<'_> {
        let Arguments { recurrence, hidden_size, bidirectional, batch_first, is_cell, .. } = self.arguments;
        let op = Op::Recurrent(Recurrent { recurrence, hidden_size, bidirectional, batch_first, is_cell });
        let drops = mode == Mode::Train && self.arguments.dropout > 0.;
        let is_described = !drops && self.arguments.proj_size == 0;
        let parameters = self.directions.iter().flat_map(|direction| {
            let bias = direction.bias.as_ref().map(|[ih, hh]| [ih, hh]);
            let bias = [0, 1].map(|i| bias.map(|bias| bias[i]));
            [Some(&direction.weight_ih), Some(&direction.weight_hh), bias[0], bias[1]]
        });
        let (name, parameters) = (self.arguments.kind, parameters.collect());
        Description { name, op: is_described.then_some(op), parameters }
    }

    /// Returns the multiply-adds for an input `[…, features]`: every step multiplies each weight once. Steps that the
    /// lengths of the sequences exclude count too.
    fn products(&self, input: &[usize]) -> u64 {
        let steps = product(input.iter().rev().skip(1));
        let tensors = self.directions.iter().flat_map(Direction::tensors).map(|(_, tensor)| tensor.dims());
        let weights = tensors.filter(|dims| dims.len() == 2).map(product);
        steps.saturating_mul(weights.fold(0, u64::saturating_add))
    }

    /// Calls `on_tensors`, or `on_meta` if a signal has no numbers. Adds the label of this layer to errors.
    fn run<T>(
        &self,
        x: Signal,
        state: Option<Vec<Signal>>,
        on_meta: impl FnOnce(&Signal, &Option<Vec<Signal>>) -> Result<(T, Vec<Signal>)>,
        on_tensors: impl FnOnce(Tensor, Option<Vec<Tensor>>) -> Result<(T, Vec<Tensor>)>,
    ) -> Result<(T, Vec<Signal>)> {
        let mut signals = std::iter::once(&x).chain(state.iter().flatten());
        if let Some(error) = signals.clone().find_map(Signal::error) {
            return Err(error.clone());
        }
        let label = |error: Error| error.in_layer(self.arguments.label());
        if signals.any(Signal::is_meta) {
            return on_meta(&x, &state).map_err(label);
        }
        let x = x.into_tensor()?;
        let state = state.map(|state| state.into_iter().map(Signal::into_tensor).collect()).transpose()?;
        let device = x.device().clone();
        let _launch = scope::begin_launch(&device, Path::current, || self.arguments.kind.to_lowercase());
        let (outputs, state) = self.check_dtype(&x).and_then(|()| on_tensors(x, state)).map_err(label)?;
        Ok((outputs, state.into_iter().map(Signal::from).collect()))
    }

    pub(super) fn check_dtype(&self, x: &Tensor) -> Result<()> {
        match self.directions.first().map(|direction| direction.weight_ih.dtype()) {
            Some(dtype) if dtype != x.dtype() => {
                Err(Error::msg(format!("expected an input of dtype {dtype:?}, found {:?}", x.dtype())))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn run_sequence(
        &self,
        x: Tensor,
        state: Option<Vec<Tensor>>,
        mode: Mode,
    ) -> Result<OutputsAndState> {
        let Arguments { input_size, batch_first, .. } = self.arguments;
        let batched = x.rank() == 3;
        let x = match x.dims() {
            [_, _, features] if *features == input_size && batch_first => x.transpose(0, 1)?.contiguous()?,
            [_, _, features] if *features == input_size => x,
            [_, features] if *features == input_size => x.unsqueeze(1)?,
            dims => return Err(self.input_error(dims)),
        };
        let (steps, batch, features) = x.dims3()?;
        let Arguments { recurrence, hidden_size, .. } = self.arguments;
        let batch_sizes = equal_batch_sizes([steps, batch, recurrence.gates() * hidden_size])?;
        let state = self.initial_state(state, batch, batched, x.dtype(), x.device())?;
        let rows = reshape(&x, (steps * batch, features))?;
        let x = PackedRows { data: rows.clone(), batch_sizes: &batch_sizes };
        let (outputs, state) = self.run_layers(x, &state, mode)?;
        let width = outputs.dim(1)?;
        let outputs = reshape(&outputs, (steps, batch, width))?.into_tensor();
        if batched {
            let outputs = if batch_first { outputs.transpose(0, 1)?.contiguous()? } else { outputs };
            return Ok((outputs, state));
        }
        let state = state.iter().map(|state| state.squeeze(1)).collect::<candle_core::Result<_>>()?;
        Ok((outputs.squeeze(1)?, state))
    }

    /// Returns the dimension of the batch.
    pub(super) fn batch_dim(&self) -> usize {
        if self.arguments.batch_first { 0 } else { 1 }
    }

    pub(super) fn packed_error(&self, found: &[usize]) -> Error {
        let input_size = self.arguments.input_size;
        Error::msg(format!("expected packed data [rows, {input_size}], found {found:?}"))
    }

    pub(super) fn step_error(&self, found: &[usize]) -> Error {
        let input_size = self.arguments.input_size;
        Error::msg(format!("expected an input [batch, {input_size}] or [{input_size}], found {found:?}"))
    }

    pub(super) fn input_error(&self, found: &[usize]) -> Error {
        let (batched, input_size) = (self.batched_dims(), self.arguments.input_size);
        Error::msg(format!("expected an input {batched} or [steps, {input_size}], found {found:?}"))
    }

    fn batch_error(&self, found: &[usize]) -> Error {
        Error::msg(format!("expected an input {} for lengths, found {found:?}", self.batched_dims()))
    }

    /// Returns the dimensions of a batch of sequences, for errors.
    fn batched_dims(&self) -> String {
        let order = if self.arguments.batch_first { "batch, steps" } else { "steps, batch" };
        format!("[{order}, {}]", self.arguments.input_size)
    }

    /// Runs all steps of packed sequences, `[rows, input_size]`. The state is in the order of the batch.
    fn run_packed(
        &self,
        layout: &PackedLayout,
        data: Tensor,
        state: Option<Vec<Tensor>>,
        mode: Mode,
    ) -> Result<OutputsAndState> {
        let input_size = self.arguments.input_size;
        if !matches!(*data.dims(), [_, features] if features == input_size) {
            return Err(self.packed_error(data.dims()));
        }
        let mode = self.pinned.unwrap_or(mode);
        let state = self.initial_state(state, layout.lengths.len(), true, data.dtype(), data.device())?;
        let state = state.iter().map(|state| layout.sort(state)).collect::<candle_core::Result<Vec<_>>>()?;
        let rows = PackedRows { data, batch_sizes: &layout.batch_sizes };
        let (outputs, state) = self.run_layers(rows, &state, mode)?;
        let state = state.iter().map(|state| layout.unsort(state)).collect::<candle_core::Result<_>>()?;
        Ok((outputs, state))
    }

    /// Returns the tensors of the initial state, `[layers · directions, batch, features]` each. They are zeros if
    /// `state` is `None`.
    fn initial_state(
        &self,
        state: Option<Vec<Tensor>>,
        batch: usize,
        batched: bool,
        dtype: DType,
        device: &Device,
    ) -> Result<Vec<Tensor>> {
        let count = self.directions.len();
        let widths = self.arguments.state_widths();
        let Some(state) = state else {
            if let Some(width) = widths.iter().find(|width| !can_allocate::<f64>(&[count, batch, **width])) {
                let dims = [count, batch, *width];
                return Err(Error::msg(format!("not enough memory for an initial state {dims:?}")));
            }
            let zeros = widths.iter().map(|width| Tensor::zeros((count, batch, *width), dtype, device));
            return Ok(zeros.collect::<candle_core::Result<_>>()?);
        };
        let checked = state.into_iter().zip(self.state_dims(batched.then_some(batch)));
        let checked = checked.map(|(state, expected)| {
            check_state(state.dims(), &expected)?;
            Ok(if batched { state } else { state.unsqueeze(1)? })
        });
        checked.collect()
    }

    /// Returns the shapes of the tensors of the state, `[layers · directions, batch, features]` each, or without the
    /// batch if it is `None`.
    pub(super) fn state_dims(&self, batch: Option<usize>) -> Vec<Vec<usize>> {
        let count = self.directions.len();
        let dims = |width| std::iter::once(count).chain(batch).chain([width]).collect();
        self.arguments.state_widths().into_iter().map(dims).collect()
    }

    /// Runs all layers on packed sequences. Returns the outputs of the last layer, `[rows, features]`, and the final
    /// state.
    fn run_layers(&self, mut x: PackedRows, state: &[Tensor], mode: Mode) -> Result<OutputsAndState> {
        let mut final_states = vec![Vec::new(); state.len()];
        let num_directions = self.arguments.num_directions();
        for (layer, directions) in self.directions.chunks(num_directions).enumerate() {
            if layer > 0 {
                x.data = dropout(x.data, self.arguments.dropout, mode).into_tensor()?;
            }
            let mut outputs = Vec::new();
            for (i, direction) in directions.iter().enumerate() {
                let initial = state.iter().map(|state| state.get(layer * num_directions + i));
                let initial = initial.collect::<candle_core::Result<Vec<_>>>()?;
                let reverse = i == 1;
                let (output, last) = direction.run(&self.arguments, &x, &initial, reverse)?;
                outputs.push(output);
                final_states.iter_mut().zip(last).for_each(|(list, last)| list.push(last));
            }
            x.data = if let [single] = &outputs[..] { single.clone() } else { Tensor::cat(&outputs, 1)? };
        }
        let final_states =
            final_states.iter().map(|list| Tensor::stack(list, 0)).collect::<candle_core::Result<_>>()?;
        Ok((x.data, final_states))
    }

    /// Checks the shapes of the state of a cell, `[batch, features]` each, or `[features]` if there is no batch.
    pub(super) fn check_step_state<'a>(
        &self,
        state: impl Iterator<Item = &'a [usize]>,
        batch: Option<usize>,
    ) -> Result<()> {
        let expected = |width| batch.into_iter().chain([width]).collect::<Vec<_>>();
        let mut states = state.zip(self.arguments.state_widths());
        states.try_for_each(|(found, width)| check_state(found, &expected(width)))
    }

    pub(super) fn run_step(&self, x: Tensor, state: Option<Vec<Tensor>>) -> Result<Vec<Tensor>> {
        let input_size = self.arguments.input_size;
        let batched = x.rank() == 2;
        let x = match x.dims() {
            [_, features] if *features == input_size => x,
            [features] if *features == input_size => x.unsqueeze(0)?,
            dims => return Err(self.step_error(dims)),
        };
        let state = match state {
            Some(state) => {
                self.check_step_state(state.iter().map(Tensor::dims), batched.then_some(x.dim(0)?))?;
                // Add the dimension of layers, which the state of a cell lacks.
                Some(state.iter().map(|s| s.unsqueeze(0)).collect::<candle_core::Result<_>>()?)
            }
            None => None,
        };
        let state = self.initial_state(state, x.dim(0)?, batched, x.dtype(), x.device())?;
        let batch_sizes = [x.dim(0)?];
        let (_, state) =
            self.run_layers(PackedRows { data: x, batch_sizes: &batch_sizes }, &state, Mode::Eval)?;
        let unstacked = state.iter().map(|state| {
            let state = state.squeeze(0)?;
            if batched { Ok(state) } else { state.squeeze(0) }
        });
        Ok(unstacked.collect::<candle_core::Result<_>>()?)
    }

    pub fn extra(&self) -> String {
        self.arguments.extra()
    }

    pub fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        for direction in &self.directions {
            for (name, tensor) in direction.tensors() {
                visitor.parameter(&format!("{name}{}", direction.suffix), tensor);
            }
        }
    }

    pub fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        for direction in &mut self.directions {
            let suffix = direction.suffix.clone();
            for (name, tensor) in direction.tensors_mut() {
                visitor.parameter(&format!("{name}{suffix}"), tensor);
            }
        }
        visitor.pinned_mode(&mut self.pinned);
    }
}
