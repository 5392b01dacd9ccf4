//! The loops of batch normalisation over one plane, each compiled for the activations that follow it most.

use crate::activation::Activation;
use crate::element::Element;
use crate::simd::{Kernel, Simd};
use std::mem::MaybeUninit;

/// Evaluates `$body` with `$activation` a constant in the cases that have loops of their own.
macro_rules! specialized {
    ($given:expr, $activation:ident => $body:expr) => {
        match $given {
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

/// `y = activation((x - mean) · scale + bias + residual)`; initialises all of `y`, as long as `x`.
pub(super) struct Values<'a, E> {
    pub activation: Activation,
    pub mean: E,
    pub scale: E,
    pub bias: E,
    pub x: &'a [E],
    pub residual: Option<&'a [E]>,
    pub y: &'a mut [MaybeUninit<E>],
}

impl<E: Element> Kernel for Values<'_, E> {
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

/// The sum of the gradient before the activation, and that of its product with `x - mean`.
pub(super) struct Sums<'a, E> {
    pub activation: Activation,
    pub mean: f64,
    pub x: &'a [E],
    pub y: &'a [E],
    pub grad: &'a [E],
}

impl<E: Element> Kernel for Sums<'_, E> {
    type Output = [f64; 2];

    /// In blocks that go through small arrays: of the steps in one loop, no compiler makes vectors.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [f64; 2] {
        const BLOCK: usize = 64;
        let Self { mean, x, y, grad, .. } = self;
        let (mut before, mut products) = ([0.0; BLOCK], [0.0; BLOCK]);
        let mut sums = [[0.0; LANES]; 2];
        specialized!(self.activation, activation => {
            for ((x, y), grad) in x.chunks(BLOCK).zip(y.chunks(BLOCK)).zip(grad.chunks(BLOCK)) {
                let (before, products) = (&mut before[..x.len()], &mut products[..x.len()]);
                for (before, (y, grad)) in before.iter_mut().zip(y.iter().zip(grad)) {
                    *before = activation.gradient(*grad, *y).to_f64();
                }
                for ((product, x), before) in products.iter_mut().zip(x).zip(before.iter()) {
                    *product = *before * (x.to_f64() - mean);
                }
                add_up(&mut sums[0], before);
                add_up(&mut sums[1], products);
            }
        });
        sums.map(|lanes| lanes.iter().sum())
    }
}

const LANES: usize = 8;

/// Adds numbers to sums that a vector unit can run side by side.
#[inline(always)]
fn add_up(sums: &mut [f64; LANES], numbers: &[f64]) {
    let eights = numbers.chunks_exact(LANES);
    sums.iter_mut().zip(eights.remainder()).for_each(|(sum, x)| *sum += x);
    for eight in eights {
        for lane in 0..LANES {
            sums[lane] += eight[lane];
        }
    }
}

/// `dx = (grad - shift - (x - mean) · slope) · scale`, `grad` taken back through the activation;
/// initialises all of `dx`, as long as the other three.
pub(super) struct Gradient<'a, E> {
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

impl<E: Element> Kernel for Gradient<'_, E> {
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
