//! A network in evaluation mode as a `candle_nn::Module`.

use candle_core::Tensor;

use crate::module::{Forward, Mode};
use crate::signal::Signal;

/// A network in evaluation mode; see [`Network::eval`](super::Network::eval).
pub struct Eval<'a, M>(pub(super) &'a M);

impl<M: Forward<Signal, Output = Signal>> candle_core::Module for Eval<'_, M> {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.0.call(x.into(), Mode::Eval).into_tensor()?)
    }
}
