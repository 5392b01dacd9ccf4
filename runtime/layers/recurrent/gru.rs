//! The gated recurrent unit: Cho et al. 2014, <https://arxiv.org/abs/1406.1078>.

use super::arguments::{Arguments, config, sequence_setters};
use super::recurrent;
use super::stack::Stack;
use crate::kernels::recurrent::Recurrence;
use crate::signal::Signal;

/// Gated recurrent units over sequences.
///
/// `GRU::config(input_size, hidden_size)` with the setters `num_layers`, `bias`, `batch_first`, `dropout`
/// and `bidirectional`, as in PyTorch. In a forward closure `gru(x)` or `gru(x, h0)`; both answer
/// `(outputs, h)`. Without a second argument the initial state is zeros.
///
/// | tensor | shape |
/// |---|---|
/// | `x` | `[steps, batch, input_size]`, with `batch_first` `[batch, steps, input_size]` |
/// | `outputs` | the same, with `directions · hidden_size` features |
/// | `h0`, `h` | `[num_layers · directions, batch, hidden_size]` |
///
/// Without a batch, all lack that dimension. Each layer and direction is one operation, with a gradient
/// for everything.
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
pub struct GRU(Stack);

/// The arguments of a [`GRU`].
#[derive(Clone, Copy, Debug)]
pub struct GRUConfig(Arguments);

/// One step of a [`GRU`]: `cell(x)` or `cell(x, h)`, of `x` `[batch, input_size]` and `h`
/// `[batch, hidden_size]`, both perhaps without the batch. Answers with the new `h`.
///
/// `GRUCell::config(input_size, hidden_size)` with the setter `bias`.
pub struct GRUCell(Stack);

/// The arguments of a [`GRUCell`].
#[derive(Clone, Copy, Debug)]
pub struct GRUCellConfig(Arguments);

impl GRU {
    pub fn config(input_size: usize, hidden_size: usize) -> GRUConfig {
        GRUConfig(Arguments::new("GRU", Recurrence::Gru, input_size, hidden_size))
    }
}

impl GRUCell {
    pub fn config(input_size: usize, hidden_size: usize) -> GRUCellConfig {
        GRUCellConfig(Arguments::cell("GRUCell", Recurrence::Gru, input_size, hidden_size))
    }
}

impl GRUCellConfig {
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
