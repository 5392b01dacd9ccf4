//! Recurrent layers: all time steps of one layer and direction as one differentiable operation.

mod cell;
mod composed;
mod fused;
mod packing;
mod step;

use candle_core::{Result, Tensor, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::compute_dtype;
use crate::empty::empty_output;
use crate::memory::can_allocate;
use crate::relay::reshape;

use cell::{Cell, Gru, Lstm, RnnRelu, RnnTanh};
use packing::Steps;

/// The recurrence of a layer.
///
/// In the formulas, `h` is the hidden state, `h'` the next hidden state, and `x` the product of the input and the input
/// weights, plus the input bias. `W` and `b` are the weight and the bias of [`RecurrentWeights`].
///
/// # Examples
/// ```
/// use sconce_kernels::recurrent::Recurrence;
///
/// assert_eq!((Recurrence::Lstm.gates(), Recurrence::Lstm.states()), (4, 2));
/// assert_eq!((Recurrence::Gru.gates(), Recurrence::Gru.states()), (3, 1));
/// assert_eq!((Recurrence::Tanh.gates(), Recurrence::Relu.states()), (1, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// `h' = tanh(x + W · h + b)` (Elman, 1990).
    Tanh,
    /// `h' = max(x + W · h + b, 0)`
    Relu,
    /// Long short-term memory (Hochreiter and Schmidhuber, 1997), with the forget gate of Gers et al., 2000.
    Lstm,
    /// Gated recurrent unit (Cho et al., 2014), with the reset gate after the matrix product, as in PyTorch.
    Gru,
}

/// Evaluates `$body` with `$cell` bound to the [`Cell`] of a recurrence.
macro_rules! with_cell {
    ($recurrence:expr, $cell:ident => $body:expr) => {
        match $recurrence {
            Recurrence::Tanh => with_cell!(@ $cell, RnnTanh, $body),
            Recurrence::Relu => with_cell!(@ $cell, RnnRelu, $body),
            Recurrence::Lstm => with_cell!(@ $cell, Lstm, $body),
            Recurrence::Gru => with_cell!(@ $cell, Gru, $body),
        }
    };
    (@ $cell:ident, $value:expr, $body:expr) => {{
        let $cell = $value;
        $body
    }};
}

impl Recurrence {
    /// Returns the number of gates. The weights have `gates · hidden` rows.
    pub fn gates(self) -> usize {
        with_cell!(self, cell => gates(cell))
    }

    /// Returns the number of tensors in the state: the hidden state and, for an LSTM, the cell state.
    pub fn states(self) -> usize {
        with_cell!(self, cell => states(cell))
    }
}

fn gates<C: Cell>(_: C) -> usize {
    C::GATES
}

fn states<C: Cell>(_: C) -> usize {
    C::STATES
}

/// The weights of one layer and direction that are applied to the state in each step.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::recurrent::{Recurrence, RecurrentWeights, run};
///
/// # fn main() -> Result<()> {
/// let weight = Tensor::ones((1, 1), DType::F32, &Device::Cpu)?;
/// let bias = Tensor::new(&[1f32], &Device::Cpu)?;
/// let weights = RecurrentWeights { weight: &weight, bias: Some(&bias), projection: None };
/// let inputs = Tensor::zeros((3, 1, 1), DType::F32, &Device::Cpu)?;
/// let h = Tensor::zeros((1, 1), DType::F32, &Device::Cpu)?;
/// // h' = max(0 + 1 · h + 1, 0)
/// let (outputs, _) = run(Recurrence::Relu, &inputs, &weights, &[h], false)?;
/// assert_eq!(outputs.flatten_all()?.to_vec1::<f32>()?, [1., 2., 3.]);
/// # Ok(())
/// # }
/// ```
pub struct RecurrentWeights<'a> {
    /// `[gates · hidden, hidden]`, or `[gates · hidden, projected]` with a projection.
    pub weight: &'a Tensor,
    /// `[gates · hidden]`
    pub bias: Option<&'a Tensor>,
    /// `[projected, hidden]`: projects the hidden state after each step (Sak et al., 2014). Must be
    /// `None` for a GRU, whose next state is a weighted mean of the previous state and a candidate of size `hidden`.
    pub projection: Option<&'a Tensor>,
}

/// Runs all time steps of one layer in one direction.
///
/// - `inputs`: `[steps, batch, gates · hidden]`, the inputs after multiplication by the input weights and addition of
///   the input bias
/// - `state`: the initial hidden state and, for an LSTM, the cell state, `[batch, hidden]` each
/// - `reverse`: whether the steps run from the last to the first
/// - returns the hidden states `[steps, batch, hidden]` and the final state
///
/// With a projection, each hidden state has `projected` elements instead of `hidden`. Supports f32, f64, f16 and bf16.
/// Differentiable in all tensors.
///
/// # Errors
/// Fails if the shapes or dtypes do not match, a GRU has a projection, there are no steps, or the inputs do not fit in
/// memory.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{recurrent::{Recurrence, RecurrentWeights, run}, linear, Activation};
///
/// # fn main() -> Result<()> {
/// let (steps, batch, features, hidden) = (7, 2, 3, 4);
/// let device = Device::Cpu;
/// let x = Tensor::randn(0f32, 1., (steps, batch, features), &device)?;
/// let input_weight = Tensor::randn(0f32, 1., (4 * hidden, features), &device)?;
/// let weight = Tensor::randn(0f32, 1., (4 * hidden, hidden), &device)?;
/// let zeros = Tensor::zeros((batch, hidden), candle_core::DType::F32, &device)?;
///
/// let inputs = linear(&x, &input_weight, None, Activation::Identity, None)?;
/// let weights = RecurrentWeights { weight: &weight, bias: None, projection: None };
/// let (outputs, state) = run(Recurrence::Lstm, &inputs, &weights, &[zeros.clone(), zeros], false)?;
/// assert_eq!((outputs.dims(), state.len()), (&[steps, batch, hidden][..], 2));
/// # Ok(())
/// # }
/// ```
pub fn run(
    recurrence: Recurrence,
    inputs: &Tensor,
    weights: &RecurrentWeights,
    state: &[Tensor],
    reverse: bool,
) -> Result<(Tensor, Vec<Tensor>)> {
    let &[steps, batch, width] = inputs.dims() else {
        bail!("{recurrence:?}: expected inputs [steps, batch, gates · hidden], found {:?}", inputs.dims());
    };
    let batch_sizes = equal_batch_sizes([steps, batch, width])?;
    let rows = reshape(inputs, (steps * batch, width))?;
    let (outputs, state) = run_packed(recurrence, &rows, &batch_sizes, weights, state, reverse)?;
    let state_width = outputs.dim(1)?;
    Ok((reshape(&outputs, (steps, batch, state_width))?.into_tensor(), state))
}

/// Returns the batch sizes of [`run_packed`] for sequences of equal length with the inputs `[steps, batch, width]`. For
/// an empty batch, returns at most one step.
///
/// # Errors
/// Fails if inputs of this shape would not fit in memory. A width of 0 counts as 1, so that
/// the number of steps has a limit.
pub fn equal_batch_sizes([steps, batch, width]: [usize; 3]) -> Result<Vec<usize>> {
    if batch == 0 {
        return Ok(vec![0; steps.min(1)]);
    }
    if !can_allocate::<f64>(&[steps, batch, width.max(1)]) {
        bail!("not enough memory for {steps} steps of {batch} sequences");
    }
    Ok(vec![batch; steps])
}

/// Runs all time steps of one layer in one direction over packed sequences of different lengths.
///
/// The sequences are sorted by length, the longest first. Each time step has one row for each sequence that reaches it;
/// the rows of the first time step come first, as in PyTorch's `PackedSequence`.
///
/// - `inputs`: `[rows, gates · hidden]`, the inputs after multiplication by the input weights and addition of the input
///   bias
/// - `batch_sizes`: for each time step, the number of sequences that reach it; the last sizes may be 0
/// - `state`: the initial hidden state and, for an LSTM, the cell state, `[batch, hidden]` each
/// - `reverse`: whether the steps run from the last to the first
/// - returns the hidden states `[rows, hidden]` and the state of each sequence after its last step
///
/// With a projection, each hidden state has `projected` elements instead of `hidden`. Supports f32, f64, f16 and bf16.
/// Differentiable in all tensors.
///
/// # Errors
/// Fails if the shapes or dtypes do not match, a GRU has a projection, there are no steps, `batch_sizes` increases, or
/// its sum is not the number of rows.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::recurrent::{Recurrence, RecurrentWeights, run_packed};
///
/// # fn main() -> Result<()> {
/// let weight = Tensor::ones((1, 1), DType::F32, &Device::Cpu)?;
/// let weights = RecurrentWeights { weight: &weight, bias: None, projection: None };
/// // Two sequences: [1, 1, 1] and [5].
/// let inputs = Tensor::new(&[[1f32], [5.], [1.], [1.]], &Device::Cpu)?;
/// let h = Tensor::zeros((2, 1), DType::F32, &Device::Cpu)?;
/// // h' = max(x + h, 0)
/// let (outputs, state) = run_packed(Recurrence::Relu, &inputs, &[2, 1, 1], &weights, &[h], false)?;
/// assert_eq!(outputs.flatten_all()?.to_vec1::<f32>()?, [1., 5., 2., 3.]);
/// assert_eq!(state[0].flatten_all()?.to_vec1::<f32>()?, [3., 5.]);
/// # Ok(())
/// # }
/// ```
pub fn run_packed(
    recurrence: Recurrence,
    inputs: &Tensor,
    batch_sizes: &[usize],
    weights: &RecurrentWeights,
    state: &[Tensor],
    reverse: bool,
) -> Result<(Tensor, Vec<Tensor>)> {
    let steps = Steps::new(&format!("{recurrence:?}"), batch_sizes, reverse)?;
    check(recurrence, inputs, &steps, weights, state)?;
    if steps.batch() == 0 {
        return empty_results(inputs, weights, state);
    }
    let dtype = inputs.dtype();
    let wide = compute_dtype(dtype);
    let inputs = inputs.to_dtype(wide)?;
    let weight = weights.weight.to_dtype(wide)?;
    let bias = weights.bias.map(|bias| bias.to_dtype(wide)).transpose()?;
    let projection = weights.projection.map(|projection| projection.to_dtype(wide)).transpose()?;
    let state = state.iter().map(|state| state.to_dtype(wide)).collect::<Result<Vec<_>>>()?;
    let weights = RecurrentWeights { weight: &weight, bias: bias.as_ref(), projection: projection.as_ref() };
    let (outputs, state) = with_cell!(recurrence, cell => {
        if has_cpu_kernels(&inputs) && projection.is_none() {
            fused::run(cell, &inputs, &weights, &state, steps)
        } else {
            composed::run(cell, &inputs, &weights, state, &steps)
        }
    })?;
    let state = state.iter().map(|state| state.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
    Ok((outputs.to_dtype(dtype)?, state))
}

/// Returns the results for a batch without sequences.
fn empty_results(
    inputs: &Tensor,
    weights: &RecurrentWeights,
    state: &[Tensor],
) -> Result<(Tensor, Vec<Tensor>)> {
    let optional = [weights.bias, weights.projection].into_iter().flatten();
    let operands: Vec<&Tensor> = [inputs, weights.weight].into_iter().chain(optional).chain(state).collect();
    let outputs = empty_output(&operands, state[0].shape())?;
    let state = state.iter().map(|state| empty_output(&operands, state.shape())).collect::<Result<_>>()?;
    Ok((outputs, state))
}

fn check(
    recurrence: Recurrence,
    inputs: &Tensor,
    steps: &Steps,
    weights: &RecurrentWeights,
    state: &[Tensor],
) -> Result<()> {
    let width = match inputs.dims() {
        &[rows, width] if rows == steps.rows() => width,
        dims => {
            bail!("{recurrence:?}: expected inputs [{}, gates · hidden], found {dims:?}", steps.rows())
        }
    };
    let hidden = width / recurrence.gates();
    if hidden == 0 || width != hidden * recurrence.gates() {
        let count = recurrence.gates();
        bail!(
            "{recurrence:?}: expected inputs whose last dimension is a multiple of {count} (the number of gates) and \
             not 0, found {:?}",
            inputs.dims()
        );
    }
    if recurrence == Recurrence::Gru && weights.projection.is_some() {
        bail!("{recurrence:?}: expected no projection, found one");
    }
    let state_width = weights.projection.map_or(Ok(hidden), |projection| projection.dim(0))?;
    let check_tensor = |name: &str, tensor: &Tensor, expected: &[usize]| {
        if tensor.dims() != expected {
            bail!("{recurrence:?}: expected a {name} of shape {expected:?}, found {:?}", tensor.dims());
        }
        if tensor.dtype() != inputs.dtype() {
            bail!(
                "{recurrence:?}: expected a {name} of dtype {:?}, found {:?}",
                inputs.dtype(),
                tensor.dtype()
            );
        }
        Ok(())
    };
    check_tensor("weight", weights.weight, &[width, state_width])?;
    if let Some(bias) = weights.bias {
        check_tensor("bias", bias, &[width])?;
    }
    if let Some(projection) = weights.projection {
        check_tensor("projection", projection, &[state_width, hidden])?;
    }
    if state.len() != recurrence.states() {
        bail!("{recurrence:?}: expected a state of {} tensors, found {}", recurrence.states(), state.len());
    }
    let widths = [("hidden state", state_width), ("cell state", hidden)];
    let mut tensors = state.iter().zip(widths);
    tensors.try_for_each(|(tensor, (name, width))| check_tensor(name, tensor, &[steps.batch(), width]))
}
