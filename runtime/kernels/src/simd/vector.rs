//! A vector together with its instruction set, for formulas that are generic over numbers and vectors.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::number::{Number, single_functions};

use super::Simd;
use super::math::Single;

/// The lanes of a vector, with the token of their instruction set.
#[derive(Clone, Copy)]
pub struct Vector<S: Simd> {
    simd: S,
    pub lanes: S::V,
}

impl<S: Simd> Vector<S> {
    #[inline(always)]
    pub fn new(simd: S, lanes: S::V) -> Self {
        Self { simd, lanes }
    }

    #[inline(always)]
    fn with(self, lanes: S::V) -> Self {
        Self { lanes, ..self }
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident)*) => {$(
        impl<S: Simd> $operator for Vector<S> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.with(self.simd.$method(self.lanes, other.lanes))
            }
        }
    )*};
}

operators! { Add add Sub sub Mul mul Div div }

impl<S: Simd> Neg for Vector<S> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        self * self.splat(-1.)
    }
}

impl<S: Simd> Number for Vector<S> {
    #[inline(always)]
    fn splat(self, x: f64) -> Self {
        self.with(self.simd.splat(x as f32))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.copysign(self.splat(0.))
    }
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        self.with(self.simd.max(bound.lanes, self.lanes))
    }
    #[inline(always)]
    fn at_most(self, bound: Self) -> Self {
        self.with(self.simd.min(bound.lanes, self.lanes))
    }
    #[inline(always)]
    fn where_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        self.with(self.simd.pick_less(self.lanes, bound.lanes, then.lanes, otherwise.lanes))
    }
    #[inline(always)]
    fn where_at_most(self, bound: Self, then: Self, otherwise: Self) -> Self {
        self.with(self.simd.pick_at_most(self.lanes, bound.lanes, then.lanes, otherwise.lanes))
    }
    single_functions!();
}

impl<S: Simd> Single for Vector<S> {
    const FUSED: bool = S::FUSED;

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        self.with(self.simd.fma(self.lanes, factor.lanes, summand.lanes))
    }
    #[inline(always)]
    fn round(self) -> Self {
        self.with(self.simd.round(self.lanes))
    }
    #[inline(always)]
    fn ldexp(self, exponent: Self) -> Self {
        self.with(self.simd.ldexp(self.lanes, exponent.lanes))
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        self.with(self.simd.copysign(self.lanes, sign.lanes))
    }
}
