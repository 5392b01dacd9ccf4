//! From sums to results: batch norm or bias, residual, activation, and the store.

use super::Epilogue;
use crate::activation::{Activation, activate, bounds};
use crate::simd::Simd;

/// The epilogue of a blocked output.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    scale: Option<&'a [f32]>,
    shift: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    activation: Activation,
    /// The bounds that the activation is, if it is no more.
    bounds: Option<[f32; 2]>,
    out_channels: usize,
}

/// Where the results of some pixels go: neighbours, in one or more neighbouring blocks of channels.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    /// The output, and the place in it of the first pixel in the first block.
    pub output: *mut f32,
    pub at: usize,
    /// From one block of channels to the next.
    pub block: usize,
}

/// What the sums of some blocks of channels go through.
#[derive(Clone, Copy)]
pub(super) struct Affine<S: Simd, const VECTORS: usize> {
    pub scale: [S::V; VECTORS],
    pub shift: [S::V; VECTORS],
    bounds: [S::V; 2],
    /// The lanes of the last block that are channels, where not all are.
    channels: Option<S::Mask>,
}

impl<'a> Finish<'a> {
    pub fn new(epilogue: &Epilogue<'a>, out_channels: usize) -> Self {
        let Epilogue { scale, shift, residual, activation } = *epilogue;
        Self { scale, shift, residual, activation, bounds: bounds(activation), out_channels }
    }

    /// Of the channels from `first`, which exists, on.
    #[inline(always)]
    pub fn affine<S: Simd, const VECTORS: usize>(&self, simd: S, first: usize) -> Affine<S, VECTORS> {
        let mut affine = Affine {
            scale: [simd.splat(1.); VECTORS],
            shift: [simd.zero(); VECTORS],
            bounds: self.bounds.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]).map(|bound| simd.splat(bound)),
            channels: None,
        };
        for v in 0..VECTORS {
            let channel = first + v * S::LANES;
            let lanes = self.out_channels.saturating_sub(channel).min(S::LANES);
            if lanes < S::LANES {
                affine.channels = Some(simd.mask(0, lanes));
            }
            for (vector, numbers) in [(&mut affine.scale, self.scale), (&mut affine.shift, self.shift)] {
                if let Some(numbers) = numbers {
                    // SAFETY: there are `lanes` numbers from the channel on.
                    vector[v] = unsafe { simd.load_partial(numbers[channel..].as_ptr(), lanes) };
                }
            }
        }
        affine
    }

    /// Stores the results of sums, for [`activate`](Self::activate).
    ///
    /// # Safety
    /// The spot, for `PIXELS` pixels and `VECTORS` blocks, is in the output, which the residual is as long as.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "every index is a constant, and names a register")]
    pub unsafe fn store<S: Simd, const VECTORS: usize, const PIXELS: usize>(
        &self,
        simd: S,
        mut sums: [[S::V; VECTORS]; PIXELS],
        affine: &Affine<S, VECTORS>,
        spot: Spot,
    ) {
        for p in 0..PIXELS {
            for v in 0..VECTORS {
                sums[p][v] = simd.fma(sums[p][v], affine.scale[v], affine.shift[v]);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.store_shifted(simd, sums, affine, spot) }
    }

    /// As [`store`](Self::store), of sums that have been scaled and shifted.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "every index is a constant, and names a register")]
    pub unsafe fn store_shifted<S: Simd, const VECTORS: usize, const PIXELS: usize>(
        &self,
        simd: S,
        mut sums: [[S::V; VECTORS]; PIXELS],
        affine: &Affine<S, VECTORS>,
        spot: Spot,
    ) {
        if let Some(residual) = self.residual {
            let residual = residual.as_ptr().wrapping_add(spot.at);
            for p in 0..PIXELS {
                for v in 0..VECTORS {
                    // SAFETY: the residual is as long as the output.
                    let summand = unsafe { simd.load(residual.add(v * spot.block + p * S::LANES)) };
                    sums[p][v] = simd.add(sums[p][v], summand);
                }
            }
        }
        for p in 0..PIXELS {
            for v in 0..VECTORS {
                sums[p][v] = simd.min(affine.bounds[1], simd.max(affine.bounds[0], sums[p][v]));
            }
        }
        if let Some(channels) = affine.channels {
            for p in 0..PIXELS {
                sums[p][VECTORS - 1] = simd.keep(sums[p][VECTORS - 1], channels);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { spot.store(simd, sums) }
    }

    /// Applies an activation that is more than bounds to the stored results of `pixels` pixels: apart from
    /// [`store`](Self::store), of which there is a copy for every register tile.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn activate<S: Simd, const VECTORS: usize>(
        &self,
        simd: S,
        affine: &Affine<S, VECTORS>,
        spot: Spot,
        pixels: usize,
    ) {
        if self.bounds.is_some() {
            return;
        }
        for (v, p) in (0..VECTORS).flat_map(|v| (0..pixels).map(move |p| (v, p))) {
            let place = spot.output.wrapping_add(spot.at + v * spot.block + p * S::LANES);
            // SAFETY: the caller's promise.
            unsafe {
                let mut value = activate(simd, self.activation, simd.load(place));
                if let Some(channels) = affine.channels.filter(|_| v + 1 == VECTORS) {
                    value = simd.keep(value, channels);
                }
                simd.store(place, value);
            }
        }
    }
}

impl Spot {
    /// # Safety
    /// There are `PIXELS` pixels in `VECTORS` blocks.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "every index is a constant, and names a register")]
    pub unsafe fn load<S: Simd, const VECTORS: usize, const PIXELS: usize>(
        self,
        simd: S,
    ) -> [[S::V; VECTORS]; PIXELS] {
        let mut sums = [[simd.zero(); VECTORS]; PIXELS];
        for p in 0..PIXELS {
            for v in 0..VECTORS {
                // SAFETY: the caller's promise.
                sums[p][v] = unsafe { simd.load(self.output.add(self.at + v * self.block + p * S::LANES)) };
            }
        }
        sums
    }

    /// # Safety
    /// There are `PIXELS` pixels in `VECTORS` blocks.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "every index is a constant, and names a register")]
    pub unsafe fn store<S: Simd, const VECTORS: usize, const PIXELS: usize>(
        self,
        simd: S,
        sums: [[S::V; VECTORS]; PIXELS],
    ) {
        for p in 0..PIXELS {
            for v in 0..VECTORS {
                // SAFETY: the caller's promise.
                unsafe { simd.store(self.output.add(self.at + v * self.block + p * S::LANES), sums[p][v]) };
            }
        }
    }
}
