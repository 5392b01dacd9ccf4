//! The epilogue of a matrix product: bias and activation.

use crate::activation::{Activation, activate, activate_all, stages};
use crate::simd::Simd;

/// `activation(sum + bias[column])`
#[derive(Clone, Copy)]
pub(crate) struct BiasActivation<'a> {
    /// One element a column.
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
}

impl BiasActivation<'_> {
    /// Leaves the sums as they are.
    pub const NONE: Self = Self { bias: None, activation: Activation::Identity };

    /// Turns the sums of the columns from `first` up to `end` of a row into results, in place.
    ///
    /// # Safety
    /// `row` must have `end` elements, and no other task may access those from `first` on.
    #[inline(always)]
    pub unsafe fn apply<S: Simd>(&self, simd: S, row: *mut f32, [first, end]: [usize; 2]) {
        if self.bias.is_none() && self.activation == Activation::Identity {
            return;
        }
        let [before, after] = stages(self.activation);
        for column in (first..end).step_by(S::LANES) {
            let place = row.wrapping_add(column);
            let lanes = S::LANES.min(end - column);
            // SAFETY: `lanes` elements of the row, by the caller's promise, and as many of the bias.
            unsafe {
                let mut value = simd.load_partial(place, lanes);
                if let Some(bias) = self.bias {
                    value = simd.add(value, simd.load_partial(bias[column..end].as_ptr(), lanes));
                }
                simd.store_partial(place, lanes, activate(simd, before, value));
            }
        }
        // SAFETY: elements of the row, by the caller's promise.
        let results = unsafe { std::slice::from_raw_parts_mut(row.wrapping_add(first), end - first) };
        activate_all(simd, after, results);
    }
}
