//! The number types that kernels compute in: `f32` and `f64`.

use candle_core::WithDType;

use crate::number::Number;

/// A number type that kernels compute in.
pub trait Float: WithDType + Number {
    const ZERO: Self;
    const ONE: Self;
    const NEG_INFINITY: Self;

    fn sqrt(self) -> Self;

    /// Returns the natural logarithm.
    fn ln(self) -> Self;

    /// Returns `self` to the power `exponent`.
    fn powf(self, exponent: Self) -> Self;

    #[inline(always)]
    #[allow(clippy::eq_op)] // NaN is the only number that does not equal itself.
    fn is_nan(self) -> bool {
        self != self
    }
}

macro_rules! float {
    ($($type:ident)*) => {$(
        impl Float for $type {
            const ZERO: Self = 0.;
            const ONE: Self = 1.;
            const NEG_INFINITY: Self = $type::NEG_INFINITY;

            #[inline(always)]
            fn sqrt(self) -> Self {
                $type::sqrt(self)
            }

            #[inline(always)]
            fn ln(self) -> Self {
                $type::ln(self)
            }

            #[inline(always)]
            fn powf(self, exponent: Self) -> Self {
                $type::powf(self, exponent)
            }
        }
    )*};
}

float! { f32 f64 }
