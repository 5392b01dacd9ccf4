//! Dropout.

use candle_core::Tensor;

use crate::module::Mode;
use crate::signal::Signal;
use crate::{Error, Result, random};

/// In training, sets each element to zero with probability `p` and scales the others by `1 / (1 − p)`.
pub fn dropout(x: impl Into<Signal>, p: f64, mode: Mode) -> Signal {
    let x = x.into();
    if mode == Mode::Eval || p == 0. {
        return x;
    }
    x.apply("dropout", |x| -> Result<Tensor> {
        if !(0. ..=1.).contains(&p) {
            return Err(Error::msg(format!("expected a probability between 0 and 1, got {p}")));
        }
        let keep = random::bernoulli(x.shape(), 1. - p, x.dtype(), x.device())?;
        let scale = if p == 1. { 0. } else { 1. / (1. - p) };
        Ok((x.mul(&keep)? * scale)?)
    })
}
