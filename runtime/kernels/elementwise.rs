//! Functions of one element, and their gradients, over whole tensors: one pass each, in parallel.

use super::element::{Element, elements, in_single, with_element, with_elements, zeros};
use super::float::Float;
use super::parallel::for_each_chunk;
use super::simd::{Kernel, Simd, dispatch_loops};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Elements that one task handles; a tensor no larger runs on the caller's core.
const CHUNK: usize = 1 << 14;

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
    in_single(x, |x| x.contiguous()?.apply_op1(Elementwise(function)))
}

struct Elementwise<F>(F);

impl<F: Function> CustomOp1 for Elementwise<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_element!(F::NAME, storage.dtype(), E => {
            let y = map::<F, E>(self.0, elements(storage, layout)?);
            Ok((candle_core::WithDType::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let saved = if self.0.saves_output() { y } else { x };
        with_element!(F::NAME, x.dtype(), E => {
            let gradient = with_elements(grad, |grad| {
                with_elements(saved, |saved| gradients::<F, E>(self.0, grad, saved))
            })??;
            Tensor::from_vec(gradient, x.shape(), x.device()).map(Some)
        })
    }
}

fn map<F: Function, E: Element>(function: F, x: &[E]) -> Vec<E> {
    let mut y = zeros(x.len());
    for_each_chunk(&mut y, CHUNK, |index, y| {
        let x = &x[index * CHUNK..][..y.len()];
        dispatch_loops(Values { function, x, y });
    });
    y
}

fn gradients<F: Function, E: Element>(function: F, grad: &[E], saved: &[E]) -> Vec<E> {
    let mut out = zeros(saved.len());
    for_each_chunk(&mut out, CHUNK, |index, out| {
        let range = index * CHUNK..index * CHUNK + out.len();
        let (grad, saved) = (&grad[range.clone()], &saved[range]);
        dispatch_loops(Gradients { function, grad, saved, out });
    });
    out
}

struct Values<'a, F, E> {
    function: F,
    x: &'a [E],
    y: &'a mut [E],
}

impl<F: Function, E: Element> Kernel for Values<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = self.function.value(*x);
        }
    }
}

struct Gradients<'a, F, E> {
    function: F,
    grad: &'a [E],
    saved: &'a [E],
    out: &'a mut [E],
}

impl<F: Function, E: Element> Kernel for Gradients<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((out, grad), saved) in self.out.iter_mut().zip(self.grad).zip(self.saved) {
            *out = self.function.gradient(*grad, *saved);
        }
    }
}
