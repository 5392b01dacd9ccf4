//! Runs layers on signals in tests of tensors.

use sconce::candle;
use sconce::prelude::*;

use crate::common::restride;

/// Turns a function of signals into a function of tensors. The input gets other strides before `op` reads it.
pub fn on_tensors(op: impl Fn(Signal) -> Signal) -> impl Fn(&[Tensor]) -> candle::Result<Tensor> {
    move |x| Ok(op(restride(&x[0])?.into()).into_tensor()?)
}
