//! Candle's errors without backtraces.

/// Returns the error without the backtrace that candle appends when it is printed.
pub fn plain(error: &candle_core::Error) -> &candle_core::Error {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => plain(inner),
        error => error,
    }
}
