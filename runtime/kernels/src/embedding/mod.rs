//! Embedding lookup.

mod bag;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::{Element, compute_dtype, elements, in_f32, with_element, with_elements};
use crate::empty::empty_output;
use crate::integers::integers;
use crate::memory::{can_allocate, zeros};
use crate::operation::{CpuOperand, Operation};
use crate::parallel::{cost, for_each_chunk};
use crate::relay::{self, reshape};

pub use bag::{BagMode, Bags, embedding_bag, embedding_bag_shape};

const NAME: &str = "embedding";

/// Looks up rows of a table.
///
/// - `ids`: integers (u8, u32 or i64) of any shape `[...]`
/// - `weight`: `[rows, width]`
/// - `padding`: the index of a row that receives no gradient
/// - returns `[..., width]`
///
/// Supports weights of f32, f64, f16 and bf16. Differentiable in `weight`: if a row is looked up several times, the
/// gradients of the lookups are added.
///
/// # Errors
/// Fails if an id is out of range, the dtype of the ids is not an integer, the weight is not a matrix of floats, or the
/// output does not fit in memory.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::embedding;
///
/// # fn main() -> Result<()> {
/// let weight = Tensor::new(&[[0f32, 1.], [10., 11.], [20., 21.]], &Device::Cpu)?;
/// let ids = Tensor::new(&[2u32, 0], &Device::Cpu)?;
/// assert_eq!(embedding(&ids, &weight, None)?.to_vec2::<f32>()?, [[20., 21.], [0., 1.]]);
/// # Ok(())
/// # }
/// ```
pub fn embedding(ids: &Tensor, weight: &Tensor, padding: Option<usize>) -> Result<Tensor> {
    let &[rows, width] = weight.dims() else {
        bail!("{NAME}: expected a weight [rows, width], found {:?}", weight.dims());
    };
    let shape = [ids.dims(), &[width]].concat();
    if !can_allocate::<f64>(&shape) {
        bail!("{NAME}: not enough memory for an output of {shape:?}");
    }
    let ids = row_indices(NAME, ids, rows)?;
    if ids.is_empty() {
        return empty_output(&[weight], shape);
    }
    // A frozen table of f16 or bf16 is not widened, because only a few of its rows are read.
    let is_frozen_half = !weight.track_op() && compute_dtype(weight.dtype()) != weight.dtype();
    if is_frozen_half || !has_cpu_kernels(weight) {
        return composed(&ids, weight, padding)?.reshape(shape);
    }
    let gather = Gather { ids, width, padding };
    let y = in_f32(weight, |weight| relay::apply([&weight.contiguous()?], gather))?;
    Ok(reshape(&y, shape)?.into_tensor())
}

/// Converts the ids to row indices and checks that they are below `rows`.
fn row_indices(op: &str, ids: &Tensor, rows: usize) -> Result<Vec<usize>> {
    let row_index = |id: i64| match usize::try_from(id) {
        Ok(index) if index < rows => Ok(index),
        _ => bail!("{op}: index {id} is out of range for {rows} embeddings"),
    };
    integers(&format!("{op}: expected ids"), ids)?.into_iter().map(row_index).collect()
}

/// The composed path, for devices without a kernel and for frozen tables of f16 or bf16.
fn composed(ids: &[usize], weight: &Tensor, padding: Option<usize>) -> Result<Tensor> {
    let device = weight.device();
    let index: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
    let rows = weight.index_select(&Tensor::from_vec(index, ids.len(), device)?, 0)?;
    let Some(padding) = padding else { return Ok(rows) };
    let mask: Vec<u8> = ids.iter().map(|&id| u8::from(id != padding)).collect();
    let mask = Tensor::from_vec(mask, (ids.len(), 1), device)?.broadcast_as(rows.shape())?;
    mask.where_cond(&rows, &rows.detach())
}

/// The lookup of rows.
struct Gather {
    ids: Vec<usize>,
    width: usize,
    padding: Option<usize>,
}

impl Operation<1> for Gather {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(weight, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        with_element!(NAME, weight.dtype(), E => {
            let rows = self.gather::<E>(elements(weight, layout)?);
            Ok((E::to_cpu_storage_owned(rows), Shape::from((self.ids.len(), self.width))))
        })
    }

    fn backward(&self, [weight]: [&Tensor; 1], _rows: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        with_element!(NAME, weight.dtype(), E => {
            let dw = with_elements::<E, _>(grad, |grad| self.scatter(grad, weight.elem_count()))?;
            Tensor::from_vec(dw, weight.shape(), weight.device()).map(|dw| [Some(dw)])
        })
    }
}

impl Gather {
    /// Returns the row of each id.
    fn gather<E: Element>(&self, weight: &[E]) -> Vec<E> {
        let width = self.width.max(1);
        let rows_per_task = cost::MIN_ELEMENTS.div_ceil(width);
        let mut out = zeros::<E>(self.ids.len() * self.width);
        for_each_chunk(&mut out, rows_per_task * width, |task, out| {
            let ids = &self.ids[task * rows_per_task..];
            for (row, id) in out.chunks_exact_mut(width).zip(ids) {
                row.copy_from_slice(&weight[id * width..][..width]);
            }
        });
        out
    }

    /// Returns the gradient of a weight of `len` elements: for each row, the sum of the gradients of its lookups.
    fn scatter<E: Element>(&self, grad: &[E], len: usize) -> Vec<E> {
        let mut sums = zeros::<E>(len);
        for (grad, id) in grad.chunks_exact(self.width.max(1)).zip(&self.ids) {
            if Some(*id) == self.padding {
                continue;
            }
            for (sum, grad) in sums[id * self.width..].iter_mut().zip(grad) {
                *sum += *grad;
            }
        }
        sums
    }
}
