//! Long short-term memory: Hochreiter and Schmidhuber 1997, <https://doi.org/10.1162/neco.1997.9.8.1735>.

use super::arguments::{Arguments, config, sequence_setters};
use super::recurrent;
use super::stack::Stack;
use crate::kernels::recurrent::Recurrence;
use crate::signal::Signal;

/// Long short-term memory over sequences.
///
/// `LSTM::config(input_size, hidden_size)` with the setters `num_layers`, `bias`, `batch_first`, `dropout`,
/// `bidirectional` and `proj_size`, as in PyTorch. In a forward closure `lstm(x)` or `lstm(x, (h0, c0))`;
/// both answer `(outputs, (h, c))`. Without a second argument the initial state is zeros.
///
/// | tensor | shape |
/// |---|---|
/// | `x` | `[steps, batch, input_size]`, with `batch_first` `[batch, steps, input_size]` |
/// | `outputs` | the same, with `directions · width` features |
/// | `h0`, `h` | `[num_layers · directions, batch, width]` |
/// | `c0`, `c` | `[num_layers · directions, batch, hidden_size]` |
///
/// where `width` is `proj_size` if that is set, else `hidden_size`. Without a batch, all lack that
/// dimension. Each layer and direction is one operation, with a gradient for everything.
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
pub struct LSTM(Stack);

/// The arguments of an [`LSTM`].
#[derive(Clone, Copy, Debug)]
pub struct LSTMConfig(Arguments);

/// One step of an [`LSTM`]: `cell(x)` or `cell(x, (h, c))`, of `x` `[batch, input_size]` and a state of
/// `[batch, hidden_size]` each, all perhaps without the batch. Answers `(h, c)`.
///
/// `LSTMCell::config(input_size, hidden_size)` with the setter `bias`.
pub struct LSTMCell(Stack);

/// The arguments of an [`LSTMCell`].
#[derive(Clone, Copy, Debug)]
pub struct LSTMCellConfig(Arguments);

impl LSTM {
    pub fn config(input_size: usize, hidden_size: usize) -> LSTMConfig {
        LSTMConfig(Arguments::new("LSTM", Recurrence::Lstm, input_size, hidden_size))
    }
}

impl LSTMConfig {
    /// Multiplies the hidden state down to this many features after each step; 0: not at all.
    /// Sak et al. 2014, <https://arxiv.org/abs/1402.1128>.
    pub fn proj_size(mut self, size: usize) -> Self {
        self.0.proj_size = size;
        self
    }
}

impl LSTMCell {
    pub fn config(input_size: usize, hidden_size: usize) -> LSTMCellConfig {
        LSTMCellConfig(Arguments::cell("LSTMCell", Recurrence::Lstm, input_size, hidden_size))
    }
}

impl LSTMCellConfig {
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
