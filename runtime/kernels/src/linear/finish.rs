//! What is done to a map's sums: bias and activation.

use crate::activation::{Activation, activate, activate_all, stages};
use crate::simd::Simd;

#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// One for each output.
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
}

impl Finish<'_> {
    /// Leaves the sums as they are.
    pub const NOTHING: Self = Self { bias: None, activation: Activation::Identity };

    /// Makes results of a row's sums from the first output up to the second.
    ///
    /// # Safety
    /// `row` has all outputs, and nobody else has those.
    #[inline(always)]
    pub unsafe fn apply<S: Simd>(&self, simd: S, row: *mut f32, [first, end]: [usize; 2]) {
        if self.bias.is_none() && self.activation == Activation::Identity {
            return;
        }
        let [before, after] = stages(self.activation);
        for output in (first..end).step_by(S::LANES) {
            let (place, lanes) = (row.wrapping_add(output), S::LANES.min(end - output));
            // SAFETY: `lanes` outputs of the row, by the caller's promise, and as many of the bias.
            unsafe {
                let mut value = simd.load_partial(place, lanes);
                if let Some(bias) = self.bias {
                    value = simd.add(value, simd.load_partial(bias[output..end].as_ptr(), lanes));
                }
                simd.store_partial(place, lanes, activate(simd, before, value));
            }
        }
        // SAFETY: outputs of the row, by the caller's promise.
        let results = unsafe { std::slice::from_raw_parts_mut(row.wrapping_add(first), end - first) };
        activate_all(simd, after, results);
    }
}
