//! Recurrent layers: RNN, LSTM and GRU, over sequences and for single steps.

mod arguments;
mod gru;
mod lstm;
mod meta;
mod rnn;
mod stack;

use crate::signal::{Outcome, Signal};

pub use gru::{GRU, GRUCell, GRUCellConfig, GRUConfig};
pub use lstm::{LSTM, LSTMCell, LSTMCellConfig, LSTMConfig};
pub use rnn::{Nonlinearity, RNN, RNNCell, RNNCellConfig, RNNConfig};

/// The state of a recurrent layer: the hidden state or, for an LSTM, the hidden state and the cell state. As
/// an [`Outcome`], it can also represent a failed forward pass.
trait State: Outcome {
    fn into_signals(self) -> Vec<Signal>;

    /// Creates a state from its signals, in the order of [`into_signals`](Self::into_signals).
    fn from_signals(signals: Vec<Signal>) -> Self;
}

impl State for Signal {
    fn into_signals(self) -> Vec<Signal> {
        vec![self]
    }

    fn from_signals(mut signals: Vec<Signal>) -> Self {
        signals.swap_remove(0)
    }
}

impl State for (Signal, Signal) {
    fn into_signals(self) -> Vec<Signal> {
        vec![self.0, self.1]
    }

    fn from_signals(mut signals: Vec<Signal>) -> Self {
        let cell = signals.swap_remove(1);
        (signals.swap_remove(0), cell)
    }
}

/// Implements the traits of a layer that wraps a `Stack`. The layer calls the method `$method` of the stack, which
/// returns `$output`.
macro_rules! recurrent {
    ($layer:ident, $state:ty, $method:ident -> $output:ty) => {
        impl $layer {
            /// Runs the layer in evaluation mode, from an initial state of zeros.
            ///
            /// # Errors
            /// Fails if the input is invalid, as described above.
            pub fn forward(
                &self,
                x: impl Into<Signal>,
            ) -> crate::Result<<$output as crate::signal::IntoTensors>::Tensors> {
                let output = crate::module::Forward::call(self, x.into(), crate::module::Mode::Eval);
                crate::signal::IntoTensors::into_tensors(output)
            }
        }

        impl crate::module::Forward for $layer {
            type Output = $output;

            fn forward_pass(&self, x: Signal, mode: crate::module::Mode) -> $output {
                self.0.$method(x, None, mode)
            }
        }

        #[diagnostic::do_not_recommend]
        impl crate::module::ForwardWith<(Signal, $state)> for $layer {
            type Output = $output;

            fn forward_pass_with(&self, (x, state): (Signal, $state), mode: crate::module::Mode) -> $output {
                self.0.$method(x, Some(state), mode)
            }
        }

        impl crate::module::Module for $layer {
            fn kind(&self) -> std::borrow::Cow<'static, str> {
                stringify!($layer).into()
            }

            fn extra(&self) -> String {
                self.0.extra()
            }

            fn visit<'a>(&'a self, visitor: &mut dyn crate::module::Visitor<'a>) {
                self.0.visit(visitor);
            }

            fn visit_mut(&mut self, visitor: &mut dyn crate::module::VisitorMut) {
                self.0.visit_mut(visitor);
            }

            fn share(&self) -> Self {
                self.clone()
            }
        }

        crate::layers::impl_fmt!($layer);
    };
}

/// Implements the calls of a layer over sequences of different lengths.
macro_rules! packed {
    ($layer:ident, $state:ty) => {
        impl $layer {
            /// Runs the layer on packed sequences. Returns the packed outputs, and the state of each sequence after its
            /// last step.
            ///
            /// - `x`: the sequences from [`pack_padded_sequence`](crate::functional::pack_padded_sequence), whose data
            ///   is `[rows, input_size]`
            /// - `state`: the initial state, in the order of the batch, or zeros
            ///
            /// The outputs are failed signals if the state has the wrong shape or a tensor has the wrong dtype.
            pub fn call_packed(
                &self,
                x: crate::ops::PackedSequence,
                state: Option<$state>,
                mode: crate::module::Mode,
            ) -> (crate::ops::PackedSequence, $state) {
                crate::scope::run_reference(&self, || self.0.packed(x, state, mode))
            }
        }

        /// The sequences of a padded batch have these lengths: `(x, initial_state, lengths)`.
        #[diagnostic::do_not_recommend]
        impl crate::module::ForwardWith<(Signal, Option<$state>, crate::ops::Lengths)> for $layer {
            type Output = (Signal, $state);

            fn forward_pass_with(
                &self,
                inputs: (Signal, Option<$state>, crate::ops::Lengths),
                mode: crate::module::Mode,
            ) -> (Signal, $state) {
                self.0.sequence_of_lengths(inputs, mode)
            }
        }
    };
}

use packed;
use recurrent;
