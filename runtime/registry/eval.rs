//! A network in evaluation mode as a `candle_nn::Module`.

use candle_core::Tensor;

use crate::module::{Forward, Mode};
use crate::scope::Scope;
use crate::signal::Signal;

/// A network in evaluation mode; see [`Network::eval`](super::Network::eval).
///
/// ```
/// use sconce::prelude::*;
/// use sconce::candle::Module as CandleModule;
/// # fn main() -> Result<()> {
/// let net = Linear::config(4, 2).init(&Device::Cpu)?.eval();
/// let x = Tensor::ones((1, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(CandleModule::forward(&net, &x)?.dims(), [1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Eval<M>(pub(super) M);

impl<M: Forward<Signal, Output = Signal>> candle_core::Module for Eval<M> {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let _scope = Scope::root(self.0.kind());
        Ok(self.0.call(x.into(), Mode::Eval).into_tensor()?)
    }
}
