//! Rows of a table by their numbers, with a gradient that adds up where a row is read twice.

use super::element::{Element, compute_dtype, elements, in_single, with_element, with_elements};
use super::memory::zeros;
use super::operation::{self, CpuOperand, Operation};
use super::parallel::{cost, for_each_chunk};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, WithDType, bail};

const NAME: &str = "embedding";

/// Looks up rows of a table.
///
/// - `ids`: integers (u8, u32 or i64) of any shape `[...]`
/// - `weight`: `[rows, width]`
/// - `padding`: a row that is read like the others and gets no gradient
/// - returns `[..., width]`
///
/// Takes weights of f32, f64, f16 and bf16. Differentiable in `weight`: the gradients of a row that is read
/// several times add up.
///
/// # Errors
/// An id is out of range, the ids have another dtype, or the weight is not a matrix of floats.
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
        bail!("{NAME}: expected a weight [rows, width], got {:?}", weight.dims());
    };
    let shape = [ids.dims(), &[width]].concat();
    let ids = numbers(ids, rows)?;
    // A table of halves that does not learn is too large to be widened for a few of its rows.
    let as_it_is = !weight.track_op() && compute_dtype(weight.dtype()) != weight.dtype();
    if as_it_is || !weight.device().is_cpu() {
        return composed(&ids, weight, padding)?.reshape(shape);
    }
    let gather = Gather { ids, width, padding };
    in_single(weight, |weight| operation::apply([&weight.contiguous()?], gather))?.reshape(shape)
}

/// The ids as row numbers, all of them below `rows`.
fn numbers(ids: &Tensor, rows: usize) -> Result<Vec<usize>> {
    if !matches!(ids.dtype(), DType::U8 | DType::U32 | DType::I64) {
        bail!("{NAME}: expected ids of u8, u32 or i64, got {:?}", ids.dtype());
    }
    let ids = ids.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let number = |id: i64| match usize::try_from(id) {
        Ok(number) if number < rows => Ok(number),
        _ => bail!("{NAME}: index {id} is out of range for {rows} embeddings"),
    };
    ids.into_iter().map(number).collect()
}

/// The same from candle's own operations, for devices that this crate's loops do not reach.
fn composed(ids: &[usize], weight: &Tensor, padding: Option<usize>) -> Result<Tensor> {
    let device = weight.device();
    let index: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
    let rows = weight.index_select(&Tensor::from_vec(index, ids.len(), device)?, 0)?;
    let Some(padding) = padding else { return Ok(rows) };
    let learns: Vec<u8> = ids.iter().map(|&id| u8::from(id != padding)).collect();
    let learns = Tensor::from_vec(learns, (ids.len(), 1), device)?.broadcast_as(rows.shape())?;
    learns.where_cond(&rows, &rows.detach())
}

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
    fn gather<E: Element>(&self, weight: &[E]) -> Vec<E> {
        let width = self.width.max(1);
        let rows = cost::PASS.div_ceil(width);
        let mut out = zeros::<E>(self.ids.len() * self.width);
        for_each_chunk(&mut out, rows * width, |task, out| {
            let ids = &self.ids[task * rows..];
            for (row, id) in out.chunks_exact_mut(width).zip(ids) {
                row.copy_from_slice(&weight[id * width..][..width]);
            }
        });
        out
    }

    /// The gradient of a weight of `len` elements, summed in the dtype of the computation.
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn the_composed_form_is_the_same() -> Result<()> {
        let weight = Var::from_vec((0..12).map(f64::from).collect(), (4, 3), &Device::Cpu)?;
        let grad = Tensor::arange(0f64, 15., &Device::Cpu)?.reshape((5, 3))?;
        let ids = Tensor::new(&[3u32, 1, 3, 0, 1], &Device::Cpu)?;
        for padding in [None, Some(1)] {
            let fused = embedding(&ids, &weight, padding)?;
            let plain = composed(&[3, 1, 3, 0, 1], &weight, padding)?;
            assert_eq!(fused.to_vec2::<f64>()?, plain.to_vec2::<f64>()?);
            let gradient = |y: Tensor| -> Result<Vec<Vec<f64>>> {
                let grads = (y * &grad)?.sum_all()?.backward()?;
                grads.get(&weight).map_or_else(|| bail!("no gradient"), |grad| grad.to_vec2())
            };
            assert_eq!(gradient(fused)?, gradient(plain)?);
        }
        Ok(())
    }
}
