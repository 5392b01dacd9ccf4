//! The plain recurrence: Elman 1990, <https://doi.org/10.1207/s15516709cog1402_1>.

use super::arguments::{Arguments, config, sequence_setters};
use super::recurrent;
use super::stack::Stack;
use crate::kernels::recurrent::Recurrence;
use crate::signal::Signal;

/// `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)` over sequences.
///
/// `RNN::config(input_size, hidden_size)` with the setters `num_layers`, `nonlinearity`, `bias`,
/// `batch_first`, `dropout` and `bidirectional`, as in PyTorch. It is called, and its tensors are shaped, as
/// those of the [`GRU`](super::GRU): `rnn(x)` or `rnn(x, h0)` gives `(outputs, h)`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let rnn = RNN::config(8, 16).nonlinearity(Nonlinearity::Relu).init(&Device::Cpu)?;
/// let x = Tensor::ones((5, 2, 8), DType::F32, &Device::Cpu)?; // [steps, batch, features]
/// let (outputs, h) = rnn.call(x.into(), Mode::Eval);
/// assert_eq!((outputs.dims()?, h.dims()?), (&[5, 2, 16][..], &[1, 2, 16][..]));
/// # Ok(())
/// # }
/// ```
pub struct RNN(Stack);

/// The arguments of an [`RNN`].
#[derive(Clone, Copy, Debug)]
pub struct RNNConfig(Arguments);

/// One step of an [`RNN`]: `cell(x)` or `cell(x, h)`, of `x` `[batch, input_size]` and `h`
/// `[batch, hidden_size]`, both perhaps without the batch. Answers with the new `h`.
///
/// `RNNCell::config(input_size, hidden_size)` with the setters `bias` and `nonlinearity`.
pub struct RNNCell(Stack);

/// The arguments of an [`RNNCell`].
#[derive(Clone, Copy, Debug)]
pub struct RNNCellConfig(Arguments);

/// What an [`RNN`] applies in each step; PyTorch's `"tanh"` and `"relu"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonlinearity {
    #[default]
    Tanh,
    Relu,
}

impl Nonlinearity {
    fn recurrence(self) -> Recurrence {
        match self {
            Self::Tanh => Recurrence::Tanh,
            Self::Relu => Recurrence::Relu,
        }
    }
}

impl RNN {
    pub fn config(input_size: usize, hidden_size: usize) -> RNNConfig {
        RNNConfig(Arguments::new("RNN", Recurrence::Tanh, input_size, hidden_size))
    }
}

impl RNNConfig {
    pub fn nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.0.recurrence = nonlinearity.recurrence();
        self
    }
}

impl RNNCell {
    pub fn config(input_size: usize, hidden_size: usize) -> RNNCellConfig {
        RNNCellConfig(Arguments::cell("RNNCell", Recurrence::Tanh, input_size, hidden_size))
    }
}

impl RNNCellConfig {
    pub fn bias(mut self, bias: bool) -> Self {
        self.0.bias = bias;
        self
    }

    pub fn nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.0.recurrence = nonlinearity.recurrence();
        self
    }
}

sequence_setters!(RNNConfig);
config!(RNNConfig => RNN);
config!(RNNCellConfig => RNNCell);
recurrent!(RNN, Signal, sequence -> (Signal, Signal));
recurrent!(RNNCell, Signal, step -> Signal);
