//! Embedding lookup.

use crate::kernels::embedding as kernel;
use crate::signal::Signal;

/// Returns the row of `weight` for each integer index in `x`. The weight is `[num_embeddings, embedding_dim]`, and the
/// output is `[…, embedding_dim]`.
pub fn embedding(x: impl Into<Signal>, weight: impl Into<Signal>) -> Signal {
    match weight.into().into_tensor() {
        Ok(weight) => x.into().apply("embedding", |ids| kernel::embedding(&ids, &weight, None)),
        Err(error) => Signal::fail(error),
    }
}
