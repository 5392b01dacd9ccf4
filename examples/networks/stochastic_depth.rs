//! Stochastic depth (Huang et al. 2016, <https://arxiv.org/abs/1603.09382>).

use sconce::prelude::*;

/// In training, zeroes each example of a batch with probability `p` and multiplies the rest by `1 / (1 − p)`.
/// In evaluation, returns the input unchanged.
#[derive(Module)]
#[module(args(p: f64), forward = |x| {
    if mode.is_train() && p > 0. {
        let mut shape = vec![1; x.rank()?];
        shape[0] = x.dim(0)?;
        x * dropout(Tensor::ones(shape, x.dtype()?, &x.device()?)?)
    } else {
        x
    }
})]
pub struct StochasticDepth {
    #[layer(p)]
    dropout: Dropout,
    #[module(skip = p)]
    p: f64,
}
