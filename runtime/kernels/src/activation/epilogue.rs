//! Applies activations to a kernel's results, in registers or after they are stored.

use crate::elementwise::VectorValues;
use crate::simd::{Simd, Vector};

use super::definitions::{Activation, with_function};
use super::function::Function;

/// Returns the bounds of an activation that only clamps its input, or `None` for any other.
pub(crate) fn bounds(activation: Activation) -> Option<[f32; 2]> {
    fn of<F: Function>(_: F) -> Option<[f32; 2]> {
        F::BOUNDS
    }
    with_function!(activation, f => of(f))
}

/// Applies an activation to each lane of a vector: inline if it takes few instructions, with a call otherwise.
#[inline(always)]
pub(crate) fn activate<S: Simd>(simd: S, activation: Activation, x: S::V) -> S::V {
    with_function!(activation, f => vector(simd, f, x))
}

#[inline(always)]
fn vector<S: Simd, F: Function>(simd: S, function: F, x: S::V) -> S::V {
    if F::INLINE {
        return function.value(Vector::new(simd, x)).lanes;
    }
    let mut lanes = [0f32; 16];
    // SAFETY: no vector has more than 16 lanes.
    unsafe { simd.store(lanes.as_mut_ptr(), x) };
    simd.call(VectorValues::in_place(function, &mut lanes[..S::LANES]));
    // SAFETY: as above.
    unsafe { simd.load(lanes.as_ptr()) }
}

/// Applies an activation to numbers in memory, with one call.
#[inline(always)]
pub(crate) fn activate_all<S: Simd>(simd: S, activation: Activation, values: &mut [f32]) {
    if activation == Activation::Identity {
        return;
    }
    with_function!(activation, f => simd.call(VectorValues::in_place(f, values)));
}

/// Splits an activation into two stages: the one for [`activate`], applied to vectors before they are stored, and the
/// one for [`activate_all`], applied to stored numbers. One of the two is the identity.
#[inline(always)]
pub(crate) fn stages(activation: Activation) -> [Activation; 2] {
    fn inline<F: Function>(_: F) -> bool {
        F::INLINE
    }
    if with_function!(activation, f => inline(f)) {
        [activation, Activation::Identity]
    } else {
        [Activation::Identity, activation]
    }
}

#[cfg(test)]
mod tests {
    use crate::simd::{Isa, Kernel, available, dispatch_to};

    use super::*;

    /// A kernel that applies an activation to one vector at a time, or to all numbers in one call.
    struct Activate<'a> {
        activation: Activation,
        values: &'a mut [f32],
        in_one_call: bool,
    }

    impl Kernel for Activate<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            if self.in_one_call {
                return activate_all(simd, self.activation, self.values);
            }
            for part in self.values.chunks_mut(S::LANES) {
                // SAFETY: `part` has `part.len()` elements.
                unsafe {
                    let x = simd.load_partial(part.as_ptr(), part.len());
                    simd.store_partial(part.as_mut_ptr(), part.len(), activate(simd, self.activation, x));
                }
            }
        }
    }

    /// Tests every instruction set, including emulated NEON.
    #[test]
    fn vectors_match_double_precision() {
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0., -0., 3., -3., 6., 1e-40, 1e30, -1e30];
        let x: Vec<f32> = (-9000..=9000).map(|i| i as f32 / 100.).chain(special).collect();
        for activation in Activation::EACH {
            for (isa, in_one_call) in
                available().into_iter().chain([Isa::Neon]).flat_map(|isa| [(isa, false), (isa, true)])
            {
                let mut y = x.clone();
                dispatch_to(isa, Activate { activation, values: &mut y, in_one_call });
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
