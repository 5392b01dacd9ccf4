//! What a kernel prepares from a weight, kept for the next call.

use crate::kernels::conv::winograd::Tile;
use candle_core::TensorId;
use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The packed form of an immutable weight, which a layer keeps between its calls.
///
/// The form belongs to one tensor, by its id: another weight, or another kernel, replaces it. It is
/// right only where nobody writes to the weight's storage; weights that are variables are never kept.
/// A clone shares nothing and starts empty.
#[derive(Default)]
pub struct PackedCache(Mutex<Option<(Key, Kept)>>);

type Key = (TensorId, Form);
type Kept = Arc<dyn Any + Send + Sync>;

/// The order of a packed weight's elements; each kernel has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Of the direct kernel: blocks of output channels, chunks of input channels.
    Blocked { block: usize, chunk: usize },
    /// Of Winograd's kernel: transformed.
    Winograd { tile: Tile },
}

impl PackedCache {
    fn get<T: Any + Send + Sync>(&self, key: Key, pack: impl FnOnce() -> T) -> Arc<T> {
        // A thread that panicked while it packed has stored nothing: what is there is whole.
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept, packed)) = &*slot
            && *kept == key
            && let Ok(packed) = packed.clone().downcast()
        {
            return packed;
        }
        let packed = Arc::new(pack());
        *slot = Some((key, packed.clone()));
        packed
    }
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

/// A cache together with the weight that a call reads.
#[derive(Clone, Copy)]
pub struct Packing<'a> {
    pub(super) cache: &'a PackedCache,
    pub(super) weight: TensorId,
}

impl Packing<'_> {
    /// The kept form of the weight, or else what `pack` makes, kept where there is a cache.
    pub(super) fn get<T: Any + Send + Sync>(
        packing: Option<Self>,
        form: Form,
        pack: impl FnOnce() -> T,
    ) -> Arc<T> {
        match packing {
            Some(Packing { cache, weight }) => cache.get((weight, form), pack),
            None => Arc::new(pack()),
        }
    }
}
