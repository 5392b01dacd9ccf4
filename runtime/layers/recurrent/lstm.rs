//! Long short-term memory (Hochreiter and Schmidhuber 1997, <https://doi.org/10.1162/neco.1997.9.8.1735>).

use crate::kernels::recurrent::Recurrence;
use crate::signal::Signal;

use super::arguments::{Arguments, config, sequence_setters};
use super::stack::Stack;
use super::{packed, recurrent};

/// Applies long short-term memory to sequences.
///
/// - Config: `LSTM::config(input_size, hidden_size)`; setters `num_layers` (1), `bias` (true), `batch_first` (false),
///   `dropout` (0), `bidirectional` (false), `proj_size` (0)
/// - Input: `lstm(x)` or `lstm(x, (h0, c0))` in a forward closure; `h0` and `c0` default to zeros
/// - Output: `(outputs, (h, c))`
/// - Fails if `hidden_size` or `num_layers` is 0, if `dropout` is not between 0 and 1, if `proj_size` is not smaller
///   than `hidden_size`, or if a tensor has the wrong shape or dtype
///
/// | tensor | shape |
/// |---|---|
/// | `x` | `[steps, batch, input_size]` |
/// | `outputs` | `[steps, batch, directions · width]` |
/// | `h0`, `h` | `[num_layers · directions, batch, width]` |
/// | `c0`, `c` | `[num_layers · directions, batch, hidden_size]` |
///
/// `width` is `proj_size`, or `hidden_size` if `proj_size` is 0. With `batch_first`, `x` and `outputs` are
/// `[batch, steps, …]`. The batch dimension may be omitted from all tensors. Each layer and direction runs as one
/// differentiable operation.
///
/// `lstm(x, None, lengths)` or `lstm(x, Some((h0, c0)), lengths)` runs only the first `lengths[i]` steps of the
/// sequence `i` of a batch. Its other outputs are 0, and its final state is the state after these steps. The result is
/// that of PyTorch's `pack_padded_sequence`, followed by the layer and `pad_packed_sequence`. `lengths` is a list or an
/// integer tensor, `[batch]`.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x, h, c| {
///     let (y, (h, c)) = lstm(x, (h, c));
///     (head(y), h, c)
/// })]
/// struct Model {
///     #[layer(8, 16, num_layers = 2, batch_first = true)]
///     lstm: LSTM,
///     #[layer(16, 3)]
///     head: Linear,
/// }
/// # fn main() -> Result<()> {
/// let (x, state) = ((4, 5, 8), (2, 4, 16)); // [batch, steps, features], [layers, batch, hidden]
/// let zeros = |shape: (usize, usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu);
/// let model = Model::new(&Device::Cpu)?;
/// let (y, h, _) = model.forward(zeros(x)?, zeros(state)?, zeros(state)?)?;
/// assert_eq!((y.dims(), h.dims()), (&[4, 5, 3][..], &[2, 4, 16][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LSTM(Stack);

/// The config of [`LSTM`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let lstm = LSTM::config(8, 16).proj_size(4).init(&Device::Cpu)?;
/// let x = Tensor::ones((5, 2, 8), DType::F32, &Device::Cpu)?; // [steps, batch, features]
/// let (outputs, (h, c)) = lstm.call(x.into(), Mode::Eval);
/// assert_eq!(outputs.dims()?, [5, 2, 4]);
/// assert_eq!((h.dims()?, c.dims()?), (&[1, 2, 4][..], &[1, 2, 16][..]));
/// // The projection must be smaller than the hidden state.
/// assert!(LSTM::config(8, 16).proj_size(16).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LSTMConfig(Arguments);

/// Computes one step of an [`LSTM`].
///
/// - Config: `LSTMCell::config(input_size, hidden_size)`; setter `bias` (true)
/// - Input: `cell(x)` or `cell(x, (h, c))` with `x: [batch, input_size]` and `h, c: [batch, hidden_size]`, where `h`
///   and `c` default to zeros; the batch dimension may be omitted from all
/// - Output: the new `(h, c)`, `[batch, hidden_size]` each
/// - Fails if `hidden_size` is 0, or if a tensor has the wrong shape or dtype
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let cell = LSTMCell::config(8, 16).init(&Device::Cpu)?;
/// let x = Tensor::ones((2, 8), DType::F32, &Device::Cpu)?;
/// let (h, c) = cell.call(x.into(), Mode::Eval);
/// assert_eq!((h.dims()?, c.dims()?), (&[2, 16][..], &[2, 16][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LSTMCell(Stack);

/// The config of [`LSTMCell`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let cell = LSTMCell::config(8, 16).bias(false).init(&Device::Cpu)?;
/// assert_eq!(cell.num_parameters(), 4 * 16 * (8 + 16));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LSTMCellConfig(Arguments);

impl LSTM {
    /// Creates the config with PyTorch's defaults.
    pub fn config(input_size: usize, hidden_size: usize) -> LSTMConfig {
        LSTMConfig(Arguments::new("LSTM", Recurrence::Lstm, input_size, hidden_size))
    }
}

impl LSTMConfig {
    /// Sets the size to which the hidden state is projected after each step; 0 disables the projection (Sak et al.
    /// 2014, <https://arxiv.org/abs/1402.1128>).
    pub fn proj_size(mut self, size: usize) -> Self {
        self.0.proj_size = size;
        self
    }
}

impl LSTMCell {
    /// Creates the config with PyTorch's defaults.
    pub fn config(input_size: usize, hidden_size: usize) -> LSTMCellConfig {
        LSTMCellConfig(Arguments::cell("LSTMCell", Recurrence::Lstm, input_size, hidden_size))
    }
}

impl LSTMCellConfig {
    /// Sets whether the layer has learned biases. Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.0.bias = bias;
        self
    }
}

sequence_setters!(LSTMConfig);
config!(LSTMConfig => LSTM);
config!(LSTMCellConfig => LSTMCell);
recurrent!(LSTM, (Signal, Signal), sequence -> (Signal, (Signal, Signal)));
recurrent!(LSTMCell, (Signal, Signal), step -> (Signal, Signal));
packed!(LSTM, (Signal, Signal));
