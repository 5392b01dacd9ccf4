//! Applies activations to a kernel's results, in registers or after they are stored.

use crate::elementwise::VectorValues;
use crate::simd::{Simd, Vectors};

use super::definitions::{Activation, with_function};
use super::function::Function;

/// Returns the bounds of an activation that only clamps its input, or `None` for any other activation.
pub(crate) fn bounds(activation: Activation) -> Option<[f32; 2]> {
    fn bounds_of<F: Function>(_: F) -> Option<[f32; 2]> {
        F::BOUNDS
    }
    with_function!(activation, f => bounds_of(f))
}

/// Applies `activation` to each lane of a vector. `activation` must be the first of the two [`stages`] of an epilogue's
/// activation.
#[inline(always)]
pub(crate) fn activate<S: Simd>(simd: S, activation: Activation, x: S::V) -> S::V {
    #[inline(always)]
    fn apply<S: Simd, F: Function>(simd: S, function: F, x: S::V) -> S::V {
        debug_assert!(F::INLINE, "expected an inline activation, found {}", F::NAME);
        // The condition is a constant, so the compiler leaves functions that are not inline out of every epilogue.
        if F::INLINE { function.value(Vectors::new(simd, [x])).vectors[0] } else { x }
    }
    with_function!(activation, f => apply(simd, f, x))
}

/// Applies an activation to numbers in memory, with one function call for all of them.
#[inline(always)]
pub(crate) fn activate_all<S: Simd>(simd: S, activation: Activation, values: &mut [f32]) {
    if activation == Activation::Identity {
        return;
    }
    with_function!(activation, f => simd.call(VectorValues::in_place(f, values)));
}

/// Splits an activation into two stages. [`activate`] applies the first stage to vectors before they are stored;
/// [`activate_all`] applies the second stage to stored numbers. One of the two stages is the identity.
#[inline(always)]
pub(crate) fn stages(activation: Activation) -> [Activation; 2] {
    fn is_inline<F: Function>(_: F) -> bool {
        F::INLINE
    }
    if with_function!(activation, f => is_inline(f)) {
        [activation, Activation::Identity]
    } else {
        [Activation::Identity, activation]
    }
}

#[cfg(test)]
mod tests {
    use crate::simd::{Isa, Kernel, available, dispatch_to};

    use super::*;

    /// A kernel that applies both stages of an activation to every number.
    struct Activate<'a> {
        activation: Activation,
        values: &'a mut [f32],
    }

    impl Kernel for Activate<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let [before, after] = stages(self.activation);
            for part in self.values.chunks_mut(S::LANES) {
                // SAFETY: `part` has `part.len()` elements.
                unsafe {
                    let x = simd.load_partial(part.as_ptr(), part.len());
                    simd.store_partial(part.as_mut_ptr(), part.len(), activate(simd, before, x));
                }
            }
            activate_all(simd, after, self.values);
        }
    }

    /// Tests every instruction set, including emulated NEON.
    #[test]
    fn vectors_match_double_precision() {
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0., -0., 3., -3., 6., 1e-40, 1e30, -1e30];
        let x: Vec<f32> = (-9000..=9000).map(|i| i as f32 / 100.).chain(special).collect();
        for activation in Activation::EACH {
            for isa in available().into_iter().chain([Isa::Neon]) {
                let mut y = x.clone();
                dispatch_to(isa, Activate { activation, values: &mut y });
                for (x, y) in x.iter().zip(y) {
                    let expected = activation.value(f64::from(*x));
                    let close = (f64::from(y) - expected).abs() <= 1e-6 * expected.abs().max(1e-6);
                    let same = f64::from(y) == expected || y.is_nan() && expected.is_nan();
                    assert!(close || same, "{activation:?} of {x:e}, {isa:?}: {y:e}, not {expected:e}");
                }
            }
        }
    }
}
