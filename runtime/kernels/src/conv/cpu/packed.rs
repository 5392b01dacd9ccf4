//! The cache of a convolution: its packed weight, its plan and the selected algorithm.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use candle_core::TensorId;

use crate::exact::is_exact;
use crate::memory::Arena;
use crate::slot::Slot;

use super::fused_consumer::Windows;
use super::operand_format::OperandFormat;
use super::plan::OutputBlocks;
use super::problem::{Algorithm, ConvProblem};
use super::winograd::WinogradTile;

/// A cache for a packed weight, and for the plan and algorithm of the last call. A layer keeps its cache between calls.
///
/// The packed weight belongs to one immutable tensor, identified by its id. A call with another weight, or with an
/// algorithm that reads the weight in another order, replaces the packed weight. Use a cache only if the weight's
/// storage never changes; weights that are variables are never cached. The plan belongs to one shape. A clone of a
/// cache is empty.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::{ConvGeometry, Epilogue, PackedCache, conv2d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((1, 8, 16, 16), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((8, 8, 3, 3), DType::F32, &Device::Cpu)?;
/// let packed = PackedCache::default();
/// let convolve = |packed| conv2d(&x, &weight, &ConvGeometry::new(), &Epilogue::new(), packed);
/// let first = convolve(Some(&packed))?; // packs the weight
/// let second = convolve(Some(&packed))?; // reads the packed weight
/// assert_eq!(first.sum_all()?.to_scalar::<f32>()?, second.sum_all()?.to_scalar::<f32>()?);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct PackedCache {
    weight: Slot<(TensorId, PackedOrder)>,
    plan: Slot<PlanKey>,
    /// The key is the problem and [`is_exact`].
    algorithm: Slot<(ConvProblem, bool)>,
    /// The arena for the layer's results. It lives as long as any layer that uses it.
    arena: OnceLock<Arc<Arena>>,
}

impl PackedCache {
    /// Returns the arena for the results of the layer that owns this cache. The crate `sconce` uses it.
    pub fn arena(&self) -> Arc<Arena> {
        self.arena.get_or_init(Arena::shared).clone()
    }
}

/// Everything that a plan depends on: the problem, the algorithm, the number of threads, and the windows of a fused
/// consumer.
pub(super) type PlanKey = (ConvProblem, Algorithm, usize, Option<Windows>);

/// The order in which an algorithm reads the elements of a packed weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackedOrder {
    /// The order in which [`PackedWeight`](super::packed_weight::PackedWeight) stores the weight.
    RegisterTiles {
        groups: usize,
        output_blocks: OutputBlocks,
        chunk_channels: usize,
        input_block: usize,
        operand: OperandFormat,
    },
    /// `[channels / lanes][taps][lanes]`.
    Depthwise { lanes: usize },
    /// The transformed weight of Winograd's convolution.
    Winograd { tile: WinogradTile },
}

impl Clone for PackedCache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for PackedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PackedCache")
    }
}

/// A cache for the packed weight, and the id of the weight.
#[derive(Clone, Copy)]
pub struct Packing<'a> {
    pub(super) cache: &'a PackedCache,
    pub(super) weight: TensorId,
    /// The algorithm to run instead of the selected one.
    pub(super) algorithm: Option<Algorithm>,
}

impl<'a> Packing<'a> {
    /// Uses `cache` for a weight whose storage never changes.
    pub fn new(cache: &'a PackedCache, weight: TensorId) -> Self {
        Self { cache, weight, algorithm: None }
    }

    /// Uses `cache` as [`new`](Self::new) does, and runs the given algorithm.
    #[cfg(any(test, feature = "testing"))]
    pub fn with_algorithm(algorithm: Algorithm, cache: &'a PackedCache, weight: TensorId) -> Self {
        Self { cache, weight, algorithm: Some(algorithm) }
    }

    /// Returns the cached packed weight, or calls `pack` and caches its result if there is a cache.
    pub(super) fn get<T: Any + Send + Sync>(
        packing: Option<Self>,
        order: PackedOrder,
        pack: impl FnOnce() -> T,
    ) -> Arc<T> {
        match packing {
            Some(Packing { cache, weight, .. }) => cache.weight.get((weight, order), pack),
            None => Arc::new(pack()),
        }
    }

    /// Returns the algorithm that `packing` prescribes, or selects one. If there is a cache, caches the selected
    /// algorithm.
    pub(super) fn algorithm(packing: Option<Self>, problem: &ConvProblem) -> Algorithm {
        match packing {
            Some(Packing { algorithm: Some(algorithm), .. }) => algorithm,
            Some(Packing { cache, .. }) => *cache.algorithm.get((*problem, is_exact()), || problem.select()),
            None => problem.select(),
        }
    }

    /// Returns the cached plan for `key`, or calls `make` and caches its result if there is a cache.
    pub(super) fn plan<T: Any + Send + Sync>(
        packing: Option<Self>,
        key: PlanKey,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        match packing {
            Some(Packing { cache, .. }) => cache.plan.get(key, make),
            None => Arc::new(make()),
        }
    }
}
