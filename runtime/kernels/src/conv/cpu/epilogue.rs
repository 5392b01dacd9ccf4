//! What happens to a sum of products before it is stored.

use super::operand::Values;
use crate::activation::Activation;
use crate::simd::Simd;
use candle_core::cpu::erf;
use std::ops::{Add, Mul};

/// A number that the portable kernel can compute with.
pub(super) trait Real: Copy + Send + Sync + Add<Output = Self> + Mul<Output = Self> {
    const ZERO: Self;
    fn activate(self, activation: Activation) -> Self;
}

macro_rules! real {
    ($type:ident, $erf:path) => {
        impl Real for $type {
            const ZERO: Self = 0.;

            #[inline]
            fn activate(self, activation: Activation) -> Self {
                // Written so that a NaN stays one: every comparison with it is false.
                let above = |bound: Self, x: Self| if x < bound { bound } else { x };
                let below = |bound: Self, x: Self| if x > bound { bound } else { x };
                match activation {
                    Activation::Identity => self,
                    Activation::Relu => above(0., self),
                    Activation::Relu6 => below(6., above(0., self)),
                    Activation::LeakyRelu { negative_slope } if self < 0. => self * negative_slope as Self,
                    Activation::LeakyRelu { .. } => self,
                    Activation::Silu => self / (1. + (-self).exp()),
                    Activation::Gelu => 0.5 * self * (1. + $erf(self * std::$type::consts::FRAC_1_SQRT_2)),
                    Activation::Sigmoid => 1. / (1. + (-self).exp()),
                    Activation::Tanh => self.tanh(),
                    Activation::Hardswish => self * below(6., above(0., self + 3.)) / 6.,
                }
            }
        }
    };
}

real!(f32, erf::erf_f32);
real!(f64, erf::erf_f64);

/// The epilogue's numbers of one output channel.
#[derive(Clone, Copy)]
pub(super) struct Scalars<T> {
    scale: Option<T>,
    shift: Option<T>,
}

impl<T: Real> Scalars<T> {
    pub(super) fn of(values: &Values<'_, T>, channel: usize) -> Self {
        let at = |vector: Option<&[T]>| vector.map(|vector| vector[channel]);
        Self { scale: at(values.scale.as_deref()), shift: at(values.shift.as_deref()) }
    }

    /// Turns sums into results, in place.
    pub(super) fn apply(self, row: &mut [T], residual: Option<&[T]>, activation: Activation) {
        if let Some(scale) = self.scale {
            row.iter_mut().for_each(|x| *x = *x * scale);
        }
        if let Some(shift) = self.shift {
            row.iter_mut().for_each(|x| *x = *x + shift);
        }
        if let Some(residual) = residual {
            row.iter_mut().zip(residual).for_each(|(x, r)| *x = *x + *r);
        }
        row.iter_mut().for_each(|x| *x = x.activate(activation));
    }
}

/// The activation of a vector of sums.
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

/// Lane by lane, for activations that have no vector form.
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
    lanes.iter_mut().for_each(|x| *x = x.activate(activation));
}
