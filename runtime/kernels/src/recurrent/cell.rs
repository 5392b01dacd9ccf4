//! One unit of one step of each recurrence: its value, its gradient, and the same from candle's operations.

use crate::activation::{Activation, Function, Relu, Sigmoid, Tanh, apply};
use crate::float::Float;
use candle_core::{Result, Tensor};

/// The most gates, states and saved numbers that a unit of any recurrence has.
pub(super) const GATES: usize = 4;
pub(super) const STATES: usize = 2;
pub(super) const SAVED: usize = 5;

/// A recurrence, seen from one of its hidden units. Of each array the first `GATES`, `STATES` or `SAVED`
/// numbers are used.
pub(super) trait Cell: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    const GATES: usize;
    const STATES: usize;
    const SAVED: usize;
    /// Whether a gate sees only the sum of the input's part and the state's, so that the gradients of
    /// both are the same.
    const ADDITIVE: bool;

    /// The new state, and what the gradient needs, from the input's and the state's part of each gate and
    /// the old state.
    fn value<T: Float>(self, x: [T; GATES], h: [T; GATES], state: [T; STATES]) -> ([T; STATES], [T; SAVED]);

    /// The gradients of the input's part, the state's part and, apart from that, the old state.
    fn gradient<T: Float>(
        self,
        saved: [T; SAVED],
        grad: [T; STATES],
    ) -> ([T; GATES], [T; GATES], [T; STATES]);

    /// The new state from whole tensors, `x` and `h` being one for each gate.
    fn compose(self, x: &[Tensor], h: &[Tensor], state: &[Tensor]) -> Result<Vec<Tensor>>;
}

/// `activation(x + h)`
fn gate(activation: Activation, x: &Tensor, h: &Tensor) -> Result<Tensor> {
    apply(activation, &(x + h)?)
}

/// A plain recurrence `h' = f(x + h)`.
macro_rules! plain {
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
            fn value<T: Float>(
                self,
                x: [T; GATES],
                h: [T; GATES],
                _: [T; STATES],
            ) -> ([T; STATES], [T; SAVED]) {
                let y = $activation {}.value(x[0] + h[0]);
                ([y, T::ZERO], [y, T::ZERO, T::ZERO, T::ZERO, T::ZERO])
            }

            #[inline(always)]
            fn gradient<T: Float>(
                self,
                saved: [T; SAVED],
                grad: [T; STATES],
            ) -> ([T; GATES], [T; GATES], [T; STATES]) {
                let dx = [$activation {}.gradient(grad[0], saved[0]), T::ZERO, T::ZERO, T::ZERO];
                (dx, dx, [T::ZERO; STATES])
            }

            fn compose(self, x: &[Tensor], h: &[Tensor], _: &[Tensor]) -> Result<Vec<Tensor>> {
                Ok(vec![gate(Activation::$activation, &x[0], &h[0])?])
            }
        }
    )*};
}

plain! {
    RnnTanh "rnn_tanh" Tanh;
    RnnRelu "rnn_relu" Relu;
}

/// Gates: input, forget, cell, output.
#[derive(Clone, Copy)]
pub(super) struct Lstm;

impl Cell for Lstm {
    const NAME: &'static str = "lstm";
    const GATES: usize = 4;
    const STATES: usize = 2;
    const SAVED: usize = 5;
    const ADDITIVE: bool = true;

    #[inline(always)]
    fn value<T: Float>(self, x: [T; GATES], h: [T; GATES], state: [T; STATES]) -> ([T; STATES], [T; SAVED]) {
        let (input, forget) = ((x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid());
        let (candidate, output) = ((x[2] + h[2]).tanh(), (x[3] + h[3]).sigmoid());
        let cell = forget * state[1] + input * candidate;
        ([output * cell.tanh(), cell], [input, forget, candidate, output, state[1]])
    }

    #[inline(always)]
    fn gradient<T: Float>(
        self,
        saved: [T; SAVED],
        grad: [T; STATES],
    ) -> ([T; GATES], [T; GATES], [T; STATES]) {
        let [input, forget, candidate, output, before] = saved;
        let squashed = (forget * before + input * candidate).tanh();
        let cell = grad[1] + Tanh {}.gradient(grad[0] * output, squashed);
        let dx = [
            Sigmoid {}.gradient(cell * candidate, input),
            Sigmoid {}.gradient(cell * before, forget),
            Tanh {}.gradient(cell * input, candidate),
            Sigmoid {}.gradient(grad[0] * squashed, output),
        ];
        (dx, dx, [T::ZERO, cell * forget])
    }

    fn compose(self, x: &[Tensor], h: &[Tensor], state: &[Tensor]) -> Result<Vec<Tensor>> {
        let [input, forget, output] = [0, 1, 3].map(|i| gate(Activation::Sigmoid, &x[i], &h[i]));
        let candidate = gate(Activation::Tanh, &x[2], &h[2])?;
        let cell = ((forget? * &state[1])? + (input? * candidate)?)?;
        Ok(vec![(output? * apply(Activation::Tanh, &cell)?)?, cell])
    }
}

/// Gates: reset, update, new.
#[derive(Clone, Copy)]
pub(super) struct Gru;

impl Cell for Gru {
    const NAME: &'static str = "gru";
    const GATES: usize = 3;
    const STATES: usize = 1;
    const SAVED: usize = 5;
    const ADDITIVE: bool = false;

    #[inline(always)]
    fn value<T: Float>(self, x: [T; GATES], h: [T; GATES], state: [T; STATES]) -> ([T; STATES], [T; SAVED]) {
        let (reset, update) = ((x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid());
        let new = (x[2] + reset * h[2]).tanh();
        let hidden = (T::ONE - update) * new + update * state[0];
        ([hidden, T::ZERO], [reset, update, new, h[2], state[0]])
    }

    #[inline(always)]
    fn gradient<T: Float>(
        self,
        saved: [T; SAVED],
        grad: [T; STATES],
    ) -> ([T; GATES], [T; GATES], [T; STATES]) {
        let [reset, update, new, hidden, before] = saved;
        let dnew = Tanh {}.gradient(grad[0] * (T::ONE - update), new);
        let dreset = Sigmoid {}.gradient(dnew * hidden, reset);
        let dupdate = Sigmoid {}.gradient(grad[0] * (before - new), update);
        let dx = [dreset, dupdate, dnew, T::ZERO];
        (dx, [dreset, dupdate, dnew * reset, T::ZERO], [grad[0] * update, T::ZERO])
    }

    fn compose(self, x: &[Tensor], h: &[Tensor], state: &[Tensor]) -> Result<Vec<Tensor>> {
        let [reset, update] = [0, 1].map(|i| gate(Activation::Sigmoid, &x[i], &h[i]));
        let new = gate(Activation::Tanh, &x[2], &(reset? * &h[2])?)?;
        // (1 − update) · new + update · h
        Ok(vec![(&new + (update? * (&state[0] - &new)?)?)?])
    }
}
