//! Operands of operations that check shapes and dtypes before they read numbers.

use candle_core::Tensor;

use crate::Result;
use crate::signal::Signal;

/// Returns the tensor of a signal. For a signal without numbers, returns a tensor of its shape and dtype that is a view
/// of a single number.
///
/// # Errors
/// Fails if the signal has failed.
pub(crate) fn tensor_or_view(signal: Signal) -> Result<Tensor> {
    if signal.is_meta() { signal.to_meta()?.view() } else { signal.into_tensor() }
}
