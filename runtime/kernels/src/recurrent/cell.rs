//! The cell of each recurrence: one step of one hidden unit, and the gradient of this step. For the composed path, the
//! cell also computes the step of all units with candle's operations.

use candle_core::{Result, Tensor};

use crate::activation::{Activation, Function, Relu, Sigmoid, Tanh, apply};
use crate::number::Number;

/// The maximum number of gates of a unit.
const MAX_GATES: usize = 4;
/// The maximum number of states of a unit.
const MAX_STATES: usize = 2;
/// The maximum number of values that a unit saves for the backward pass.
const MAX_SAVED: usize = 5;

/// A value for each gate, in the order of the cell's gates.
pub(super) type Gates<N> = [N; MAX_GATES];
/// The hidden state and, in an LSTM, the cell state.
pub(super) type States<N> = [N; MAX_STATES];
/// The values that the backward pass needs.
pub(super) type Saved<N> = [N; MAX_SAVED];

/// The step of one hidden unit. A gate is a function of two numbers: `x`, the input multiplied by the input weights,
/// and `h`, the hidden state multiplied by the recurrent weights, each with its bias. Only the first `Self::GATES`,
/// `Self::STATES` and `Self::SAVED` elements of the arrays are used.
pub(super) trait Cell: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    const GATES: usize;
    const STATES: usize;
    const SAVED: usize;
    /// Whether each gate depends only on the sum `x + h`, so that `x` and `h` have the same gradient.
    const ADDITIVE: bool;

    /// Returns the new state and the values saved for the gradient, from `x` and `h` of each gate and the old state.
    fn value<N: Number>(self, x: Gates<N>, h: Gates<N>, state: States<N>) -> (States<N>, Saved<N>);

    /// Returns the gradients of `x` and `h` of each gate, and the gradient of the old state without the part that
    /// passes through `h`. The caller adds that part.
    fn gradient<N: Number>(self, saved: Saved<N>, grad: States<N>) -> (Gates<N>, Gates<N>, States<N>);

    /// Returns the new state as tensors. `x` and `h` have one tensor for each gate.
    fn compose(self, x: &[Tensor], h: &[Tensor], state: &[Tensor]) -> Result<Vec<Tensor>>;
}

/// Returns `activation(x + h)`.
fn gate(activation: Activation, x: &Tensor, h: &Tensor) -> Result<Tensor> {
    apply(activation, &(x + h)?)
}

/// Defines a recurrence with a single gate: its new hidden state is the activation of `x + h` (see [`Cell`]).
macro_rules! single_gate {
    ($($cell:ident $name:literal $activation:ident;)*) => {$(
        #[derive(Clone, Copy)]
        pub(super) struct $cell;

        impl Cell for $cell {
            const NAME: &'static str = $name;
            const GATES: usize = 1;
            const STATES: usize = 1;
            const SAVED: usize = 1;
            const ADDITIVE: bool = true;

            #[inline(always)]
            fn value<N: Number>(self, x: Gates<N>, h: Gates<N>, _: States<N>) -> (States<N>, Saved<N>) {
                let y = $activation {}.value(x[0] + h[0]);
                let zero = y.splat(0.);
                ([y, zero], [y, zero, zero, zero, zero])
            }

            #[inline(always)]
            fn gradient<N: Number>(self, saved: Saved<N>, grad: States<N>) -> (Gates<N>, Gates<N>, States<N>) {
                let zero = grad[0].splat(0.);
                let dx = [$activation {}.gradient(grad[0], saved[0]), zero, zero, zero];
                (dx, dx, [zero; MAX_STATES])
            }

            fn compose(self, x: &[Tensor], h: &[Tensor], _: &[Tensor]) -> Result<Vec<Tensor>> {
                Ok(vec![gate(Activation::$activation, &x[0], &h[0])?])
            }
        }
    )*};
}

single_gate! {
    RnnTanh "rnn_tanh" Tanh;
    RnnRelu "rnn_relu" Relu;
}

/// The LSTM cell. Its gates are input, forget, cell and output. The value of the cell gate is called the candidate, to
/// distinguish it from the cell state.
#[derive(Clone, Copy)]
pub(super) struct Lstm;

impl Cell for Lstm {
    const NAME: &'static str = "lstm";
    const GATES: usize = 4;
    const STATES: usize = 2;
    const SAVED: usize = 5;
    const ADDITIVE: bool = true;

    #[inline(always)]
    fn value<N: Number>(self, x: Gates<N>, h: Gates<N>, state: States<N>) -> (States<N>, Saved<N>) {
        let (input, forget) = ((x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid());
        let (candidate, output) = ((x[2] + h[2]).tanh(), (x[3] + h[3]).sigmoid());
        let cell = forget * state[1] + input * candidate;
        ([output * cell.tanh(), cell], [input, forget, candidate, output, state[1]])
    }

    #[inline(always)]
    fn gradient<N: Number>(self, saved: Saved<N>, grad: States<N>) -> (Gates<N>, Gates<N>, States<N>) {
        let [input, forget, candidate, output, old_cell] = saved;
        let cell_tanh = (forget * old_cell + input * candidate).tanh();
        let dcell = grad[1] + Tanh {}.gradient(grad[0] * output, cell_tanh);
        let dx = [
            Sigmoid {}.gradient(dcell * candidate, input),
            Sigmoid {}.gradient(dcell * old_cell, forget),
            Tanh {}.gradient(dcell * input, candidate),
            Sigmoid {}.gradient(grad[0] * cell_tanh, output),
        ];
        (dx, dx, [dcell.splat(0.), dcell * forget])
    }

    fn compose(self, x: &[Tensor], h: &[Tensor], state: &[Tensor]) -> Result<Vec<Tensor>> {
        let [input, forget, output] = [0, 1, 3].map(|i| gate(Activation::Sigmoid, &x[i], &h[i]));
        let candidate = gate(Activation::Tanh, &x[2], &h[2])?;
        let cell = ((forget? * &state[1])? + (input? * candidate)?)?;
        Ok(vec![(output? * apply(Activation::Tanh, &cell)?)?, cell])
    }
}

/// The GRU cell. Its gates are reset, update and new.
#[derive(Clone, Copy)]
pub(super) struct Gru;

impl Cell for Gru {
    const NAME: &'static str = "gru";
    const GATES: usize = 3;
    const STATES: usize = 1;
    const SAVED: usize = 5;
    const ADDITIVE: bool = false;

    #[inline(always)]
    fn value<N: Number>(self, x: Gates<N>, h: Gates<N>, state: States<N>) -> (States<N>, Saved<N>) {
        let (reset, update) = ((x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid());
        let new = (x[2] + reset * h[2]).tanh();
        let hidden = (new.splat(1.) - update) * new + update * state[0];
        ([hidden, hidden.splat(0.)], [reset, update, new, h[2], state[0]])
    }

    #[inline(always)]
    fn gradient<N: Number>(self, saved: Saved<N>, grad: States<N>) -> (Gates<N>, Gates<N>, States<N>) {
        let [reset, update, new, new_gate_h, old_hidden] = saved;
        let zero = new.splat(0.);
        let dnew = Tanh {}.gradient(grad[0] * (new.splat(1.) - update), new);
        let dreset = Sigmoid {}.gradient(dnew * new_gate_h, reset);
        let dupdate = Sigmoid {}.gradient(grad[0] * (old_hidden - new), update);
        let dx = [dreset, dupdate, dnew, zero];
        (dx, [dreset, dupdate, dnew * reset, zero], [grad[0] * update, zero])
    }

    fn compose(self, x: &[Tensor], h: &[Tensor], state: &[Tensor]) -> Result<Vec<Tensor>> {
        let [reset, update] = [0, 1].map(|i| gate(Activation::Sigmoid, &x[i], &h[i]));
        let new = gate(Activation::Tanh, &x[2], &(reset? * &h[2])?)?;
        // (1 − update) · new + update · h
        Ok(vec![(&new + (update? * (&state[0] - &new)?)?)?])
    }
}
