//! Applies elementwise functions, and their gradients, to a tensor in one parallel pass.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use candle_core::{CpuStorage, Result, Shape, Tensor};

use super::activation::Function;
use super::arithmetic::{Binary, map_binary, map_unary};
use super::element::Element;
use super::operation::{CpuOperand, Operation};
use super::relay;
use super::simd::{Kernel, Simd, VectorLoop, Vectors, dispatch, run_vector_loop};
use super::strided::{ComputeType, Formula, Run, map, map_tensors};

/// Applies `function` to every element of a CPU tensor.
pub(crate) fn apply<F: Function>(function: F, x: &Tensor) -> Result<Tensor> {
    relay::apply([x], Elementwise(function))
}

struct Elementwise<F>(F);

impl<F: Function> Operation<1> for Elementwise<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn forward(&self, [x]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let shape = x.1.shape().clone();
        Ok((map(F::NAME, [x], &shape, self)?, shape))
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let saved = if self.0.saves_output() { y } else { x };
        Ok([Some(gradient(self.0, grad, saved)?)])
    }
}

/// Returns the gradient of a function's input, from the gradient of its output and the tensor that the function
/// [saves](Function::saves_output).
pub(crate) fn gradient<F: Function>(function: F, grad: &Tensor, saved: &Tensor) -> Result<Tensor> {
    map_tensors(F::NAME, [grad, saved], saved.shape(), &Gradient(function))
}

// SAFETY: `values` and `fill` initialize every element.
unsafe impl<F: Function> Formula<1> for Elementwise<F> {
    fn run<E: ComputeType>(&self, [x]: [Run<'_, E>; 1], out: &mut [MaybeUninit<E>]) {
        match x {
            Run::Slice(x) => E::values(self.0, x, out),
            Run::Constant(x) => out.fill(MaybeUninit::new(self.0.value(x))),
        }
    }
}

struct Gradient<F>(F);

// SAFETY: `gradients` initializes every element.
unsafe impl<F: Function> Formula<2> for Gradient<F> {
    fn run<E: ComputeType>(&self, inputs: [Run<'_, E>; 2], out: &mut [MaybeUninit<E>]) {
        if let [Run::Slice(grad), Run::Slice(saved)] = inputs {
            return E::gradients(self.0, grad, saved, out);
        }
        let [grad, saved] = inputs.map(|input| input.to_vec(out.len()));
        E::gradients(self.0, &grad, &saved, out);
    }
}

/// Adds two tensors of the same shape. The result does not track gradients.
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() {
        map_tensors("add", [a, b], a.shape(), &Binary::Add)
    } else {
        a.detach() + b.detach()
    }
}

/// An element type to which functions are applied. The methods process `f32`s in vectors, and `f64`s in scalar loops.
/// Both methods initialize the whole output, which must have the length of the inputs.
pub(crate) trait MapElement: Element {
    fn values<F: Function>(function: F, x: &[Self], y: &mut [MaybeUninit<Self>]);
    fn gradients<F: Function>(function: F, grad: &[Self], saved: &[Self], out: &mut [MaybeUninit<Self>]);
}

impl MapElement for f32 {
    fn values<F: Function>(function: F, x: &[f32], y: &mut [MaybeUninit<f32>]) {
        dispatch(VectorValues::new(function, x, y));
    }

    fn gradients<F: Function>(function: F, grad: &[f32], saved: &[f32], out: &mut [MaybeUninit<f32>]) {
        dispatch(VectorGradients { function, grad, saved, out });
    }
}

impl MapElement for f64 {
    fn values<F: Function>(function: F, x: &[f64], y: &mut [MaybeUninit<f64>]) {
        map_unary(Run::Slice(x), y, |x| function.value(x));
    }

    fn gradients<F: Function>(function: F, grad: &[f64], saved: &[f64], out: &mut [MaybeUninit<f64>]) {
        map_binary([Run::Slice(grad), Run::Slice(saved)], out, |grad, saved| function.gradient(grad, saved));
    }
}

/// A kernel that applies a function to `len` numbers. Input and output may be the same memory.
pub(crate) struct VectorValues<'a, F> {
    function: F,
    x: *const f32,
    y: *mut f32,
    len: usize,
    borrowed: PhantomData<(&'a [f32], &'a mut [f32])>,
}

impl<'a, F: Function> VectorValues<'a, F> {
    fn new(function: F, x: &'a [f32], y: &'a mut [MaybeUninit<f32>]) -> Self {
        assert_eq!(x.len(), y.len());
        Self { function, x: x.as_ptr(), y: y.as_mut_ptr().cast(), len: x.len(), borrowed: PhantomData }
    }

    #[inline(always)]
    pub fn in_place(function: F, values: &'a mut [f32]) -> Self {
        let y = values.as_mut_ptr();
        Self { function, x: y, y, len: values.len(), borrowed: PhantomData }
    }
}

impl<F: Function> Kernel for VectorValues<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let len = self.len;
        run_vector_loop(simd, len, ValuesLoop { simd, values: self });
    }
}

struct ValuesLoop<'a, S, F> {
    simd: S,
    values: VectorValues<'a, F>,
}

impl<S: Simd, F: Function> VectorLoop<S> for ValuesLoop<'_, S, F> {
    #[inline(always)]
    unsafe fn body<const N: usize>(&mut self, at: usize) {
        let VectorValues { function, x, y, .. } = self.values;
        // SAFETY: the caller guarantees that input and output have these vectors.
        unsafe { function.value(Vectors::<S, N>::load(self.simd, x.add(at))).store(y.add(at)) }
    }

    #[inline(always)]
    unsafe fn remainder(&mut self, at: usize, n: usize) {
        let VectorValues { function, x, y, .. } = self.values;
        // SAFETY: the caller guarantees that input and output have these elements.
        unsafe { function.value(Vectors::load_partial(self.simd, x.add(at), n)).store_partial(y.add(at), n) }
    }
}

struct VectorGradients<'a, F> {
    function: F,
    grad: &'a [f32],
    saved: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl<F: Function> Kernel for VectorGradients<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { function, grad, saved, out } = self;
        assert!(grad.len() == out.len() && saved.len() == out.len());
        let [grad, saved] = [grad.as_ptr(), saved.as_ptr()];
        let len = out.len();
        run_vector_loop(
            simd,
            len,
            GradientsLoop { simd, function, grad, saved, out: out.as_mut_ptr().cast() },
        );
    }
}

struct GradientsLoop<S, F> {
    simd: S,
    function: F,
    grad: *const f32,
    saved: *const f32,
    out: *mut f32,
}

impl<S: Simd, F: Function> VectorLoop<S> for GradientsLoop<S, F> {
    #[inline(always)]
    unsafe fn body<const N: usize>(&mut self, at: usize) {
        // SAFETY: the caller guarantees that all three slices have these vectors.
        unsafe {
            let grad = Vectors::<S, N>::load(self.simd, self.grad.add(at));
            let saved = Vectors::load(self.simd, self.saved.add(at));
            self.function.gradient(grad, saved).store(self.out.add(at));
        }
    }

    #[inline(always)]
    unsafe fn remainder(&mut self, at: usize, n: usize) {
        // SAFETY: the caller guarantees that all three slices have these elements.
        unsafe {
            let grad = Vectors::load_partial(self.simd, self.grad.add(at), n);
            let saved = Vectors::load_partial(self.simd, self.saved.add(at), n);
            self.function.gradient(grad, saved).store_partial(self.out.add(at), n);
        }
    }
}
