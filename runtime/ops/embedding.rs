//! Embedding lookup.

use crate::kernels::embedding::{self as kernel, Bags};
use crate::signal::{Leading, Signal};

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
    match weight.into().into_tensor() {
        Ok(weight) => x.into().apply("embedding_bag", |ids| kernel::embedding_bag(&ids, &weight, bags)),
        Err(error) => Signal::fail(error),
    }
}
