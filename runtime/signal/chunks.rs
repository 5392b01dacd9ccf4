//! The parts of a signal that [`Signal::chunk`] returns.

use crate::{Error, Result};

use super::Signal;

/// A list of signals: an array, a `Vec`, or a `Result` of a `Vec`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Signal::from(Tensor::ones((2, 6), DType::F32, &Device::Cpu)?);
/// let [a, b, c] = x.chunk(3, 1);
/// assert_eq!((a + b + c).dims()?, [2, 2]);
/// let parts: Result<Vec<Signal>> = x.chunk(2, 0);
/// assert_eq!(parts?.len(), 2);
/// // There are 3 parts and 2 names.
/// let [a, _] = x.chunk(3, 1);
/// assert_eq!(a.error().unwrap().message(), "expected 2 parts, found 3");
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "the parts of a signal cannot be a `{Self}`",
    note = "write `let [a, b] = x.chunk(2, dim)`, or annotate the type `Vec<Signal>` or `Result<Vec<Signal>>`"
)]
pub trait Chunks {
    /// Returns the parts. If `parts` is an error, returns an array of failed signals, a `Vec` of `expected` failed
    /// signals, or the error itself.
    fn from_result(parts: Result<Vec<Signal>>, expected: usize) -> Self;
}

impl<const N: usize> Chunks for [Signal; N] {
    fn from_result(parts: Result<Vec<Signal>>, _: usize) -> Self {
        let array = parts.and_then(|parts| {
            let found = parts.len();
            parts.try_into().map_err(|_| Error::msg(format!("expected {N} parts, found {found}")))
        });
        array.unwrap_or_else(|error| std::array::from_fn(|_| Signal::fail(error.clone())))
    }
}

impl Chunks for Vec<Signal> {
    fn from_result(parts: Result<Vec<Signal>>, expected: usize) -> Self {
        parts.unwrap_or_else(|error| vec![Signal::fail(error); expected])
    }
}

impl Chunks for Result<Vec<Signal>> {
    fn from_result(parts: Result<Vec<Signal>>, _: usize) -> Self {
        parts
    }
}
