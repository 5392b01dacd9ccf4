//! Embedding lookup.

use candle_core::Tensor;

use crate::graph::{Description, Op};
use crate::kernels::embedding::{self as kernel, Bags};
use crate::kernels::internal::embedding_bag_shape;
use crate::kernels::trace::{Work, add_work};
use crate::signal::{Leading, Meta, NeedsNumbers, Recording, Signal, add_operands, byte_size};

use super::operand::tensor_or_view;

/// Returns the row of `weight` for each integer index in `x`. The weight is `[num_embeddings, embedding_dim]`, and the
/// output is `[…, embedding_dim]`. The output is a failed signal if an index is out of range, or if `x` is not u8, u32
/// or i64.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let weight = Tensor::new(&[[0f32, 1.], [2., 3.], [4., 5.]], &Device::Cpu)?;
/// let ids = Tensor::new(&[2u32, 0], &Device::Cpu)?;
/// let y = embedding(&ids, &weight).into_tensor()?;
/// assert_eq!(y.to_vec2::<f32>()?, [[4., 5.], [0., 1.]]);
/// # Ok(())
/// # }
/// ```
pub fn embedding(x: impl Into<Signal>, weight: impl Into<Signal>) -> Signal {
    match weight.into().into_tensor() {
        Ok(weight) => x.into().apply(("embedding", Op::Embedding, [Some(&weight)]), Leading, |ids| {
            look_up(&ids, &weight, None)
        }),
        Err(error) => Signal::fail(error),
    }
}

/// Returns the rows of `weight` for the indices `ids`. The launch reads only these rows.
pub(crate) fn look_up(
    ids: &Tensor,
    weight: &Tensor,
    padding_idx: Option<usize>,
) -> candle_core::Result<Tensor> {
    let rows = kernel::embedding(ids, weight, padding_idx)?;
    add_operands([&rows]);
    Ok(rows)
}

/// Looks up the rows of `weight` for integer indices and combines the rows of each bag. The indices are
/// `[bags, length]`, or `[ids]` if `bags` has offsets, and the output is `[bags, embedding_dim]`. The output is a
/// failed signal if an index is out of range, or if `bags` does not match the indices.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let weight = Tensor::new(&[[0f32, 1.], [2., 3.], [4., 5.]], &Device::Cpu)?;
/// let ids = Tensor::new(&[[2u32, 0], [1, 1]], &Device::Cpu)?;
/// let bags = Bags { mode: BagMode::Sum, ..Bags::default() };
/// let y = embedding_bag(&ids, &weight, &bags).into_tensor()?;
/// assert_eq!(y.to_vec2::<f32>()?, [[4., 6.], [4., 6.]]);
/// # Ok(())
/// # }
/// ```
pub fn embedding_bag(x: impl Into<Signal>, weight: impl Into<Signal>, bags: &Bags) -> Signal {
    match weight.into().into_tensor() {
        Ok(weight) => {
            let (offsets, per_sample_weights) = (&bags.offsets, &bags.per_sample_weights);
            let operands = [offsets, per_sample_weights].map(|operand| operand.as_ref().map(Signal::from));
            combine_bags(x.into(), &weight, operands, bags)
        }
        Err(error) => Signal::fail(error),
    }
}

/// Combines the rows of bags whose offsets and weights of the samples are signals, instead of those of `bags`.
pub(crate) fn combine_bags(
    ids: Signal,
    weight: &Tensor,
    [offsets, per_sample_weights]: [Option<Signal>; 2],
    bags: &Bags,
) -> Signal {
    let operands = || std::iter::once(&ids).chain(&offsets).chain(&per_sample_weights);
    if let Some(error) = operands().find_map(Signal::error) {
        return Signal::fail(error.clone());
    }
    let any_meta = operands().any(Signal::is_meta);
    let recording = any_meta.then(|| Recording::start_optional([Some(&ids), per_sample_weights.as_ref()]));
    let op = Op::EmbeddingBag { mode: bags.mode, padding: bags.padding };
    let op = Some(op).filter(|_| offsets.is_none());
    let tensor = |operand: Option<Signal>| operand.map(tensor_or_view).transpose();
    let bags = tensor(offsets).and_then(|offsets| {
        let per_sample_weights = tensor(per_sample_weights)?;
        Ok(Bags { offsets, per_sample_weights, ..bags.clone() })
    });
    let bags = match bags {
        Ok(bags) => bags,
        Err(error) => return Signal::fail(error),
    };
    if let Some(recording) = recording {
        let shape = tensor_or_view(ids).and_then(|ids| Ok(embedding_bag_shape(&ids, weight, &bags)?));
        let output = shape.map(|shape| Signal::from(Meta::like(weight, shape.to_vec())));
        let description = Description { name: "embedding_bag", op, parameters: vec![Some(weight)] };
        return recording.finish(output.into(), description);
    }
    ids.apply("embedding_bag", NeedsNumbers, |ids| {
        add_operands([&bags.offsets, &bags.per_sample_weights].map(Option::as_ref));
        // A bag reads one row for each of its indices.
        add_work(|| {
            let width = weight.dims().last().copied().unwrap_or_default();
            let rows = byte_size(&[ids.elem_count(), width], weight.dtype());
            Work { bytes_read: rows, ..Work::default() }
        });
        kernel::embedding_bag(&ids, weight, &bags)
    })
}
