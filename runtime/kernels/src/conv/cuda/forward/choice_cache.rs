//! A cache of the selected variants, because estimating the times of all variants can take longer than the launch.

use super::{Variant, choice};
use crate::conv::ConvShape;
use crate::cuda::Target;
use candle_core::DType;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

type CacheKey = (ConvShape, DType, Target);

/// The maximum number of cached variants, which is more than the number of layers of most networks. A full cache is
/// cleared.
const MAX_ENTRIES: usize = 4096;

static CACHE: LazyLock<Mutex<HashMap<CacheKey, Variant>>> = LazyLock::new(Mutex::default);

/// Returns [`choice::best`], computed once for each key.
pub fn best(shape: &ConvShape, dtype: DType, target: &Target) -> Option<Variant> {
    let key = (*shape, dtype, *target);
    // No panic can interrupt a change of the map, so a poisoned map is consistent.
    let cache = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(variant) = cache().get(&key) {
        return Some(*variant);
    }
    let variant = choice::best(shape, dtype, target)?;
    let mut cache = cache();
    if cache.len() == MAX_ENTRIES {
        cache.clear();
    }
    cache.insert(key, variant);
    Some(variant)
}
