//! In-place optimizer steps: one pass over each tensor, without intermediate tensors.

pub mod cuda;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail};

use super::element::{self, Element, with_element};
use super::float::Float;
use super::parallel::{cost, for_each_chunk};
use super::simd::{Kernel, Simd, dispatch_loops};

const NAME: &str = "optimizer step";

/// Returns `true` if the kernels support all `tensors`: each is contiguous, on the CPU, and has the dtype f32 or f64.
pub fn supports(tensors: &[&Tensor]) -> bool {
    let fits = |tensor: &&Tensor| {
        let float = matches!(tensor.dtype(), DType::F32 | DType::F64);
        float && tensor.device().is_cpu() && tensor.is_contiguous()
    };
    tensors.iter().all(fits)
}

/// The in-place update `target = keep · target + share · x`, or with `x²` instead of `x`.
#[derive(Clone, Copy)]
pub struct Blend {
    /// The factor of the previous value of `target`. In a moving average, this is the decay rate.
    pub keep: f64,
    /// The factor of `x` (or of `x²`). In a moving average, this is `1 - keep`.
    pub share: f64,
    /// Whether to use `x²` instead of `x`.
    pub squared: bool,
}

impl Blend {
    /// Returns the update of an exponential moving average with the decay rate `keep`.
    pub fn average(keep: f64) -> Self {
        Self { keep, share: 1. - keep, squared: false }
    }

    /// Updates `target` in place. Both tensors must have the same shape and dtype, and be [supported](supports).
    ///
    /// # Errors
    /// Fails if a tensor is not on the CPU or not contiguous, or the dtypes differ or are not f32 or f64.
    pub fn apply(&self, target: &Tensor, x: &Tensor) -> Result<()> {
        target.inplace_op2(x, self)
    }
}

/// The last part of a step of Adam, the in-place update
/// `target = keep · target - rate · mean / (√square / correction + eps)`.
#[derive(Clone, Copy)]
pub struct AdamUpdate {
    /// The factor of the previous value of `target`: `1 - learning rate · weight decay` with decoupled weight decay
    /// (AdamW), otherwise 1.
    pub keep: f64,
    /// The learning rate, divided by the bias correction of `mean`.
    pub rate: f64,
    /// The divisor of `√square`: the square root of the bias correction of `square`.
    pub correction: f64,
    /// The number added to the denominator, which keeps it from being zero.
    pub eps: f64,
}

impl AdamUpdate {
    /// Updates `target` in place. All tensors must have the same shape and dtype, and be [supported](supports).
    ///
    /// # Errors
    /// Fails if a tensor is not on the CPU or not contiguous, or the dtypes differ or are not f32 or f64.
    pub fn apply(&self, target: &Tensor, mean: &Tensor, square: &Tensor) -> Result<()> {
        target.inplace_op3(mean, square, self)
    }
}

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        with_element!(NAME, target.dtype(), E => {
            let x = element::elements::<E>(x, x_layout)?;
            for_each_chunk(elements_mut::<E>(target, target_layout)?, cost::MIN_ELEMENTS, |i, target| {
                let x = &x[i * cost::MIN_ELEMENTS..][..target.len()];
                dispatch_loops(BlendKernel { blend: self, target, x });
            });
            Ok(())
        })
    }
}

impl InplaceOp3 for AdamUpdate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        mean: &CpuStorage,
        mean_layout: &Layout,
        square: &CpuStorage,
        square_layout: &Layout,
    ) -> Result<()> {
        with_element!(NAME, target.dtype(), E => {
            let mean = element::elements::<E>(mean, mean_layout)?;
            let square = element::elements::<E>(square, square_layout)?;
            for_each_chunk(elements_mut::<E>(target, target_layout)?, cost::MIN_ELEMENTS, |i, target| {
                let range = i * cost::MIN_ELEMENTS..i * cost::MIN_ELEMENTS + target.len();
                let mean = &mean[range.clone()];
                let square = &square[range];
                dispatch_loops(AdamKernel { update: self, target, mean, square });
            });
            Ok(())
        })
    }
}

/// Returns the elements of a contiguous layout.
fn elements_mut<'a, E: Element>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [E]> {
    match element::span(layout) {
        Some(span) => Ok(&mut E::slice_mut(storage)?[span]),
        None => bail!("{NAME}: expected a contiguous tensor, found strides {:?}", layout.stride()),
    }
}

struct BlendKernel<'a, E> {
    blend: &'a Blend,
    target: &'a mut [E],
    x: &'a [E],
}

impl<E: Element> Kernel for BlendKernel<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Blend { keep, share, squared } = *self.blend;
        let keep = E::from_f64(keep);
        let share = E::from_f64(share);
        let pairs = self.target.iter_mut().zip(self.x);
        if squared {
            pairs.for_each(|(target, x)| *target = *target * keep + *x * *x * share);
        } else {
            pairs.for_each(|(target, x)| *target = *target * keep + *x * share);
        }
    }
}

struct AdamKernel<'a, E> {
    update: &'a AdamUpdate,
    target: &'a mut [E],
    mean: &'a [E],
    square: &'a [E],
}

impl<E: Element> Kernel for AdamKernel<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let AdamUpdate { keep, rate, correction, eps } = *self.update;
        let [keep, rate, correction, eps] = [keep, rate, 1. / correction, eps].map(E::from_f64);
        for (target, (mean, square)) in self.target.iter_mut().zip(self.mean.iter().zip(self.square)) {
            *target = *target * keep - *mean * rate / (Float::sqrt(*square) * correction + eps);
        }
    }
}
