//! Finds the first operation of a forward pass whose output is not finite.

use std::cell::Cell;

use candle_core::{DType, Tensor};

use crate::scope::no_fusion;
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

/// Runs `f` without fusion. A signal with a forbidden number fails, with the path of the layer that computed it. The
/// path is empty for an input.
pub(crate) fn forbid<T>(forbidden: Forbidden, f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Forbidden>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORBIDDEN.set(self.0);
        }
    }
    let _restore = Restore(FORBIDDEN.replace(Some(forbidden)));
    no_fusion(f)
}

/// Returns an error if the tensor has a number that is forbidden.
pub(super) fn check(tensor: &Tensor) -> Result<()> {
    match FORBIDDEN.get() {
        Some(forbidden) if tensor.dtype().is_float() => forbidden.check(tensor),
        _ => Ok(()),
    }
}

impl Forbidden {
    fn check(self, tensor: &Tensor) -> Result<()> {
        let numbers = tensor.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
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
