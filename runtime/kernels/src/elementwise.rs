//! Functions of one element, and their gradients, over whole tensors: one pass each, in parallel.

use super::element::{Element, elements, in_single, with_element, with_elements};
use super::float::Float;
use super::memory::vec_written_by;
use super::operation::{CpuOperand, Operation};
use super::parallel::{cost, for_each_chunk};
use super::relay;
use super::simd::{Kernel, Simd, dispatch_loops};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor};
use std::mem::MaybeUninit;
use std::ops::Range;

/// A differentiable function of one number.
pub(crate) trait Function: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// Whether [`gradient`](Function::gradient) reads the function's output rather than its input.
    fn saves_output(self) -> bool;

    /// The function at `x`.
    fn value<T: Float>(self, x: T) -> T;

    /// The gradient of the input, for the `gradient` of the output and the `saved` input or output.
    fn gradient<T: Float>(self, gradient: T, saved: T) -> T;
}

/// Applies `function` to every element of a CPU tensor.
pub(crate) fn apply<F: Function>(function: F, x: &Tensor) -> Result<Tensor> {
    in_single(x, |x| relay::apply([&x.contiguous()?], Elementwise(function)))
}

struct Elementwise<F>(F);

impl<F: Function> Operation<1> for Elementwise<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn forward(&self, [(storage, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        with_element!(F::NAME, storage.dtype(), E => {
            let y = map::<F, E>(self.0, elements(storage, layout)?);
            Ok((candle_core::WithDType::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let saved = if self.0.saves_output() { y } else { x };
        Ok([Some(gradient(self.0, grad, saved)?)])
    }
}

/// The gradient of a function's input, from that of its output and what the function [saves](Function::saves_output).
pub(crate) fn gradient<F: Function>(function: F, grad: &Tensor, saved: &Tensor) -> Result<Tensor> {
    with_element!(F::NAME, saved.dtype(), E => {
        let gradient = with_elements(grad, |grad| {
            with_elements(saved, |saved| gradients::<F, E>(function, grad, saved))
        })??;
        Tensor::from_vec(gradient, saved.shape(), saved.device())
    })
}

fn map<F: Function, E: Element>(function: F, x: &[E]) -> Vec<E> {
    filled(x.len(), |range, y| dispatch_loops(Values { function, x: &x[range], y }))
}

fn gradients<F: Function, E: Element>(function: F, grad: &[E], saved: &[E]) -> Vec<E> {
    filled(saved.len(), |range, out| {
        let (grad, saved) = (&grad[range.clone()], &saved[range]);
        dispatch_loops(Gradients { function, grad, saved, out });
    })
}

/// The sum of two CPU tensors of one shape; no gradient goes through it.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !matches!(a.dtype(), DType::F32 | DType::F64) {
        return a.detach().add(&b.detach());
    }
    with_element!("sum", a.dtype(), E => {
        let sums = with_elements::<E, _>(a, |a| with_elements(b, |b| {
            filled(a.len(), |range, sums| dispatch_loops(Sums { a: &a[range.clone()], b: &b[range], sums }))
        }))??;
        Tensor::from_vec(sums, a.shape(), a.device())
    })
}

/// `len` elements that `fill` gives, a chunk at a time: each of those it is given.
fn filled<E: Element>(len: usize, fill: impl Fn(Range<usize>, &mut [MaybeUninit<E>]) + Sync) -> Vec<E> {
    let chunks = |out: &mut [_]| {
        for_each_chunk(out, cost::PASS, |index, out| {
            fill(index * cost::PASS..index * cost::PASS + out.len(), out)
        });
    };
    // SAFETY: the chunks are all of the output, and the kernels of this file write each to its end.
    unsafe { vec_written_by(len, chunks) }
}

struct Values<'a, F, E> {
    function: F,
    x: &'a [E],
    y: &'a mut [MaybeUninit<E>],
}

impl<F: Function, E: Element> Kernel for Values<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        assert_eq!(self.x.len(), self.y.len());
        for (y, x) in self.y.iter_mut().zip(self.x) {
            y.write(self.function.value(*x));
        }
    }
}

struct Gradients<'a, F, E> {
    function: F,
    grad: &'a [E],
    saved: &'a [E],
    out: &'a mut [MaybeUninit<E>],
}

impl<F: Function, E: Element> Kernel for Gradients<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        assert!(self.grad.len() == self.out.len() && self.saved.len() == self.out.len());
        for ((out, grad), saved) in self.out.iter_mut().zip(self.grad).zip(self.saved) {
            out.write(self.function.gradient(*grad, *saved));
        }
    }
}

struct Sums<'a, E> {
    a: &'a [E],
    b: &'a [E],
    sums: &'a mut [MaybeUninit<E>],
}

impl<E: Element> Kernel for Sums<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        assert!(self.a.len() == self.sums.len() && self.b.len() == self.sums.len());
        for ((sum, a), b) in self.sums.iter_mut().zip(self.a).zip(self.b) {
            sum.write(*a + *b);
        }
    }
}
