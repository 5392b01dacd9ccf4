//! The loops of batch normalisation over one plane, each compiled for the activations that follow it most.

use crate::kernels::activation::Activation;
use crate::kernels::channels::add;
use crate::kernels::element::Element;
use crate::kernels::simd::{Kernel, Simd};
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

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [f64; 2] {
        const LANES: usize = 8;
        let Self { mean, x, y, grad, .. } = self;
        let count = x.len().min(y.len()).min(grad.len());
        let whole = count - count % LANES;
        let mut lanes = [[0.0; LANES]; 2];
        specialized!(self.activation, activation => {
            let eights = x.chunks_exact(LANES).zip(y.chunks_exact(LANES)).zip(grad.chunks_exact(LANES));
            for ((x, y), grad) in eights {
                for lane in 0..LANES {
                    let [sum, product] = term(activation, mean, [x[lane], y[lane], grad[lane]]);
                    lanes[0][lane] += sum;
                    lanes[1][lane] += product;
                }
            }
            let total = lanes.map(|lanes| lanes.iter().sum::<f64>());
            (whole..count).fold(total, |total, i| add(total, term(activation, mean, [x[i], y[i], grad[i]])))
        })
    }
}

/// What an element adds to the sums. No closure: those are not always compiled where they are called, with
/// the instruction set of that place.
#[inline(always)]
fn term<E: Element>(activation: Activation, mean: f64, [x, y, grad]: [E; 3]) -> [f64; 2] {
    let before = activation.gradient(grad, y).to_f64();
    [before, before * (x.to_f64() - mean)]
}

/// The gradient before the activation; initialises all of `before`, as long as the other two.
pub(super) struct Before<'a, E> {
    pub activation: Activation,
    pub y: &'a [E],
    pub grad: &'a [E],
    pub before: &'a mut [MaybeUninit<E>],
}

impl<E: Element> Kernel for Before<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { y, grad, before, .. } = self;
        assert_eq!([y.len(), grad.len()], [before.len(); 2]);
        specialized!(self.activation, activation => {
            for (before, (y, grad)) in before.iter_mut().zip(y.iter().zip(grad)) {
                before.write(activation.gradient(*grad, *y));
            }
        });
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
