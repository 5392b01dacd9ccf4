//! The steps of optimisers, in place: each tensor goes through memory once, and none is made.

pub mod cuda;

use super::element::{self, Element, with_element};
use super::float::Float;
use super::parallel::{cost, for_each_chunk};
use super::simd::{Kernel, Simd, dispatch_loops};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail};

const NAME: &str = "optimizer step";

/// Whether these kernels are for all of `tensors`: on the CPU, contiguous, of f32 or f64.
pub fn takes(tensors: &[&Tensor]) -> bool {
    let fits = |tensor: &&Tensor| {
        let full = matches!(tensor.dtype(), DType::F32 | DType::F64);
        full && tensor.device().is_cpu() && tensor.is_contiguous()
    };
    tensors.iter().all(fits)
}

/// `target = keep · target + share · x`, or with `x²`.
#[derive(Clone, Copy)]
pub struct Blend {
    /// The factor of `target`.
    pub keep: f64,
    /// The factor of `x`.
    pub share: f64,
    /// Use the squares of `x`.
    pub squared: bool,
}

impl Blend {
    /// The exponential moving average that keeps `keep` of itself.
    pub fn average(keep: f64) -> Self {
        Self { keep, share: 1. - keep, squared: false }
    }

    /// Updates `target` in place. Both are on the CPU, of one shape and dtype, as [`takes`] says.
    pub fn apply(&self, target: &Tensor, x: &Tensor) -> Result<()> {
        target.inplace_op2(x, self)
    }
}

/// Adam's move: `target = keep · target - rate · mean / (√square / correction + eps)`.
#[derive(Clone, Copy)]
pub struct Adaptive {
    /// The factor of `target`.
    pub keep: f64,
    /// The factor of the quotient.
    pub rate: f64,
    /// The divisor of the root.
    pub correction: f64,
    /// Added to the denominator.
    pub eps: f64,
}

impl Adaptive {
    /// Updates `target` in place. All are on the CPU, of one shape and dtype, as [`takes`] says.
    pub fn apply(&self, target: &Tensor, mean: &Tensor, square: &Tensor) -> Result<()> {
        target.inplace_op3(mean, square, self)
    }
}

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, target: &mut CpuStorage, to: &Layout, x: &CpuStorage, from: &Layout) -> Result<()> {
        with_element!(NAME, target.dtype(), E => {
            let x = whole::<E>(x, from)?;
            for_each_chunk(whole_mut::<E>(target, to)?, cost::PASS, |i, target| {
                let x = &x[i * cost::PASS..][..target.len()];
                dispatch_loops(Blending { blend: self, target, x });
            });
            Ok(())
        })
    }
}

impl InplaceOp3 for Adaptive {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        to: &Layout,
        mean: &CpuStorage,
        mean_layout: &Layout,
        square: &CpuStorage,
        square_layout: &Layout,
    ) -> Result<()> {
        with_element!(NAME, target.dtype(), E => {
            let (mean, square) = (whole::<E>(mean, mean_layout)?, whole::<E>(square, square_layout)?);
            for_each_chunk(whole_mut::<E>(target, to)?, cost::PASS, |i, target| {
                let range = i * cost::PASS..i * cost::PASS + target.len();
                let (mean, square) = (&mean[range.clone()], &square[range]);
                dispatch_loops(Moving { adaptive: self, target, mean, square });
            });
            Ok(())
        })
    }
}

fn whole<'a, E: Element>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [E]> {
    element::elements(storage, layout)
}

fn whole_mut<'a, E: Element>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [E]> {
    match element::span(layout) {
        Some(span) => Ok(&mut E::slice_mut(storage)?[span]),
        None => bail!("{NAME}: expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

struct Blending<'a, E> {
    blend: &'a Blend,
    target: &'a mut [E],
    x: &'a [E],
}

impl<E: Element> Kernel for Blending<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Blend { keep, share, squared } = *self.blend;
        let (keep, share) = (E::from_f64(keep), E::from_f64(share));
        let pairs = self.target.iter_mut().zip(self.x);
        match squared {
            true => pairs.for_each(|(target, x)| *target = *target * keep + *x * *x * share),
            false => pairs.for_each(|(target, x)| *target = *target * keep + *x * share),
        }
    }
}

struct Moving<'a, E> {
    adaptive: &'a Adaptive,
    target: &'a mut [E],
    mean: &'a [E],
    square: &'a [E],
}

impl<E: Element> Kernel for Moving<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Adaptive { keep, rate, correction, eps } = *self.adaptive;
        let [keep, rate, correction, eps] = [keep, rate, 1. / correction, eps].map(E::from_f64);
        for (target, (mean, square)) in self.target.iter_mut().zip(self.mean.iter().zip(self.square)) {
            *target = *target * keep - *mean * rate / (Float::sqrt(*square) * correction + eps);
        }
    }
}
