//! From sums to results: batch norm or bias, residual, activation, and the store.

use super::operand::Call;
use super::pixels::{Output, Pixels, Source};
use crate::activation::{Activation, activate, bounds};
use crate::simd::Simd;

/// The epilogue's operands.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// A number for each output channel, as is `shift`.
    pub scale: Option<&'a [f32]>,
    pub shift: Option<&'a [f32]>,
    /// An element for each of the output.
    pub residual: Option<Source>,
    pub activation: Activation,
}

// SAFETY: the residual is only read.
unsafe impl Send for Finish<'_> {}
// SAFETY: as above.
unsafe impl Sync for Finish<'_> {}

/// What the sums of one channel go through in registers: `sum · scale + shift`, plus the residual, within
/// bounds. An activation that is more than bounds comes after it, where the results are stored.
#[derive(Clone, Copy)]
pub(super) struct Affine<V> {
    scale: V,
    pub shift: V,
    bounds: [V; 2],
}

impl<V: Copy> Affine<V> {
    #[inline(always)]
    pub fn apply<S: Simd<V = V>>(self, simd: S, sums: V) -> V {
        simd.min(self.bounds[1], simd.max(self.bounds[0], simd.fma(sums, self.scale, self.shift)))
    }
}

/// The [`Affine`]s of some channels, found without a branch.
#[derive(Clone, Copy)]
pub(super) struct Affines<'a> {
    /// A number a channel, or one for all.
    scale: &'a [f32],
    shift: &'a [f32],
    /// From one channel's number to the next, in `scale` and in `shift`.
    steps: [usize; 2],
    bounds: [f32; 2],
}

impl Affines<'_> {
    /// # Safety
    /// There is a channel `index`.
    #[inline(always)]
    pub unsafe fn get<S: Simd>(&self, simd: S, index: usize) -> Affine<S::V> {
        // SAFETY: the caller's promise; with a step of 0 the first number is read.
        let number = |i: usize, of: &[f32]| unsafe { simd.splat(*of.as_ptr().add(index * self.steps[i])) };
        Affine {
            scale: number(0, self.scale),
            shift: number(1, self.shift),
            bounds: [simd.splat(self.bounds[0]), simd.splat(self.bounds[1])],
        }
    }
}

impl<'a> Finish<'a> {
    pub fn of(call: &'a Call<'_>) -> Self {
        Self {
            scale: call.scale.as_deref(),
            shift: call.shift.as_deref(),
            residual: call.residual.map(Pixels::source),
            activation: call.activation,
        }
    }

    fn bounds(&self) -> Option<[f32; 2]> {
        bounds(self.activation)
    }

    /// Whether the activation is no more than bounds.
    pub fn is_bounded(&self) -> bool {
        self.bounds().is_some()
    }

    /// Of the channels from `first` on.
    #[inline(always)]
    pub fn affines(&self, first: usize) -> Affines<'_> {
        Affines {
            scale: self.scale.map_or(&[1.], |scale| &scale[first..]),
            shift: self.shift.map_or(&[0.], |shift| &shift[first..]),
            steps: [self.scale, self.shift].map(|numbers| numbers.is_some().into()),
            bounds: self.bounds().unwrap_or([f32::NEG_INFINITY, f32::INFINITY]),
        }
    }

    /// Stores the results of the first `lanes` sums, scaled and shifted, from `at` on in an output of f32, but for
    /// an activation that is more than bounds.
    ///
    /// # Safety
    /// The output, and with it the residual, has `lanes` elements from `at` on.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(
        &self,
        simd: S,
        sums: S::V,
        affine: Affine<S::V>,
        [at, lanes]: [usize; 2],
        output: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let value = self.limited(simd, sums, affine, [at, lanes]);
            store(simd, output.wrapping_add(at), lanes, value);
        }
    }

    /// # Safety
    /// The residual has `lanes` elements from `at` on.
    #[inline(always)]
    unsafe fn bounded<S: Simd>(&self, simd: S, sums: S::V, affine: Affine<S::V>, place: [usize; 2]) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { self.limited(simd, simd.fma(sums, affine.scale, affine.shift), affine, place) }
    }

    /// # Safety
    /// As that of [`bounded`](Self::bounded).
    #[inline(always)]
    unsafe fn limited<S: Simd>(
        &self,
        simd: S,
        mut value: S::V,
        affine: Affine<S::V>,
        [at, lanes]: [usize; 2],
    ) -> S::V {
        if let Some(residual) = self.residual {
            // SAFETY: the caller's promise.
            value = simd.add(value, unsafe { residual.at(at).load(simd, lanes) });
        }
        simd.min(affine.bounds[1], simd.max(affine.bounds[0], value))
    }

    /// As [`store`](Self::store), of sums that are neither, with any activation and in an output of any elements.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn store_activated<S: Simd>(
        &self,
        simd: S,
        sums: S::V,
        affine: Affine<S::V>,
        [at, lanes]: [usize; 2],
        output: Output,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut value = self.bounded(simd, sums, affine, [at, lanes]);
            if !self.is_bounded() {
                value = activate(simd, self.activation, value);
            }
            output.at(at).store(simd, lanes, value);
        }
    }

    /// Applies an activation that is more than bounds to `len` stored results from `at` on.
    ///
    /// # Safety
    /// The output has `len` elements from `at` on.
    #[inline(always)]
    pub unsafe fn activate<S: Simd>(&self, simd: S, [at, len]: [usize; 2], output: *mut f32) {
        if self.bounds().is_some() {
            return;
        }
        for done in (0..len).step_by(S::LANES) {
            let lanes = S::LANES.min(len - done);
            // SAFETY: `done + lanes ≤ len`.
            unsafe {
                let place = output.wrapping_add(at + done);
                store(simd, place, lanes, activate(simd, self.activation, load(simd, place, lanes)));
            }
        }
    }
}

/// # Safety
/// `from` has `lanes` floats.
#[inline(always)]
unsafe fn load<S: Simd>(simd: S, from: *const f32, lanes: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { if lanes == S::LANES { simd.load(from) } else { simd.load_partial(from, lanes) } }
}

/// # Safety
/// `to` has room for `lanes` floats.
#[inline(always)]
unsafe fn store<S: Simd>(simd: S, to: *mut f32, lanes: usize, value: S::V) {
    // SAFETY: the caller's promise.
    unsafe { if lanes == S::LANES { simd.store(to, value) } else { simd.store_partial(to, lanes, value) } }
}
