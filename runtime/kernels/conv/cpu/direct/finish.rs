//! From sums to results: batch norm or bias, residual, activation, and the store.

use super::strips::Run;
use crate::kernels::activation::Activation;
use crate::kernels::conv::cpu::epilogue::activate;
use crate::kernels::simd::Simd;

/// The epilogue's operands.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// A number for each output channel, as is `shift`.
    pub scale: Option<&'a [f32]>,
    pub shift: Option<&'a [f32]>,
    /// An element for each of the output.
    pub residual: Option<&'a [f32]>,
    pub activation: Activation,
}

impl Finish<'_> {
    /// Whether all there is to do is to add a number a channel and, perhaps, to rectify.
    pub fn is_bias_and_relu(&self) -> bool {
        let simple = matches!(self.activation, Activation::Identity | Activation::Relu);
        simple && self.scale.is_none() && self.residual.is_none()
    }

    /// Turns the sums of one output channel into results, and stores them. `origin` is the place in the
    /// output that the runs count from.
    ///
    /// # Safety
    /// Every run lies within `sums` and, from `origin` on, within `output`.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(
        &self,
        simd: S,
        sums: *const f32,
        runs: &[Run],
        channel: usize,
        origin: usize,
        output: *mut f32,
    ) {
        let scale = self.scale.map(|scale| scale[channel]);
        let shift = simd.splat(self.shift.map_or(0., |shift| shift[channel]));
        for run in runs {
            let (from, to) = (run.from as usize, origin + run.to as usize);
            let residual = self.residual.map(|residual| residual[to..][..run.len as usize].as_ptr());
            let mut done = 0;
            while done < run.len as usize {
                let lanes = (run.len as usize - done).min(S::LANES);
                // SAFETY: the run has `lanes` elements more, in the sums, the output and the residual.
                unsafe {
                    let sum = load(simd, sums.add(from + done), lanes);
                    let mut value = match scale {
                        Some(scale) => simd.fma(sum, simd.splat(scale), shift),
                        None => simd.add(sum, shift),
                    };
                    if let Some(residual) = residual {
                        value = simd.add(value, load(simd, residual.add(done), lanes));
                    }
                    let value = activate(simd, self.activation, value);
                    match lanes == S::LANES {
                        true => simd.store(output.add(to + done), value),
                        false => simd.store_partial(output.add(to + done), lanes, value),
                    }
                }
                done += lanes;
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
