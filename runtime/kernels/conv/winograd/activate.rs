//! An activation of a whole vector.

use crate::kernels::activation::Activation;
use crate::kernels::simd::Simd;
use candle_core::cpu::erf::erf_f32;

/// The widest vector of all instruction sets.
const WIDEST: usize = 16;

/// `activation(x)` in every lane; NaN where `x` is NaN.
#[inline(always)]
pub(super) fn activate<S: Simd>(simd: S, activation: Activation, x: S::V) -> S::V {
    match activation {
        Activation::Identity => x,
        Activation::Relu => simd.max(simd.zero(), x),
        Activation::Relu6 => simd.min(simd.splat(6.), simd.max(simd.zero(), x)),
        Activation::LeakyRelu { negative_slope } => {
            let negative = simd.min(simd.zero(), x);
            simd.fma(simd.splat(negative_slope as f32), negative, simd.max(simd.zero(), x))
        }
        Activation::Hardswish => {
            let gate = simd.min(simd.splat(6.), simd.max(simd.zero(), simd.add(x, simd.splat(3.))));
            simd.mul(simd.mul(x, gate), simd.splat(1. / 6.))
        }
        Activation::Silu | Activation::Gelu | Activation::Sigmoid | Activation::Tanh => {
            let mut lanes = [0.; WIDEST];
            // SAFETY: no vector is wider than the array.
            unsafe { simd.store(lanes.as_mut_ptr(), x) };
            transcendental(activation, &mut lanes[..S::LANES]);
            // SAFETY: as above.
            unsafe { simd.load(lanes.as_ptr()) }
        }
    }
}

/// The activations that need a function of the mathematics library.
#[inline(never)]
fn transcendental(activation: Activation, lanes: &mut [f32]) {
    for x in lanes {
        *x = match activation {
            Activation::Silu => *x / (1. + (-*x).exp()),
            Activation::Sigmoid => 1. / (1. + (-*x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::Gelu => 0.5 * *x * (1. + erf_f32(*x * std::f32::consts::FRAC_1_SQRT_2)),
            _ => *x,
        }
    }
}
