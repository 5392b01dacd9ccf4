//! The arguments of recurrent layers.

use crate::display::{python_bool, python_float};
use crate::kernels::recurrent::Recurrence;
use crate::{Error, Result};

/// The arguments of a recurrent layer, with PyTorch's names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arguments {
    /// The name of the layer's type, such as `LSTM`.
    pub kind: &'static str,
    pub recurrence: Recurrence,
    pub input_size: usize,
    pub hidden_size: usize,
    pub num_layers: usize,
    pub bias: bool,
    pub batch_first: bool,
    pub dropout: f64,
    pub bidirectional: bool,
    /// The size of the projected hidden state, or 0 for no projection.
    pub proj_size: usize,
    /// Whether the layer computes one step instead of a sequence.
    pub is_cell: bool,
}

impl Arguments {
    pub fn new(kind: &'static str, recurrence: Recurrence, input_size: usize, hidden_size: usize) -> Self {
        Self {
            kind,
            recurrence,
            input_size,
            hidden_size,
            num_layers: 1,
            bias: true,
            batch_first: false,
            dropout: 0.,
            bidirectional: false,
            proj_size: 0,
            is_cell: false,
        }
    }

    pub fn cell(kind: &'static str, recurrence: Recurrence, input_size: usize, hidden_size: usize) -> Self {
        Self { is_cell: true, ..Self::new(kind, recurrence, input_size, hidden_size) }
    }

    /// Returns the number of features of the hidden state.
    pub fn width(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }

    /// Returns the number of features of each tensor of the state.
    pub fn state_widths(&self) -> Vec<usize> {
        match self.recurrence {
            Recurrence::Lstm => vec![self.width(), self.hidden_size],
            _ => vec![self.width()],
        }
    }

    pub fn num_directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    pub fn label(&self) -> String {
        format!("{} {}→{}", self.kind, self.input_size, self.width())
    }

    pub fn check(&self) -> Result<()> {
        let Self { hidden_size, num_layers, dropout, proj_size, .. } = *self;
        let invalid = |error: String| Err(Error::msg(error).in_layer(self.label()));
        if hidden_size == 0 || num_layers == 0 {
            return invalid(format!(
                "expected a hidden_size and num_layers of at least 1, found hidden_size = {hidden_size} and \
                 num_layers = {num_layers}"
            ));
        }
        if !(0. ..=1.).contains(&dropout) {
            return invalid(format!("expected a dropout between 0 and 1, found {dropout}"));
        }
        if proj_size >= hidden_size {
            return invalid(format!(
                "expected a proj_size below hidden_size = {hidden_size}, found {proj_size}"
            ));
        }
        Ok(())
    }

    /// Formats the arguments like PyTorch.
    pub fn extra(&self) -> String {
        let mut text = format!("{}, {}", self.input_size, self.hidden_size);
        if self.proj_size != 0 {
            text += &format!(", proj_size={}", self.proj_size);
        }
        if self.num_layers != 1 {
            text += &format!(", num_layers={}", self.num_layers);
        }
        for (name, value, default) in [("bias", self.bias, true), ("batch_first", self.batch_first, false)] {
            if value != default {
                text += &format!(", {name}={}", python_bool(value));
            }
        }
        if self.dropout != 0. {
            text += &format!(", dropout={}", python_float(self.dropout));
        }
        if self.bidirectional {
            text += ", bidirectional=True";
        }
        if self.is_cell && self.recurrence == Recurrence::Relu {
            text += ", nonlinearity=relu";
        }
        text
    }
}

/// Defines the setters that the configs of all recurrent layers over sequences have.
macro_rules! sequence_setters {
    ($config:ident) => {
        impl $config {
            /// Sets the number of layers. Each layer after the first reads the outputs of the previous layer.
            pub fn num_layers(mut self, layers: usize) -> Self {
                self.0.num_layers = layers;
                self
            }

            /// Sets whether the layers have learned biases. Default: `true`.
            pub fn bias(mut self, bias: bool) -> Self {
                self.0.bias = bias;
                self
            }

            /// Sets whether the layout is `[batch, steps, features]` instead of `[steps, batch, features]`.
            /// Default: `false`.
            pub fn batch_first(mut self, first: bool) -> Self {
                self.0.batch_first = first;
                self
            }

            /// Sets the probability with which training sets each element of a layer's output to zero. The output of
            /// the last layer is not changed. Default: 0.
            pub fn dropout(mut self, p: f64) -> Self {
                self.0.dropout = p;
                self
            }

            /// Sets whether each layer also processes the steps in reverse order and concatenates both outputs.
            /// Default: `false`.
            pub fn bidirectional(mut self, both: bool) -> Self {
                self.0.bidirectional = both;
                self
            }
        }
    };
}

/// Implements `Config` for a config that wraps [`Arguments`] and a layer that wraps a `Stack`.
macro_rules! config {
    ($config:ident => $layer:ident) => {
        impl crate::config::Config for $config {
            type Output = $layer;

            fn build(self, vb: candle_nn::VarBuilder) -> crate::Result<$layer> {
                Ok($layer(super::stack::Stack::build(self.0, vb)?))
            }
        }
    };
}

pub(super) use {config, sequence_setters};
