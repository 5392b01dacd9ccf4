//! The memory of a cache: one value and its key.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

/// A value and its key. A request with another key replaces both.
pub(crate) struct Slot<K>(Mutex<Option<(K, Value)>>);

type Value = Arc<dyn Any + Send + Sync>;

impl<K> Default for Slot<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq> Slot<K> {
    /// Returns the value for `key`, or stores and returns the result of `make`.
    pub fn get<T: Any + Send + Sync>(&self, key: K, make: impl FnOnce() -> T) -> Arc<T> {
        match self.get_or_try(key, || Ok::<_, std::convert::Infallible>(make())) {
            Ok(value) => value,
        }
    }

    /// Returns the value for `key`, or stores and returns the result of `make`. Stores nothing if `make` fails.
    ///
    /// # Errors
    /// Fails if `make` fails.
    pub fn get_or_try<T: Any + Send + Sync, E>(
        &self,
        key: K,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        // A thread that panicked in `make` has not stored its value, so the slot is valid.
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept_key, value)) = &*slot
            && *kept_key == key
            && let Ok(value) = value.clone().downcast()
        {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        *slot = Some((key, value.clone()));
        Ok(value)
    }
}
