//! Reports operations on signals, so that a network can be summarized.

use crate::scope::{OpenOperation, SignalType};

use super::{Signal, State};

/// An operation that reports its shapes to [`record_calls`](crate::scope::record_calls). Operations that run before it
/// ends are parts of it and report nothing.
#[must_use]
pub(crate) struct Recording(Option<(OpenOperation, SignalType)>);

impl Recording {
    /// Begins an operation whose first operand is `input`.
    pub fn start(input: &Signal) -> Self {
        Self(OpenOperation::begin().and_then(|operation| Some((operation, input.signal_type()?))))
    }

    /// Reports an operation that has no multiply-adds, or only a few per element, and returns its result.
    pub fn finish(self, output: Signal) -> Signal {
        self.finish_products(output, |_, _| 0)
    }

    /// Reports an operation and returns its result. `multiply_adds` computes the number of products that are added up,
    /// from the sizes of the first operand and of the result.
    pub fn finish_products(
        self,
        output: Signal,
        multiply_adds: impl FnOnce(&[usize], &[usize]) -> u64,
    ) -> Signal {
        self.end(&output, multiply_adds);
        output
    }

    /// Like [`finish_products`](Self::finish_products), for an operation whose results include `output`.
    pub fn end(self, output: &Signal, multiply_adds: impl FnOnce(&[usize], &[usize]) -> u64) {
        if let Some((operation, input)) = self.0
            && let Some(output_type) = output.signal_type()
        {
            operation.end(
                &input,
                &output_type,
                output.is_deferred(),
                multiply_adds(&input.dims, &output_type.dims),
            );
        }
    }
}

impl Signal {
    fn is_deferred(&self) -> bool {
        matches!(self.0, State::Deferred(_))
    }

    /// Returns the shape and the dtype, or `None` if the signal has failed.
    pub(crate) fn signal_type(&self) -> Option<SignalType> {
        Some(SignalType { dims: self.dims().ok()?.to_vec(), dtype: self.dtype().ok()? })
    }
}

/// Returns the product of all sizes, or the largest number if it is larger.
pub(crate) fn product<'a>(sizes: impl IntoIterator<Item = &'a usize>) -> u64 {
    // If any size is 0, the product is 0, even if the product of the other sizes overflows.
    let mut sizes = sizes.into_iter().map(|&size| u64::try_from(size).unwrap_or(u64::MAX));
    sizes.try_fold(1u64, |product, size| (size > 0).then(|| product.saturating_mul(size))).unwrap_or(0)
}
