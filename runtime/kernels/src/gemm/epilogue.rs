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

    /// Turns rows of sums into results, in place. The rows are `stride` elements apart, and contain the columns
    /// `first..end` of the matrix. Elements after the last column are unspecified before and after.
    #[inline(always)]
    pub fn apply_to_rows<S: Simd>(&self, simd: S, sums: &mut [f32], stride: usize, [first, end]: [usize; 2]) {
        let [before, after] = stages(self.activation);
        let bias = self.bias.map(|bias| &bias[first..end]);
        if bias.is_some() || before != Activation::Identity {
            for row in sums.chunks_exact_mut(stride) {
                add_bias(simd, &mut row[..end - first], bias, before);
            }
        }
        if end - first == stride {
            activate_all(simd, after, sums);
        } else {
            for row in sums.chunks_exact_mut(stride) {
                activate_all(simd, after, &mut row[..end - first]);
            }
        }
    }

    /// Turns the sums in the columns `first..end` of a row into results, in place.
    ///
    /// # Safety
    /// `row` must have `end` elements. Those in `first..end` must be initialized, and no other task may access them.
    #[inline(always)]
    pub unsafe fn apply<S: Simd>(&self, simd: S, row: *mut f32, [first, end]: [usize; 2]) {
        if self.bias.is_none() && self.activation == Activation::Identity {
            return;
        }
        // SAFETY: the caller guarantees that the row has these elements and that no other task accesses them.
        let sums = unsafe { std::slice::from_raw_parts_mut(row.wrapping_add(first), end - first) };
        self.apply_to_rows(simd, sums, end - first, [first, end]);
    }
}

/// Computes `activation(sum + bias)` in place.
#[inline(always)]
fn add_bias<S: Simd>(simd: S, sums: &mut [f32], bias: Option<&[f32]>, activation: Activation) {
    for at in (0..sums.len()).step_by(S::LANES) {
        let lanes = S::LANES.min(sums.len() - at);
        let sums = sums[at..].as_mut_ptr();
        // SAFETY: the sums and the bias have `lanes` elements from `at` on.
        unsafe {
            let mut value = simd.load_partial(sums, lanes);
            if let Some(bias) = bias {
                value = simd.add(value, simd.load_partial(bias[at..].as_ptr(), lanes));
            }
            simd.store_partial(sums, lanes, activate(simd, activation, value));
        }
    }
}
