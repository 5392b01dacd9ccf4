//! A network in evaluation mode as a `candle_nn::Module`.

use candle_core::Tensor;

use crate::module::{Forward, Mode};
use crate::scope::Scope;
use crate::signal::Signal;

/// A network in evaluation mode; see [`Network::eval`](super::Network::eval).
#[derive(Clone, Debug)]
pub struct Eval<M>(pub(super) M);

impl<M: Forward<Signal, Output = Signal>> candle_core::Module for Eval<M> {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let _scope = Scope::root(self.0.kind());
        Ok(self.0.call(x.into(), Mode::Eval).into_tensor()?)
    }
}
