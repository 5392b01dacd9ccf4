//! Activations of vectors, as the kernels' epilogues apply them.

use super::Activation;
use crate::simd::Simd;

/// Returns the bounds of an activation that only clamps its input, or `None` for any other.
pub(crate) fn bounds(activation: Activation) -> Option<[f32; 2]> {
    match activation {
        Activation::Identity => Some([f32::NEG_INFINITY, f32::INFINITY]),
        Activation::Relu => Some([0., f32::INFINITY]),
        Activation::Relu6 => Some([0., 6.]),
        _ => None,
    }
}

/// Applies an activation to each lane of a vector.
#[inline(always)]
pub(crate) fn activate<S: Simd>(simd: S, activation: Activation, x: S::V) -> S::V {
    let between = |x| simd.min(simd.splat(6.), simd.max(simd.zero(), x));
    match activation {
        Activation::Identity => x,
        Activation::Relu => simd.max(simd.zero(), x),
        Activation::Relu6 => between(x),
        Activation::LeakyRelu { negative_slope } => {
            let negative = simd.min(simd.zero(), x);
            simd.fma(simd.splat(negative_slope as f32), negative, simd.max(simd.zero(), x))
        }
        Activation::Hardswish => {
            simd.mul(simd.mul(x, between(simd.add(x, simd.splat(3.)))), simd.splat(1. / 6.))
        }
        Activation::Silu | Activation::Gelu | Activation::Sigmoid | Activation::Tanh => {
            each(simd, activation, x)
        }
    }
}

/// Applies an activation that has no vector form, lane by lane.
#[inline(always)]
fn each<S: Simd>(simd: S, activation: Activation, x: S::V) -> S::V {
    let mut lanes = [0f32; 16];
    // SAFETY: no vector has more than 16 lanes.
    unsafe { simd.store(lanes.as_mut_ptr(), x) };
    activate_lanes(activation, &mut lanes[..S::LANES]);
    // SAFETY: as above.
    unsafe { simd.load(lanes.as_ptr()) }
}

/// Compiled once: there is nothing to gain from a copy for every instruction set and every caller.
#[inline(never)]
fn activate_lanes(activation: Activation, lanes: &mut [f32]) {
    lanes.iter_mut().for_each(|x| *x = activation.value(*x));
}
