//! Softmax and log-softmax over one dimension. The gradients are computed from the output.

use candle_core::backend::BackendStorage;
use candle_core::shape::Dim;
use candle_core::{CpuStorage, D, Result, Shape, Tensor, WithDType, bail};

use crate::channels::sums;
use crate::composed_path::has_cpu_kernels;
use crate::element::{Element, elements, in_f32, with_element, with_elements};
use crate::memory::zeros;
use crate::operation::{CpuOperand, Operation};
use crate::parallel::{cost, for_each_row};
use crate::relay;
use crate::simd::{Kernel, Simd, dispatch_loops};

/// Computes the softmax `e^x / Σ e^x` over one dimension.
///
/// Returns a tensor of the shape of `x`. Large values do not overflow. A row becomes NaN if all of its
/// elements are -∞ or if any element is NaN or +∞. Supports f32, f64, f16 and bf16. Differentiable in `x`.
///
/// # Errors
/// Fails if `dim` is out of range, or the dtype of `x` is not supported.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::softmax;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[0f32, 0.], [1000., 1000.]], &Device::Cpu)?;
/// assert_eq!(softmax(&x, 1)?.to_vec2::<f32>()?, [[0.5, 0.5], [0.5, 0.5]]);
/// # Ok(())
/// # }
/// ```
pub fn softmax<I: Dim>(x: &Tensor, dim: I) -> Result<Tensor> {
    along_dim(x, dim, Softmax { log: false, masked: false })
}

/// Computes the [`softmax`] of attention scores, some of which may be masked with -∞. A row in which all elements are
/// -∞ becomes zeros, not NaN.
///
/// # Errors
/// Fails under the same conditions as [`softmax`].
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::masked_softmax;
///
/// # fn main() -> Result<()> {
/// let hidden = f32::NEG_INFINITY;
/// let scores = Tensor::new(&[[0f32, hidden], [hidden, hidden]], &Device::Cpu)?;
/// assert_eq!(masked_softmax(&scores, 1)?.to_vec2::<f32>()?, [[1., 0.], [0., 0.]]);
/// # Ok(())
/// # }
/// ```
pub fn masked_softmax<I: Dim>(x: &Tensor, dim: I) -> Result<Tensor> {
    along_dim(x, dim, Softmax { log: false, masked: true })
}

/// Computes the logarithm of the [`softmax`], `x - ln Σ e^x`, over one dimension, without loss of precision.
///
/// # Errors
/// Fails under the same conditions as [`softmax`].
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::log_softmax;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[0f32, -1000.], &Device::Cpu)?;
/// assert_eq!(log_softmax(&x, 0)?.to_vec1::<f32>()?, [0., -1000.]);
/// # Ok(())
/// # }
/// ```
pub fn log_softmax<I: Dim>(x: &Tensor, dim: I) -> Result<Tensor> {
    along_dim(x, dim, Softmax { log: true, masked: false })
}

fn along_dim<I: Dim>(x: &Tensor, dim: I, op: Softmax) -> Result<Tensor> {
    let dim = dim.to_index(x.shape(), op.name())?;
    if !has_cpu_kernels(x) {
        return op.composed(x, dim);
    }
    in_f32(x, |x| {
        if dim + 1 == x.rank() {
            return relay::apply([&x.contiguous()?], op);
        }
        let last = x.transpose(dim, D::Minus1)?.contiguous()?;
        relay::apply([&last], op)?.transpose(dim, D::Minus1)?.contiguous()
    })
}

#[derive(Clone, Copy)]
struct Softmax {
    log: bool,
    /// Whether a row in which all elements are -∞ becomes zeros.
    masked: bool,
}

impl Operation<1> for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let row = row_length(layout.dims())?;
        with_element!(self.name(), x.dtype(), E => {
            let x = elements::<E>(x, layout)?;
            let mut y = zeros::<E>(x.len());
            for_each_row(row, cost::EXPONENTIALS, &mut y, |i, y| {
                let x = &x[i * row..(i + 1) * row];
                // `y` is already zero.
                if !(self.masked && is_masked(x)) {
                    dispatch_loops(Forward { log: self.log, x, y });
                }
            });
            Ok((E::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn backward(&self, _: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let row = row_length(y.dims())?;
        with_element!(self.name(), y.dtype(), E => {
            let dx = with_elements::<E, _>(y, |y| {
                with_elements(grad, |grad| {
                    let mut dx = zeros::<E>(y.len());
                    for_each_row(row, cost::EXPONENTIALS, &mut dx, |i, dx| {
                        let range = i * row..(i + 1) * row;
                        self.gradient(&y[range.clone()], &grad[range], dx);
                    });
                    dx
                })
            })??;
            Tensor::from_vec(dx, y.shape(), y.device()).map(|dx| [Some(dx)])
        })
    }
}

impl Softmax {
    /// Computes `y (grad - Σ grad y)` for softmax, and `grad - e^y Σ grad` for log-softmax.
    fn gradient<E: Element>(&self, y: &[E], grad: &[E], dx: &mut [E]) {
        let log = self.log;
        let [sum] = sums(y, grad, |y, grad| [if log { grad } else { grad * y }]);
        dispatch_loops(Backward { log, sum: E::from_f64(sum), y, grad, dx });
    }

    /// The composed path, for devices without a kernel.
    fn composed(&self, x: &Tensor, dim: usize) -> Result<Tensor> {
        let mut max = x.detach().max_keepdim(dim)?;
        if self.masked {
            let hidden = max.eq(f64::NEG_INFINITY)?;
            max = hidden.where_cond(&max.zeros_like()?, &max)?;
            let exponentials = x.broadcast_sub(&max)?.exp()?;
            let sum = (exponentials.sum_keepdim(dim)? + hidden.to_dtype(x.dtype())?)?;
            return exponentials.broadcast_div(&sum);
        }
        let shifted = x.broadcast_sub(&max)?;
        let exponentials = shifted.exp()?;
        let sum = exponentials.sum_keepdim(dim)?;
        if self.log { shifted.broadcast_sub(&sum.log()?) } else { exponentials.broadcast_div(&sum) }
    }
}

/// Returns `true` if all elements are -∞.
fn is_masked<E: Element>(x: &[E]) -> bool {
    x.iter().all(|x| *x == E::NEG_INFINITY)
}

fn row_length(dims: &[usize]) -> Result<usize> {
    match dims.last() {
        Some(row) => Ok(*row),
        None => bail!("softmax: expected a tensor with one dimension or more, found a scalar"),
    }
}

struct Forward<'a, E> {
    log: bool,
    x: &'a [E],
    y: &'a mut [E],
}

impl<E: Element> Kernel for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let max = largest(self.x);
        let sum = sum_of_exponentials(self.x, max);
        if self.log {
            let shift = E::from_f64(sum.ln());
            for (y, x) in self.y.iter_mut().zip(self.x) {
                *y = *x - max - shift;
            }
        } else {
            let sum = E::from_f64(sum);
            for (y, x) in self.y.iter_mut().zip(self.x) {
                *y = (*x - max).exp() / sum;
            }
        }
    }
}

/// The number of independent partial results of a reduction, so that the compiler can vectorize its loop.
const LANES: usize = 16;

/// Returns the largest element. May ignore NaN, because the sum of exponentials propagates it.
#[inline(always)]
fn largest<E: Element>(x: &[E]) -> E {
    let mut lanes = [E::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (max, x) in lanes.iter_mut().zip(chunk) {
            *max = x.at_least(*max);
        }
    }
    let rest = rest.iter().copied();
    lanes.into_iter().chain(rest).fold(E::NEG_INFINITY, |max, x| if x > max { x } else { max })
}

/// Returns `Σ e^(x - max)`.
#[inline(always)]
fn sum_of_exponentials<E: Element>(x: &[E], max: E) -> f64 {
    let mut lanes = [0f64; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, x) in lanes.iter_mut().zip(chunk) {
            *sum += (*x - max).exp().to_f64();
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|x| (*x - max).exp().to_f64()).sum::<f64>()
}

struct Backward<'a, E: Element> {
    log: bool,
    sum: E,
    y: &'a [E],
    grad: &'a [E],
    dx: &'a mut [E],
}

impl<E: Element> Kernel for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let inputs = self.y.iter().zip(self.grad);
        for (dx, (y, grad)) in self.dx.iter_mut().zip(inputs) {
            let (y, grad) = (*y, *grad);
            *dx = if self.log { grad - y.exp() * self.sum } else { y * (grad - self.sum) };
        }
    }
}
