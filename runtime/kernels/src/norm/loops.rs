//! The loops of batch normalization over one plane, specialized for the most common activations.

use std::mem::MaybeUninit;

use crate::activation::Activation;
use crate::element::Element;
use crate::simd::{Kernel, Simd};

/// Evaluates `$body` with `$activation` bound to `$value`. For the most common activations, `$activation` is a
/// constant, so that the compiler specializes `$body`.
macro_rules! specialized {
    ($value:expr, $activation:ident => $body:expr) => {
        match $value {
            Activation::Identity => {
                let $activation = Activation::Identity;
                $body
            }
            Activation::Relu => {
                let $activation = Activation::Relu;
                $body
            }
            $activation => $body,
        }
    };
}

/// Computes `y = activation((x - mean) · scale + bias + residual)`. Initializes every element of `y`.
pub(super) struct Forward<'a, E> {
    pub activation: Activation,
    pub mean: E,
    pub scale: E,
    pub bias: E,
    pub x: &'a [E],
    pub residual: Option<&'a [E]>,
    pub y: &'a mut [MaybeUninit<E>],
}

impl<E: Element> Kernel for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { mean, scale, bias, x, residual, y, .. } = self;
        assert_eq!([x.len(), residual.map_or(x.len(), <[E]>::len)], [y.len(); 2]);
        specialized!(self.activation, activation => match residual {
            None => y.iter_mut().zip(x).for_each(|(y, x)| {
                y.write(activation.value((*x - mean) * scale + bias));
            }),
            Some(residual) => y.iter_mut().zip(x).zip(residual).for_each(|((y, x), residual)| {
                y.write(activation.value((*x - mean) * scale + bias + *residual));
            }),
        });
    }
}

/// Computes the sum of the masked gradient, and the sum of the masked gradient times `x - mean`.
pub(super) struct GradientSums<'a, E> {
    pub activation: Activation,
    pub mean: f64,
    pub x: &'a [E],
    pub y: &'a [E],
    pub grad: &'a [E],
}

impl<E: Element> Kernel for GradientSums<'_, E> {
    type Output = [f64; 2];

    /// Stores the masked gradients and the products of a block of elements in small arrays, then sums the arrays.
    /// Compilers would not vectorize a single loop that does both.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [f64; 2] {
        const BLOCK: usize = 64;
        let Self { mean, x, y, grad, .. } = self;
        let (mut masked, mut products) = ([0.0; BLOCK], [0.0; BLOCK]);
        let mut sums = [[0.0; LANES]; 2];
        specialized!(self.activation, activation => {
            for ((x, y), grad) in x.chunks(BLOCK).zip(y.chunks(BLOCK)).zip(grad.chunks(BLOCK)) {
                let (masked, products) = (&mut masked[..x.len()], &mut products[..x.len()]);
                for (masked, (y, grad)) in masked.iter_mut().zip(y.iter().zip(grad)) {
                    *masked = activation.gradient(*grad, *y).to_f64();
                }
                for ((product, x), masked) in products.iter_mut().zip(x).zip(masked.iter()) {
                    *product = *masked * (x.to_f64() - mean);
                }
                accumulate(&mut sums[0], masked);
                accumulate(&mut sums[1], products);
            }
        });
        sums.map(|lanes| lanes.iter().sum())
    }
}

/// The number of independent partial sums.
const LANES: usize = 8;

/// Adds values to the partial sums, in a form that compilers vectorize.
#[inline(always)]
fn accumulate(sums: &mut [f64; LANES], values: &[f64]) {
    let chunks = values.chunks_exact(LANES);
    sums.iter_mut().zip(chunks.remainder()).for_each(|(sum, x)| *sum += x);
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += chunk[lane];
        }
    }
}

/// Computes `dx = (g - shift - (x - mean) · slope) · scale`, where `g` is the masked gradient. Initializes every
/// element of `dx`.
pub(super) struct Backward<'a, E> {
    pub activation: Activation,
    pub mean: E,
    pub shift: E,
    pub slope: E,
    pub scale: E,
    pub x: &'a [E],
    pub y: &'a [E],
    pub grad: &'a [E],
    pub dx: &'a mut [MaybeUninit<E>],
}

impl<E: Element> Kernel for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { mean, shift, slope, scale, x, y, grad, dx, .. } = self;
        assert_eq!([x.len(), y.len(), grad.len()], [dx.len(); 3]);
        specialized!(self.activation, activation => {
            for ((dx, x), (y, grad)) in dx.iter_mut().zip(x).zip(y.iter().zip(grad)) {
                dx.write((activation.gradient(*grad, *y) - shift - (*x - mean) * slope) * scale);
            }
        });
    }
}
