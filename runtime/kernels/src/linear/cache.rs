//! The cache of a linear layer: its packed weight.

use std::fmt;
use std::sync::Arc;

use candle_core::{Result, Tensor, TensorId};

use crate::element::with_elements;
use crate::gemm::{Matrix, PackedB};
use crate::simd::Isa;
use crate::slot::Slot;

/// A cache for the packed weight of a linear layer. A layer keeps its cache between calls.
///
/// The packed weight has the size of the weight. It belongs to one immutable tensor, identified by its id. A call with
/// another weight replaces it. Use a cache only if the weight's storage never changes; weights that are variables are
/// never cached. A clone of a cache is empty.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::{Activation, LinearCache, linear};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((100, 32), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((64, 32), DType::F32, &Device::Cpu)?;
/// let cache = LinearCache::default();
/// let first = linear(&x, &weight, None, Activation::Relu, Some(&cache))?; // packs the weight
/// let second = linear(&x, &weight, None, Activation::Relu, Some(&cache))?; // reads the packed weight
/// assert_eq!(first.sum_all()?.to_scalar::<f32>()?, second.sum_all()?.to_scalar::<f32>()?);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct LinearCache(Slot<TensorId>);

impl LinearCache {
    /// Returns the transpose of `weight`, packed.
    pub(super) fn packed(&self, isa: Isa, weight: &Tensor) -> Result<Arc<PackedB>> {
        self.0.get_or_try(weight.id(), || {
            let (out_features, in_features) = weight.dims2()?;
            with_elements(weight, |weight| {
                PackedB::new(isa, Matrix::new(weight, out_features, in_features).t())
            })
        })
    }
}

impl Clone for LinearCache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for LinearCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinearCache")
    }
}
