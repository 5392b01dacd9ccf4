//! Softmax and log-softmax over one dimension. The gradients are computed from the output.

mod rows;

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::shape::Dim;
use candle_core::{CpuStorage, D, Result, Shape, Tensor, WithDType, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::{elements, in_f32, with_element, with_elements};
use crate::memory::vec_written_by;
use crate::operation::{CpuOperand, Operation};
use crate::parallel::{cost, for_each_chunk};
use crate::relay;
use rows::RowElement;

/// Computes the softmax `e^x / Σ e^x` over one dimension.
///
/// Returns a tensor of the shape of `x`. Large values do not overflow. A row consists of the elements along `dim`. It
/// becomes NaN if all of its elements are -∞ or if any element is NaN or +∞. Supports f32, f64, f16 and bf16.
/// Differentiable in `x`.
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

/// Runs the operation over one dimension, which is moved to the end first.
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
        let row_len = row_length(layout.dims())?;
        with_element!(self.name(), x.dtype(), E => {
            let x = elements::<E>(x, layout)?;
            let y = self.map_rows(row_len, x.len(), |range, y| {
                E::forward(*self, row_len, &x[range], y);
            });
            Ok((E::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn backward(&self, _: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let row_len = row_length(y.dims())?;
        with_element!(self.name(), y.dtype(), E => {
            let dx = with_elements::<E, _>(y, |y| {
                with_elements::<E, _>(grad, |grad| {
                    self.map_rows(row_len, y.len(), |range, dx| {
                        E::backward(*self, row_len, [&y[range.clone()], &grad[range]], dx);
                    })
                })
            })??;
            Tensor::from_vec(dx, y.shape(), y.device()).map(|dx| [Some(dx)])
        })
    }
}

impl Softmax {
    /// Returns `len` elements, which `fill` computes. Calls `fill` with ranges of whole rows and the memory for their
    /// elements; `fill` must write every element.
    fn map_rows<E: Send>(
        &self,
        row_len: usize,
        len: usize,
        fill: impl Fn(Range<usize>, &mut [MaybeUninit<E>]) + Sync,
    ) -> Vec<E> {
        let chunk = cost::MIN_ELEMENTS.div_ceil(row_len.max(1)) * row_len;
        let chunks = |out: &mut [_]| {
            for_each_chunk(out, chunk, |index, out| fill(index * chunk..index * chunk + out.len(), out));
        };
        // SAFETY: the chunks cover the output, and the functions in `rows` write every element of a chunk.
        unsafe { vec_written_by(len, chunks) }
    }

    /// The composed path, for devices without a kernel.
    fn composed(&self, x: &Tensor, dim: usize) -> Result<Tensor> {
        let mut max = x.detach().max_keepdim(dim)?;
        if self.masked {
            let is_masked = max.eq(f64::NEG_INFINITY)?;
            max = is_masked.where_cond(&max.zeros_like()?, &max)?;
            let exponentials = x.broadcast_sub(&max)?.exp()?;
            let sum = (exponentials.sum_keepdim(dim)? + is_masked.to_dtype(x.dtype())?)?;
            return exponentials.broadcast_div(&sum);
        }
        let shifted = x.broadcast_sub(&max)?;
        let exponentials = shifted.exp()?;
        let sum = exponentials.sum_keepdim(dim)?;
        if self.log { shifted.broadcast_sub(&sum.log()?) } else { exponentials.broadcast_div(&sum) }
    }
}

/// Returns the size of the last dimension.
fn row_length(dims: &[usize]) -> Result<usize> {
    match dims.last() {
        Some(row) => Ok(*row),
        None => bail!("softmax: expected a tensor with one dimension or more, found a scalar"),
    }
}
