//! The elements of planes as they are stored: f32, f64, f16 or bf16. Halves are widened to f32 when they are loaded,
//! and sums are rounded when they are stored.

use std::mem::MaybeUninit;

use candle_core::WithDType;
use half::{bf16, f16};

use crate::simd::{Half, Lanes, Real};

/// An element type of planes.
pub(crate) trait Stored: WithDType {
    /// The number type that the kernels compute in.
    type Real: Real + Stored<Real = Self::Real>;

    /// Loads the first elements of a slice: a vector, or the whole slice if it is shorter.
    fn load<L: Lanes<Real = Self::Real>>(lanes: L, slice: &[Self]) -> L::V;

    /// Stores a vector in a slice, or its first `slice.len()` lanes if the slice is shorter.
    fn store<L: Lanes<Real = Self::Real>>(lanes: L, slice: &mut [MaybeUninit<Self>], v: L::V);
}

macro_rules! real {
    ($($real:ident)*) => {$(
        impl Stored for $real {
            type Real = Self;

            #[inline(always)]
            fn load<L: Lanes<Real = Self>>(lanes: L, slice: &[Self]) -> L::V {
                // SAFETY: the full load runs only if the slice has `LANES` elements; the partial load reads
                // `slice.len()`.
                unsafe {
                    if slice.len() >= L::LANES {
                        lanes.load(slice.as_ptr())
                    } else {
                        lanes.load_partial(slice.as_ptr(), slice.len())
                    }
                }
            }

            #[inline(always)]
            fn store<L: Lanes<Real = Self>>(lanes: L, slice: &mut [MaybeUninit<Self>], v: L::V) {
                let start = slice.as_mut_ptr().cast();
                // SAFETY: the full store runs only if the slice has `LANES` elements; the partial store writes
                // `slice.len()`.
                unsafe {
                    if slice.len() >= L::LANES {
                        lanes.store(start, v);
                    } else {
                        lanes.store_partial(start, slice.len(), v);
                    }
                }
            }
        }
    )*};
}

macro_rules! half {
    ($($half:ident $format:ident)*) => {$(
        impl Stored for $half {
            type Real = f32;

            #[inline(always)]
            fn load<L: Lanes<Real = f32>>(lanes: L, slice: &[Self]) -> L::V {
                // SAFETY: the slice has `slice.len()` numbers of 16 bits, each of which is stored as its bits.
                unsafe { lanes.load_half(Half::$format, slice.as_ptr().cast(), slice.len().min(L::LANES)) }
            }

            #[inline(always)]
            fn store<L: Lanes<Real = f32>>(lanes: L, slice: &mut [MaybeUninit<Self>], v: L::V) {
                // SAFETY: as in `load`.
                unsafe {
                    lanes.store_half(Half::$format, slice.as_mut_ptr().cast(), slice.len().min(L::LANES), v);
                }
            }
        }
    )*};
}

real! { f32 f64 }
half! { f16 F16 bf16 Bf16 }
