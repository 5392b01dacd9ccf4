//! The Elman RNN (Elman 1990, <https://doi.org/10.1207/s15516709cog1402_1>).

use crate::kernels::recurrent::Recurrence;
use crate::signal::Signal;

use super::arguments::{Arguments, config, sequence_setters};
use super::stack::Stack;
use super::{packed, recurrent};

/// Computes `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)` for each step of a sequence: the next hidden state `h'` from the
/// input `x` and the hidden state `h`.
///
/// - Config: `RNN::config(input_size, hidden_size)`; setters `num_layers` (1), `nonlinearity` (`Tanh`), `bias` (true),
///   `batch_first` (false), `dropout` (0), `bidirectional` (false)
/// - Input: `rnn(x)`, `rnn(x, h0)` or `rnn(x, None, lengths)` in a forward closure, as for [`GRU`](super::GRU)
/// - Output: `(outputs, h)`
/// - Fails if `hidden_size` or `num_layers` is 0, if `dropout` is not between 0 and 1, or if a tensor has the wrong
///   shape or dtype
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
#[derive(Clone)]
pub struct RNN(Stack);

/// The config of [`RNN`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let rnn = RNN::config(8, 16).num_layers(2).bias(false).init(&Device::Cpu)?;
/// assert_eq!(rnn.num_parameters(), 16 * (8 + 16) + 16 * (16 + 16));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RNNConfig(Arguments);

/// Computes one step of an [`RNN`].
///
/// - Config: `RNNCell::config(input_size, hidden_size)`; setters `bias` (true), `nonlinearity` (`Tanh`)
/// - Input: `cell(x)` or `cell(x, h)` with `x: [batch, input_size]` and `h: [batch, hidden_size]`, where `h` defaults
///   to zeros; the batch dimension may be omitted from both
/// - Output: the new `h`, `[batch, hidden_size]`
/// - Fails if `hidden_size` is 0, or if a tensor has the wrong shape or dtype
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let cell = RNNCell::config(8, 16).init(&Device::Cpu)?;
/// let x = Tensor::ones((2, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(cell.call(x.into(), Mode::Eval).dims()?, [2, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RNNCell(Stack);

/// The config of [`RNNCell`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let cell = RNNCell::config(8, 16).nonlinearity(Nonlinearity::Relu).bias(false).init(&Device::Cpu)?;
/// assert_eq!(cell.num_parameters(), 16 * (8 + 16));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RNNCellConfig(Arguments);

/// The activation of an [`RNN`], `"tanh"` or `"relu"` in PyTorch.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let cell = RNNCell::config(8, 16).nonlinearity(Nonlinearity::Relu).init(&Device::Cpu)?;
/// let h = cell.forward(Tensor::ones((2, 8), DType::F32, &Device::Cpu)?)?;
/// assert!(h.min_all()?.to_scalar::<f32>()? >= 0.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonlinearity {
    /// `tanh(x)`.
    #[default]
    Tanh,
    /// `max(x, 0)`.
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
    /// Creates the config with PyTorch's defaults.
    pub fn config(input_size: usize, hidden_size: usize) -> RNNConfig {
        RNNConfig(Arguments::new("RNN", Recurrence::Tanh, input_size, hidden_size))
    }
}

impl RNNConfig {
    /// Sets the activation that each step applies. Default: [`Nonlinearity::Tanh`].
    pub fn nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.0.recurrence = nonlinearity.recurrence();
        self
    }
}

impl RNNCell {
    /// Creates the config with PyTorch's defaults.
    pub fn config(input_size: usize, hidden_size: usize) -> RNNCellConfig {
        RNNCellConfig(Arguments::cell("RNNCell", Recurrence::Tanh, input_size, hidden_size))
    }
}

impl RNNCellConfig {
    /// Sets whether the layer has learned biases. Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.0.bias = bias;
        self
    }

    /// Sets the activation that each step applies. Default: [`Nonlinearity::Tanh`].
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
packed!(RNN, Signal);
