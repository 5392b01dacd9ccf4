//! The loops over the elements of one row.

use crate::element::Element;
use crate::float::Float;
use crate::simd::{Kernel, Simd};

/// A mean, stored as the sum of two numbers, so that `x - mean` is as precise as the elements. A mean near 10⁴ that is
/// rounded to a single f32 has an error of up to 5·10⁻⁴.
#[derive(Clone, Copy)]
pub(super) struct SplitMean<F> {
    high: F,
    low: F,
}

impl<F: Float> SplitMean<F> {
    pub fn new(mean: f64) -> Self {
        let high = F::from_f64(mean);
        Self { high, low: F::from_f64(mean - high.to_f64()) }
    }

    /// Returns `x - mean`.
    #[inline(always)]
    fn deviation(self, x: F) -> F {
        x - self.high - self.low
    }
}

/// Computes `y = (x - mean) · scale · weight + bias`.
pub(super) struct Forward<'a, E: Element> {
    pub elements_per_parameter: usize,
    pub mean: SplitMean<E>,
    pub scale: E,
    pub weight: &'a [E],
    pub bias: &'a [E],
    pub x: &'a [E],
    pub y: &'a mut [E],
}

impl<E: Element> Kernel for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { elements_per_parameter, mean, scale, weight, bias, x, y } = self;
        let parameters = weight.iter().zip(bias);
        if elements_per_parameter == 1 {
            for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(parameters) {
                *y = mean.deviation(*x) * scale * *weight + *bias;
            }
            return;
        }
        let runs = y.chunks_exact_mut(elements_per_parameter).zip(x.chunks_exact(elements_per_parameter));
        for ((y, x), (weight, bias)) in runs.zip(parameters) {
            let scale = scale * *weight;
            for (y, x) in y.iter_mut().zip(x) {
                *y = mean.deviation(*x) * scale + *bias;
            }
        }
    }
}

/// Computes `grad · weight`.
pub(super) struct WeightedGradient<'a, E: Element> {
    pub elements_per_parameter: usize,
    pub weight: &'a [E],
    pub grad: &'a [E],
    pub out: &'a mut [f64],
}

impl<E: Element> Kernel for WeightedGradient<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        if self.elements_per_parameter == 1 {
            for ((out, grad), weight) in self.out.iter_mut().zip(self.grad).zip(self.weight) {
                *out = (*grad * *weight).to_f64();
            }
            return;
        }
        let runs = self
            .out
            .chunks_exact_mut(self.elements_per_parameter)
            .zip(self.grad.chunks_exact(self.elements_per_parameter));
        for ((out, grad), weight) in runs.zip(self.weight) {
            for (out, grad) in out.iter_mut().zip(grad) {
                *out = (*grad * *weight).to_f64();
            }
        }
    }
}

/// Computes `dx = (g - shift - (x - mean) · slope) · scale`, where `g` is the weighted gradient.
pub(super) struct Backward<'a, E: Element> {
    pub mean: SplitMean<E>,
    pub shift: E,
    pub slope: E,
    pub scale: E,
    pub weighted: &'a [f64],
    pub x: &'a [E],
    pub dx: &'a mut [E],
}

impl<E: Element> Kernel for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { mean, shift, slope, scale, weighted, x, dx } = self;
        for ((dx, x), g) in dx.iter_mut().zip(x).zip(weighted) {
            *dx = (E::from_f64(*g) - shift - mean.deviation(*x) * slope) * scale;
        }
    }
}

/// Adds the contribution of one row to the gradients of a weight and a bias that have one number for each element of
/// the row.
pub(super) struct ParameterGradients<'a, E> {
    pub mean: f64,
    pub inv_std: f64,
    pub x: &'a [E],
    pub grad: &'a [E],
    pub dw: &'a mut [f64],
    pub db: &'a mut [f64],
}

impl<E: Element> Kernel for ParameterGradients<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { mean, inv_std, x, grad, dw, db } = self;
        for ((x, grad), (dw, db)) in x.iter().zip(grad).zip(dw.iter_mut().zip(db)) {
            let grad = grad.to_f64();
            *dw += grad * (x.to_f64() - mean) * inv_std;
            *db += grad;
        }
    }
}
