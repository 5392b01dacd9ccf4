//! Tensors as initial values. candle's `Init` only describes distributions.

use std::cell::Cell;

use candle_core::Tensor;

use crate::thread_value::with_value;

thread_local! {
    static INITIAL_VALUES: Cell<Option<Tensor>> = const { Cell::new(None) };
}

/// Runs `request`, which requests one tensor from a source of tensors. If the source initializes the tensor, the tensor
/// gets `values`.
pub(crate) fn with_initial_values<T>(values: Tensor, request: impl FnOnce() -> T) -> T {
    with_value(&INITIAL_VALUES, Some(values), request)
}

/// Returns the initial values of the tensor that is being requested, if they are a tensor.
pub(super) fn initial_values() -> Option<Tensor> {
    let values = INITIAL_VALUES.take();
    INITIAL_VALUES.set(values.clone());
    values
}
