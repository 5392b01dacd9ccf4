//! Candle's errors without backtraces.

/// Returns the error without its backtrace, which candle would print after the message.
pub fn without_backtrace(error: &candle_core::Error) -> &candle_core::Error {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => without_backtrace(inner),
        error => error,
    }
}
