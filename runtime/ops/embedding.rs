//! Embedding lookup.

use candle_core::Tensor;

use crate::kernels::embedding::{self as kernel, Bags};
use crate::signal::{Leading, Meta, NeedsNumbers, Recording, Signal};
use crate::{Error, Result};

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
        Ok(weight) => x.into().apply("embedding", Leading, |ids| kernel::embedding(&ids, &weight, None)),
        Err(error) => Signal::fail(error),
    }
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
    let weight = match weight.into().into_tensor() {
        Ok(weight) => weight,
        Err(error) => return Signal::fail(error),
    };
    let x = x.into();
    if x.is_meta() {
        let recording = Recording::start(&x);
        let offsets = bags.offsets.as_ref().map(Tensor::dims);
        return recording.finish(bags_meta(&x, &weight, offsets, bags.include_last_offset).into());
    }
    x.apply("embedding_bag", NeedsNumbers, |ids| kernel::embedding_bag(&ids, &weight, bags))
}

/// Returns the shape of the bags of indices without numbers. `offsets` is the shape of the offsets.
pub(crate) fn bags_meta(
    ids: &Signal,
    weight: &Tensor,
    offsets: Option<&[usize]>,
    include_last_offset: bool,
) -> Result<Signal> {
    let bags = match (ids.dims()?, offsets) {
        (&[bags, _], None) => bags,
        (&[_], Some(&[count])) => count.saturating_sub(usize::from(include_last_offset)),
        (ids, offsets) => {
            return Err(Error::msg(format!(
                "embedding_bag: expected ids [bags, length], or ids [count] and offsets [bags], found {ids:?} and \
                 {offsets:?}"
            )));
        }
    };
    Ok(Meta::like(weight, (bags, weight.dim(1)?)).into())
}
