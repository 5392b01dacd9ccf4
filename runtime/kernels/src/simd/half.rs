//! Floats of 16 bits on their way into vectors of `f32`s and back.

use super::Simd;
use half::{bf16, f16};

/// A float type of 16 bits; kernels see its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// IEEE half precision.
    F16,
    /// Brain floats.
    Bf16,
}

impl Half {
    /// The number of these bits.
    pub fn widen(self, bits: u16) -> f32 {
        match self {
            Self::F16 => f16::from_bits(bits).to_f32(),
            Self::Bf16 => bf16::from_bits(bits).to_f32(),
        }
    }

    /// The bits of the nearest number, of two equally near ones the even.
    pub fn round(self, x: f32) -> u16 {
        match self {
            Self::F16 => f16::from_f32(x).to_bits(),
            Self::Bf16 => bf16::from_f32(x).to_bits(),
        }
    }
}

/// As [`Simd::load_half`], lane by lane.
///
/// # Safety
/// As there.
#[inline(never)]
pub(super) unsafe fn load_lanes<S: Simd>(simd: S, half: Half, from: *const u16, n: usize) -> S::V {
    let mut lanes = [0.; 16];
    for (i, lane) in lanes.iter_mut().enumerate().take(n) {
        // SAFETY: `i < n`, and the caller guarantees `n` halves.
        *lane = half.widen(unsafe { *from.add(i) });
    }
    // SAFETY: no vector has more than 16 lanes.
    unsafe { simd.load(lanes.as_ptr()) }
}

/// As [`Simd::store_half`], lane by lane.
///
/// # Safety
/// As there.
#[inline(never)]
pub(super) unsafe fn store_lanes<S: Simd>(simd: S, half: Half, to: *mut u16, n: usize, v: S::V) {
    let mut lanes = [0.; 16];
    // SAFETY: no vector has more than 16 lanes.
    unsafe { simd.store(lanes.as_mut_ptr(), v) };
    for (i, x) in lanes.into_iter().take(n).enumerate() {
        // SAFETY: `i < n`, and the caller guarantees room for `n` halves.
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
                // SAFETY: the chunk has so many halves, the buffer a vector's floats.
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
            for (to, from) in all.chunks_mut(S::LANES).zip(self.1.chunks(S::LANES)) {
                // SAFETY: both chunks have `from.len()` elements.
                unsafe {
                    let v = simd.load_partial(from.as_ptr(), from.len());
                    simd.store_half(self.0, to.as_mut_ptr(), from.len(), v);
                }
            }
            all
        }
    }

    /// All bits of halves, an odd number of them so that the last vector is not whole.
    #[test]
    fn every_half_is_widened_as_the_crate_does() {
        let halves: Vec<u16> = (0..=u16::MAX).chain([0x3c00, 0x7f80, 1]).collect();
        for (isa, half) in available().into_iter().flat_map(|isa| [(isa, Half::F16), (isa, Half::Bf16)]) {
            for (bits, x) in halves.iter().zip(dispatch_to(isa, Widen(half, &halves))) {
                let wanted = half.widen(*bits);
                assert!(
                    x.to_bits() == wanted.to_bits() || (x.is_nan() && wanted.is_nan()),
                    "{isa:?} {bits:x}"
                );
            }
        }
    }

    /// Numbers of all sizes, halves and their middles among them, denormal, infinite and NaN.
    #[test]
    fn every_number_is_rounded_as_the_crate_does() {
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
                let wanted = half.round(*x);
                let both_nan = x.is_nan() && half.widen(bits).is_nan() && half.widen(wanted).is_nan();
                assert!(bits == wanted || both_nan, "{isa:?} {half:?} {x:e}: {bits:x}, not {wanted:x}");
            }
        }
    }
}
