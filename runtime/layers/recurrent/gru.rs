//! The gated recurrent unit (Cho et al. 2014, <https://arxiv.org/abs/1406.1078>).

use crate::kernels::recurrent::Recurrence;
use crate::signal::Signal;

use super::arguments::{Arguments, config, sequence_setters};
use super::stack::Stack;
use super::{packed, recurrent};

/// Applies gated recurrent units to sequences.
///
/// - Config: `GRU::config(input_size, hidden_size)`; setters `num_layers` (1), `bias` (true), `batch_first` (false),
///   `dropout` (0), `bidirectional` (false)
/// - Input: `gru(x)` or `gru(x, h0)` in a forward closure; `h0` defaults to zeros
/// - Output: `(outputs, h)`
/// - Fails if `hidden_size` or `num_layers` is 0, if `dropout` is not between 0 and 1, or if a tensor has the wrong
///   shape or dtype
///
/// | tensor | shape |
/// |---|---|
/// | `x` | `[steps, batch, input_size]` |
/// | `outputs` | `[steps, batch, directions · hidden_size]` |
/// | `h0`, `h` | `[num_layers · directions, batch, hidden_size]` |
///
/// With `batch_first`, `x` and `outputs` are `[batch, steps, …]`. The batch dimension may be omitted from all tensors.
/// Each layer and direction runs as one differentiable operation.
///
/// `gru(x, None, lengths)` or `gru(x, Some(h0), lengths)` runs only the first `lengths[i]` steps of the
/// sequence `i` of a batch. Its other outputs are 0, and its final state is the state after these steps. The result is
/// that of PyTorch's `pack_padded_sequence`, followed by the layer and `pad_packed_sequence`. `lengths` is a list or an
/// integer tensor, `[batch]`.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |words| {
///     let (_, h) = gru(embedding(words));
///     head(h.narrow(0, 0, 1).squeeze(0))
/// })]
/// struct Classifier {
///     #[layer(100, 8)]
///     embedding: Embedding,
///     #[layer(8, 16, batch_first = true)]
///     gru: GRU,
///     #[layer(16, 3)]
///     head: Linear,
/// }
/// # fn main() -> Result<()> {
/// let words = Tensor::new(&[[4u32, 9, 17], [3, 0, 0]], &Device::Cpu)?;
/// assert_eq!(Classifier::new(&Device::Cpu)?.forward(words)?.dims(), [2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct GRU(Stack);

/// The config of [`GRU`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let gru = GRU::config(8, 16).num_layers(2).batch_first(true).bidirectional(true).init(&Device::Cpu)?;
/// let x = Tensor::ones((2, 5, 8), DType::F32, &Device::Cpu)?; // [batch, steps, features]
/// let (outputs, h) = gru.call(x.into(), Mode::Eval);
/// assert_eq!((outputs.dims()?, h.dims()?), (&[2, 5, 32][..], &[4, 2, 16][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GRUConfig(Arguments);

/// Computes one step of a [`GRU`].
///
/// - Config: `GRUCell::config(input_size, hidden_size)`; setter `bias` (true)
/// - Input: `cell(x)` or `cell(x, h)` with `x: [batch, input_size]` and `h: [batch, hidden_size]`, where `h` defaults
///   to zeros; the batch dimension may be omitted from both
/// - Output: the new `h`, `[batch, hidden_size]`
/// - Fails if `hidden_size` is 0, or if a tensor has the wrong shape or dtype
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let cell = GRUCell::config(8, 16).init(&Device::Cpu)?;
/// let x = Tensor::ones((2, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(cell.call(x.into(), Mode::Eval).dims()?, [2, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct GRUCell(Stack);

/// The config of [`GRUCell`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let cell = GRUCell::config(8, 16).bias(false).init(&Device::Cpu)?;
/// assert_eq!(cell.num_parameters(), 3 * 16 * (8 + 16));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GRUCellConfig(Arguments);

impl GRU {
    /// Creates the config with PyTorch's defaults.
    pub fn config(input_size: usize, hidden_size: usize) -> GRUConfig {
        GRUConfig(Arguments::new("GRU", Recurrence::Gru, input_size, hidden_size))
    }
}

impl GRUCell {
    /// Creates the config with PyTorch's defaults.
    pub fn config(input_size: usize, hidden_size: usize) -> GRUCellConfig {
        GRUCellConfig(Arguments::cell("GRUCell", Recurrence::Gru, input_size, hidden_size))
    }
}

impl GRUCellConfig {
    /// Sets whether the layer has learned biases. Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.0.bias = bias;
        self
    }
}

sequence_setters!(GRUConfig);
config!(GRUConfig => GRU);
config!(GRUCellConfig => GRUCell);
recurrent!(GRU, Signal, sequence -> (Signal, Signal));
recurrent!(GRUCell, Signal, step -> Signal);
packed!(GRU, Signal);
