//! Finds the first operation of a forward pass whose output is not finite.

use std::cell::Cell;

use candle_core::Tensor;

use crate::kernels::internal::on_cpu_in_f64;
use crate::scope::{Path, no_fusion};
use crate::thread_value::with_value;
use crate::{Error, Result};

/// The numbers that an output must not contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forbidden {
    /// NaN and +∞. A mask may contain −∞.
    NanAndInfinity,
    /// NaN, +∞ and −∞.
    NonFinite,
}

thread_local! {
    static FORBIDDEN: Cell<Option<Forbidden>> = const { Cell::new(None) };
}

/// The path in an error of [`forbid`] if an input of the network has a forbidden number. An input has no path of its
/// own.
pub(crate) const INPUT: &str = "the input";

/// Runs `f` without fusion. In `f`, a signal that contains a forbidden number fails. The error has the path of the
/// layer that computed the signal, or the path [`INPUT`] if no layer computed it.
pub(crate) fn forbid<T>(forbidden: Forbidden, f: impl FnOnce() -> T) -> T {
    with_value(&FORBIDDEN, Some(forbidden), || no_fusion(f))
}

/// Returns an error if the tensor has a number that is forbidden.
pub(super) fn check(tensor: &Tensor) -> Result<()> {
    match FORBIDDEN.get() {
        Some(forbidden) if tensor.dtype().is_float() => forbidden.check(tensor).map_err(at_current_path),
        _ => Ok(()),
    }
}

/// Sets the path of an error.
fn at_current_path(error: Error) -> Error {
    match Path::current().to_string() {
        path if path.is_empty() => error.at(INPUT),
        path => error.at(path),
    }
}

impl Forbidden {
    fn check(self, tensor: &Tensor) -> Result<()> {
        let numbers = on_cpu_in_f64(tensor)?.flatten_all()?.to_vec1::<f64>()?;
        let is_forbidden = |number: &&f64| match self {
            Self::NanAndInfinity => number.is_nan() || **number == f64::INFINITY,
            Self::NonFinite => !number.is_finite(),
        };
        match numbers.iter().find(is_forbidden) {
            Some(number) => Err(Error::msg(format!("the output contains {number}"))),
            None => Ok(()),
        }
    }
}
