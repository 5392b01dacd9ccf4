//! The epilogue: computes `activation((sum · scale + shift) + residual)` and stores the results.
//!
//! An activation that only clamps is applied in registers. Some kernels also apply an activation of a few instructions
//! in registers. Other activations are applied to many stored numbers at a time, in a buffer or in the output, while
//! the numbers are in the L1 cache.

use crate::activation::Activation;
use crate::activation::{activate, activate_all, bounds, stages};
use crate::simd::Simd;

use super::elements::{ElementPtr, Elements, OutputPtr};
use super::operand::Call;

/// The epilogue of one call.
#[derive(Clone, Copy)]
pub(super) struct EpilogueWriter<'a> {
    /// One number per output channel.
    scale: Option<&'a [f32]>,
    /// One number per output channel.
    shift: Option<&'a [f32]>,
    /// The residual, with the length and layout of the output.
    residual: Option<ElementPtr>,
    activation: Activation,
    /// The bounds of an activation that only clamps, or `None` for any other activation.
    bounds: Option<[f32; 2]>,
    out_channels: usize,
}

/// The scale and the shift that are applied to vectors of sums, and the bounds of the activation.
#[derive(Clone, Copy)]
pub(super) struct Affine<S: Simd, const VECTORS: usize> {
    pub scale: [S::V; VECTORS],
    pub shift: [S::V; VECTORS],
    bounds: [S::V; 2],
    /// The lanes of the last vector that are channels of the output, or `None` if no lane is padding.
    channels: Option<S::Mask>,
}

/// The [`Affine`]s of consecutive channels, each broadcast to all lanes. [`get`](Self::get) needs no branch.
#[derive(Clone, Copy)]
pub(super) struct ChannelAffines<'a> {
    /// One number per channel, or a single number for all channels.
    scale: &'a [f32],
    /// One number per channel, or a single number for all channels.
    shift: &'a [f32],
    /// The distance from one channel's number to the next, in `scale` and in `shift`: 1, or 0 for a shared number.
    steps: [usize; 2],
    bounds: [f32; 2],
}

/// The destination of a register tile with lanes over channels: consecutive pixels in consecutive blocks of channels.
#[derive(Clone, Copy)]
pub(super) struct Destination {
    pub output: *mut f32,
    /// The offset of the first pixel in the first block.
    pub at: usize,
    /// The distance from one block of channels to the next.
    pub block: usize,
}

const UNBOUNDED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

impl ChannelAffines<'_> {
    /// Returns the [`Affine`] of the channel `index`.
    ///
    /// # Safety
    /// The channel `index` exists.
    #[inline(always)]
    pub unsafe fn get<S: Simd>(&self, simd: S, index: usize) -> Affine<S, 1> {
        // SAFETY: the channel exists, as the caller guarantees. A step of 0 reads the first number.
        let number =
            |i: usize, from: &[f32]| unsafe { simd.splat(*from.as_ptr().add(index * self.steps[i])) };
        Affine {
            scale: [number(0, self.scale)],
            shift: [number(1, self.shift)],
            bounds: [simd.splat(self.bounds[0]), simd.splat(self.bounds[1])],
            channels: None,
        }
    }
}

impl<S: Simd, const VECTORS: usize> Affine<S, VECTORS> {
    /// Returns the sums, scaled and shifted.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "every index is a constant that selects a register")]
    pub fn shifted<const PIXELS: usize>(
        &self,
        simd: S,
        mut sums: [[S::V; VECTORS]; PIXELS],
    ) -> [[S::V; VECTORS]; PIXELS] {
        for p in 0..PIXELS {
            for v in 0..VECTORS {
                sums[p][v] = simd.fma(sums[p][v], self.scale[v], self.shift[v]);
            }
        }
        sums
    }

    /// Clamps to the bounds of the activation.
    #[inline(always)]
    pub fn clamp(&self, simd: S, value: S::V) -> S::V {
        simd.min(self.bounds[1], simd.max(self.bounds[0], value))
    }
}

impl<'a> EpilogueWriter<'a> {
    pub fn new(call: &Call<'a>, out_channels: usize) -> Self {
        Self {
            scale: call.scale,
            shift: call.shift,
            residual: call.residual.map(Elements::as_ptr),
            activation: call.activation,
            bounds: bounds(call.activation),
            out_channels,
        }
    }

    /// Returns `true` if the epilogue consists only of scale, shift and bounds.
    pub fn is_affine(&self) -> bool {
        self.bounds.is_some() && self.residual.is_none()
    }

    /// Returns the [`Affine`]s of the channels `first..out_channels`.
    #[inline(always)]
    pub fn channels(&self, first: usize) -> ChannelAffines<'_> {
        ChannelAffines {
            scale: self.scale.map_or(&[1.], |scale| &scale[first..]),
            shift: self.shift.map_or(&[0.], |shift| &shift[first..]),
            steps: [self.scale, self.shift].map(|numbers| numbers.is_some().into()),
            bounds: self.bounds.unwrap_or(UNBOUNDED),
        }
    }

    /// Returns the [`Affine`] of the channels `first..first + VECTORS · LANES`. At least the channel `first` must
    /// exist.
    #[inline(always)]
    pub fn vectors<S: Simd, const VECTORS: usize>(&self, simd: S, first: usize) -> Affine<S, VECTORS> {
        let mut affine = Affine {
            scale: [simd.splat(1.); VECTORS],
            shift: [simd.zero(); VECTORS],
            bounds: self.bounds.unwrap_or(UNBOUNDED).map(|bound| simd.splat(bound)),
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
                    // SAFETY: `numbers` has one number per channel, so at least `lanes` from `channel` on.
                    vector[v] = unsafe { simd.load_partial(numbers[channel..].as_ptr(), lanes) };
                }
            }
        }
        affine
    }

    /// Returns `true` if the activation takes so many instructions that it is applied in a pass over stored numbers.
    pub fn has_activation_pass(&self) -> bool {
        stages(self.activation)[1] != Activation::Identity
    }

    /// Applies the activation to stored numbers if [`has_activation_pass`](Self::has_activation_pass) returns `true`.
    #[inline(always)]
    pub fn run_activation_pass<S: Simd>(&self, simd: S, values: &mut [f32]) {
        activate_all(simd, stages(self.activation)[1], values);
    }

    /// Returns scaled and shifted sums after adding the residual and clamping. The sums belong to the output elements
    /// `at..at + lanes` of one channel. With `ACTIVATE`, also applies the activation if it takes only a few
    /// instructions.
    ///
    /// # Safety
    /// The output and the residual have the elements `at..at + lanes`.
    #[inline(always)]
    pub unsafe fn combine<S: Simd, const ACTIVATE: bool>(
        &self,
        simd: S,
        shifted: S::V,
        affine: &Affine<S, 1>,
        [at, lanes]: [usize; 2],
    ) -> S::V {
        let mut value = shifted;
        if let Some(residual) = self.residual {
            // SAFETY: guaranteed by the caller.
            value = simd.add(value, unsafe { residual.at(at).load(simd, lanes) });
        }
        value = affine.clamp(simd, value);
        if ACTIVATE && self.bounds.is_none() {
            value = activate(simd, stages(self.activation)[0], value);
        }
        value
    }

    /// Stores the result of [`combine`](Self::combine) in the output elements `at..at + lanes`. Without `ACTIVATE`, the
    /// caller must call [`activate_pixels`](Self::activate_pixels) on the stored results.
    ///
    /// # Safety
    /// The output and the residual have the elements `at..at + lanes`. No other task accesses them.
    #[inline(always)]
    pub unsafe fn store_pixels<S: Simd, const ACTIVATE: bool>(
        &self,
        simd: S,
        shifted: S::V,
        affine: &Affine<S, 1>,
        [at, lanes]: [usize; 2],
        output: OutputPtr,
    ) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let value = self.combine::<S, ACTIVATE>(simd, shifted, affine, [at, lanes]);
            output.at(at).store(simd, lanes, value);
        }
    }

    /// Applies the activation to the stored results `at..at + len`, unless it only clamps.
    ///
    /// # Safety
    /// The elements `at..at + len` of the output are initialized, and no other thread accesses them.
    #[inline(always)]
    pub unsafe fn activate_pixels<S: Simd>(&self, simd: S, [at, len]: [usize; 2], output: *mut f32) {
        if self.bounds.is_some() {
            return;
        }
        // SAFETY: guaranteed by the caller.
        let results = unsafe { std::slice::from_raw_parts_mut(output.wrapping_add(at), len) };
        activate_all(simd, self.activation, results);
    }

    /// Adds the residual to scaled and shifted sums with lanes over channels, clamps them to the bounds and stores
    /// them. The caller must call [`activate_vectors`](Self::activate_vectors) on the stored results.
    ///
    /// # Safety
    /// `PIXELS` pixels in `VECTORS` blocks of channels, starting at `to`, lie in the output. The residual has the
    /// output's length.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "every index is a constant that selects a register")]
    pub unsafe fn store_vectors<S: Simd, const VECTORS: usize, const PIXELS: usize>(
        &self,
        simd: S,
        mut sums: [[S::V; VECTORS]; PIXELS],
        affine: &Affine<S, VECTORS>,
        to: Destination,
    ) {
        debug_assert!(
            !matches!(self.residual, Some(ElementPtr::Half(..))),
            "expected an f32 residual with an `Nchwc` output"
        );
        if let Some(ElementPtr::F32(residual)) = self.residual {
            let residual = residual.wrapping_add(to.at);
            for p in 0..PIXELS {
                for v in 0..VECTORS {
                    // SAFETY: the destination is in the output, and the residual has the output's length.
                    let addend = unsafe { simd.load(residual.add(v * to.block + p * S::LANES)) };
                    sums[p][v] = simd.add(sums[p][v], addend);
                }
            }
        }
        for p in 0..PIXELS {
            for v in 0..VECTORS {
                sums[p][v] = affine.clamp(simd, sums[p][v]);
            }
        }
        if let Some(channels) = affine.channels {
            for p in 0..PIXELS {
                sums[p][VECTORS - 1] = simd.keep_lanes(sums[p][VECTORS - 1], channels);
            }
        }
        // SAFETY: guaranteed by the caller.
        unsafe { to.store(simd, sums) }
    }

    /// Applies the activation to the stored results of `pixels` pixels, unless it only clamps. This function is
    /// separate from [`store_vectors`](Self::store_vectors), which is compiled for every size of register tile, to keep
    /// the code small.
    ///
    /// # Safety
    /// `pixels` pixels in `VECTORS` blocks of channels, starting at `to`, lie in the output and are stored. No other
    /// thread accesses them.
    #[inline(always)]
    pub unsafe fn activate_vectors<S: Simd, const VECTORS: usize>(
        &self,
        simd: S,
        affine: &Affine<S, VECTORS>,
        to: Destination,
        pixels: usize,
    ) {
        if self.bounds.is_some() {
            return;
        }
        for v in 0..VECTORS {
            let first = to.output.wrapping_add(to.at + v * to.block);
            // SAFETY: guaranteed by the caller.
            let results = unsafe { std::slice::from_raw_parts_mut(first, pixels * S::LANES) };
            activate_all(simd, self.activation, results);
            // Padding lanes must be zero, but an activation can turn zero into another number.
            if let Some(channels) = affine.channels.filter(|_| v + 1 == VECTORS) {
                for p in 0..pixels {
                    let pixel = first.wrapping_add(p * S::LANES);
                    // SAFETY: as above.
                    unsafe { simd.store(pixel, simd.keep_lanes(simd.load(pixel), channels)) }
                }
            }
        }
    }
}

impl Destination {
    /// Stores sums in the destination.
    ///
    /// # Safety
    /// The destination has `PIXELS` pixels in `VECTORS` blocks.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "every index is a constant that selects a register")]
    pub unsafe fn store<S: Simd, const VECTORS: usize, const PIXELS: usize>(
        self,
        simd: S,
        sums: [[S::V; VECTORS]; PIXELS],
    ) {
        for p in 0..PIXELS {
            for v in 0..VECTORS {
                // SAFETY: guaranteed by the caller.
                unsafe { simd.store(self.output.add(self.at + v * self.block + p * S::LANES), sums[p][v]) };
            }
        }
    }
}
