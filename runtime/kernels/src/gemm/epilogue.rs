//! The epilogue of a matrix product: bias and activation.

use crate::activation::{Activation, activate, activate_all, stages};
use crate::simd::Simd;

/// Computes `activation(sum + bias[column])`.
#[derive(Clone, Copy)]
pub(crate) struct BiasActivation<'a> {
    /// One element per column.
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
}

impl BiasActivation<'_> {
    /// Leaves the sums unchanged.
    pub const NONE: Self = Self { bias: None, activation: Activation::Identity };

    /// Turns the sums in the columns `first..end` of a row into results, in place.
    ///
    /// # Safety
    /// `row` must have `end` elements. Those in `first..end` must be initialized, and no other task may access them.
    #[inline(always)]
    pub unsafe fn apply<S: Simd>(&self, simd: S, row: *mut f32, [first, end]: [usize; 2]) {
        if self.bias.is_none() && self.activation == Activation::Identity {
            return;
        }
        let [before, after] = stages(self.activation);
        for column in (first..end).step_by(S::LANES) {
            let address = row.wrapping_add(column);
            let lanes = S::LANES.min(end - column);
            // SAFETY: the row has the elements `column..column + lanes`, as the caller guarantees, and the slice of the
            // bias has at least `lanes` elements.
            unsafe {
                let mut value = simd.load_partial(address, lanes);
                if let Some(bias) = self.bias {
                    value = simd.add(value, simd.load_partial(bias[column..end].as_ptr(), lanes));
                }
                simd.store_partial(address, lanes, activate(simd, before, value));
            }
        }
        // SAFETY: the caller guarantees that the row has `end` elements, and that no other task accesses those from
        // `first` on.
        let results = unsafe { std::slice::from_raw_parts_mut(row.wrapping_add(first), end - first) };
        activate_all(simd, after, results);
    }
}
