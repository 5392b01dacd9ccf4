//! Conversion between 16-bit floats and vectors of `f32`s.

use half::{bf16, f16};

use super::Simd;

/// A 16-bit float type. Kernels hold its elements as `u16` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// IEEE 754 half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Half {
    /// Returns the number with these bits.
    pub fn widen(self, bits: u16) -> f32 {
        match self {
            Self::F16 => f16::from_bits(bits).to_f32(),
            Self::Bf16 => bf16::from_bits(bits).to_f32(),
        }
    }

    /// Returns the bits of the nearest number, ties to even.
    pub fn round(self, x: f32) -> u16 {
        match self {
            Self::F16 => f16::from_f32(x).to_bits(),
            Self::Bf16 => bf16::from_f32(x).to_bits(),
        }
    }
}

/// Implements [`Simd::load_half`] lane by lane.
///
/// # Safety
/// `n` numbers must be in bounds, and `n ≤ LANES`.
#[inline(never)]
pub(super) unsafe fn load_lanes<S: Simd>(simd: S, half: Half, from: *const u16, n: usize) -> S::V {
    let mut lanes = [0.; 16];
    for (i, lane) in lanes.iter_mut().enumerate().take(n) {
        // SAFETY: `i < n`, and the caller guarantees `n` numbers.
        *lane = half.widen(unsafe { *from.add(i) });
    }
    // SAFETY: no vector has more than 16 lanes.
    unsafe { simd.load(lanes.as_ptr()) }
}

/// Implements [`Simd::store_half`] lane by lane.
///
/// # Safety
/// `n` numbers must be in bounds, and `n ≤ LANES`.
#[inline(never)]
pub(super) unsafe fn store_lanes<S: Simd>(simd: S, half: Half, to: *mut u16, n: usize, v: S::V) {
    let mut lanes = [0.; 16];
    // SAFETY: no vector has more than 16 lanes.
    unsafe { simd.store(lanes.as_mut_ptr(), v) };
    for (i, x) in lanes.into_iter().take(n).enumerate() {
        // SAFETY: `i < n`, and the caller guarantees space for `n` numbers.
        unsafe { *to.add(i) = half.round(x) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kernel, Simd, available, dispatch_to};
    use super::Half;

    struct Widen<'a>(Half, &'a [u16]);

    impl Kernel for Widen<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut lanes = vec![0.; S::LANES];
            let mut all = vec![];
            for halves in self.1.chunks(S::LANES) {
                // SAFETY: the chunk has `halves.len()` halves, and the buffer has `LANES` floats.
                unsafe {
                    let v = simd.load_half(self.0, halves.as_ptr(), halves.len());
                    simd.store(lanes.as_mut_ptr(), v);
                }
                all.extend_from_slice(&lanes[..halves.len()]);
                assert!(lanes[halves.len()..].iter().all(|x| *x == 0.));
            }
            all
        }
    }

    struct Round<'a>(Half, &'a [f32]);

    impl Kernel for Round<'_> {
        type Output = Vec<u16>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<u16> {
            let mut all = vec![0; self.1.len()];
            for (halves, x) in all.chunks_mut(S::LANES).zip(self.1.chunks(S::LANES)) {
                // SAFETY: both chunks have `x.len()` elements.
                unsafe {
                    let v = simd.load_partial(x.as_ptr(), x.len());
                    simd.store_half(self.0, halves.as_mut_ptr(), x.len(), v);
                }
            }
            all
        }
    }

    /// Tests every bit pattern, then three of them again, so that the last vector is partial.
    #[test]
    fn widening_matches_the_half_crate() {
        let halves: Vec<u16> = (0..=u16::MAX).chain([0x3c00, 0x7f80, 1]).collect();
        for (isa, half) in available().into_iter().flat_map(|isa| [(isa, Half::F16), (isa, Half::Bf16)]) {
            for (bits, x) in halves.iter().zip(dispatch_to(isa, Widen(half, &halves))) {
                let expected = half.widen(*bits);
                assert!(
                    x.to_bits() == expected.to_bits() || (x.is_nan() && expected.is_nan()),
                    "{isa:?} {bits:x}"
                );
            }
        }
    }

    /// Tests numbers of all magnitudes: halves, midpoints between halves, denormal and infinite numbers, and NaN.
    #[test]
    fn rounding_matches_the_half_crate() {
        let mut bits: Vec<u32> = (0..200_000u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
        bits.extend(
            (0..=u16::MAX)
                .flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001].map(|low| u32::from(high) << 16 | low)),
        );
        bits.extend((0..=u16::MAX).step_by(3).map(|h| Half::F16.widen(h).to_bits().wrapping_add(1 << 12)));
        bits.push(7);
        let numbers: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for (isa, half) in available().into_iter().flat_map(|isa| [(isa, Half::F16), (isa, Half::Bf16)]) {
            for (x, bits) in numbers.iter().zip(dispatch_to(isa, Round(half, &numbers))) {
                let expected = half.round(*x);
                let both_nan = x.is_nan() && half.widen(bits).is_nan() && half.widen(expected).is_nan();
                assert!(bits == expected || both_nan, "{isa:?} {half:?} {x:e}: {bits:x}, not {expected:x}");
            }
        }
    }
}
