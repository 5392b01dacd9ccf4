//! The keys and values of causal attention at earlier positions.

use candle_core::{D, Tensor};

use crate::kernels::internal::can_allocate;
use crate::signal::{Outcome, Signal};
use crate::{Error, Result};

/// The keys and values that causal attention has computed at earlier positions, so that a network computes only those
/// of the new positions when it continues a sequence.
///
/// A network has one cache for each attention layer, and gets the caches as an input of its forward closure. The keys
/// are `[…, length, features]`, usually `[batch, heads, length, features]`. The queries attend with
/// [`query_offset`](super::AttentionOptions::query_offset), the number of positions before the new ones.
///
/// The memory grows by doubling, so appending a position copies only its own key and value. A cache stores no
/// gradients: run a trainable network with [`detached`](crate::Network::detached) parameters.
///
/// A clone continues from the same positions independently.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x, cache: &mut KvCache| {
///     let offset = cache.len();
///     let (key, value) = cache.append(key(x), value(x));
///     let options = AttentionOptions::default().is_causal(true).query_offset(offset);
///     scaled_dot_product_attention(query(x), key, value, options)
/// })]
/// struct Attention {
///     #[layer(8, 8)]
///     query: Linear,
///     #[layer(8, 8)]
///     key: Linear,
///     #[layer(8, 8)]
///     value: Linear,
/// }
/// # fn main() -> Result<()> {
/// let net = Attention::new(&Device::Cpu)?.detached();
/// let x = Tensor::rand(0f32, 1., (1, 5, 8), &Device::Cpu)?; // [batch, length, features]
/// let whole = net.forward(&x, &mut KvCache::new())?;
///
/// // Reading the sequence in two parts gives the same outputs.
/// let mut cache = KvCache::new();
/// net.forward(x.narrow(1, 0, 3)?, &mut cache)?;
/// let rest = net.forward(x.narrow(1, 3, 2)?, &mut cache)?;
/// let difference = (whole.narrow(1, 3, 2)? - rest)?.abs()?.max_all()?.to_scalar::<f32>()?;
/// assert!(difference < 1e-6 && cache.len() == 5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct KvCache {
    /// The number of positions.
    len: usize,
    /// The number of positions of `buffers` that this cache may write. Views of the first `len` positions may exist, so
    /// these never change.
    capacity: usize,
    /// The keys and the values, `[…, positions, features]` with at least `capacity` positions. `None` before the first
    /// call of `append`, and after `clear`.
    buffers: Option<[Tensor; 2]>,
}

/// The smallest capacity, in positions.
const MIN_CAPACITY: usize = 64;

impl KvCache {
    /// Creates an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if the cache has no positions.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes all positions. The next keys and values may have other sizes.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Removes the positions from `len` on. Does nothing if there are at most `len` positions. The next call of
    /// [`append`](Self::append) copies all remaining positions to new memory.
    pub fn truncate(&mut self, len: usize) {
        if len == 0 {
            self.clear();
        } else if len < self.len {
            self.len = len;
            // Outputs of `append` may contain the removed positions, so new ones go to other memory.
            self.capacity = len;
        }
    }

    /// Appends the keys and values of new positions, `[…, new, features]` and `[…, new, value_features]`. Returns the
    /// keys and the values of all positions.
    ///
    /// Both outputs are failed signals, and the cache is unchanged, if the sizes other than `new`, the dtype or the
    /// device differ from those in the cache, if the tensors track gradients or have no numbers
    /// ([`Signal::meta`]), or if the memory does not suffice.
    pub fn append(&mut self, key: impl Into<Signal>, value: impl Into<Signal>) -> (Signal, Signal) {
        match self.try_append(key.into(), value.into()) {
            Ok([key, value]) => (key.into(), value.into()),
            Err(error) => Outcome::failed(error),
        }
    }

    fn try_append(&mut self, key: Signal, value: Signal) -> Result<[Tensor; 2]> {
        let new = [key.into_tensor()?, value.into_tensor()?];
        let count = self.check(&new)?;
        let Some(len) = self.len.checked_add(count) else {
            return Err(Error::msg(format!(
                "not enough memory for {count} more positions than {}",
                self.len
            )));
        };
        if len > self.capacity || self.buffers.is_none() {
            self.grow(len, &new)?;
        }
        let Some(buffers) = &self.buffers else { return Ok(new) };
        for (buffer, new) in buffers.iter().zip(&new).filter(|_| count > 0) {
            buffer.slice_set(&separate(new, buffer)?, new.rank() - 2, self.len)?;
        }
        self.len = len;
        let [keys, values] = buffers.each_ref().map(|buffer| buffer.narrow(D::Minus2, 0, len));
        Ok([keys?, values?])
    }

    /// Checks new keys and values, and returns the number of their positions.
    fn check(&self, new: &[Tensor; 2]) -> Result<usize> {
        let [key, value] = new.each_ref().map(|x| x.dims());
        let count = match (key, value) {
            ([key @ .., count, _], [value @ .., values, _]) if key == value && count == values => *count,
            _ => {
                return Err(Error::msg(format!(
                    "expected a key […, length, features] and a value […, length, value_features], found {key:?} and \
                     {value:?}"
                )));
            }
        };
        if new.iter().any(Tensor::track_op) {
            return Err(Error::msg(
                "expected a key and a value without gradients, because a cache stores none; call `detached` on the \
                 network, or `detach` on the tensors",
            ));
        }
        for (old, new) in self.buffers.iter().flatten().zip(new) {
            let with_count = [&old.dims()[..old.rank() - 2], &[count, old.dims()[old.rank() - 1]]].concat();
            if with_count != new.dims()
                || old.dtype() != new.dtype()
                || !old.device().same_device(new.device())
            {
                return Err(Error::msg(format!(
                    "expected a key or value {with_count:?} of {:?} as in the cache, found {:?} of {:?}",
                    old.dtype(),
                    new.dims(),
                    new.dtype()
                )));
            }
        }
        Ok(count)
    }

    /// Moves the positions to larger buffers, for at least `len` positions of the sizes of `new`.
    fn grow(&mut self, len: usize, new: &[Tensor; 2]) -> Result<()> {
        let capacity = len.max(self.capacity.saturating_mul(2)).max(MIN_CAPACITY);
        let grown = |i: usize| -> Result<Tensor> {
            let mut dims = new[i].dims().to_vec();
            let axis = dims.len() - 2;
            dims[axis] = capacity;
            if !can_allocate::<f64>(&dims) {
                return Err(Error::msg(format!("not enough memory for a cache of {dims:?}")));
            }
            let buffer = Tensor::zeros(dims, new[i].dtype(), new[i].device())?;
            if let Some(old) = self.buffers.as_ref().filter(|_| self.len > 0) {
                buffer.slice_set(&old[i].narrow(axis, 0, self.len)?.contiguous()?, axis, 0)?;
            }
            Ok(buffer)
        };
        self.buffers = Some([grown(0)?, grown(1)?]);
        self.capacity = capacity;
        Ok(())
    }
}

/// Returns the elements of `new` as a contiguous tensor that does not share the memory of `buffer`.
fn separate(new: &Tensor, buffer: &Tensor) -> candle_core::Result<Tensor> {
    let storage = |tensor: &Tensor| std::ptr::from_ref(&*tensor.storage_and_layout().0);
    if storage(new) == storage(buffer) { new.copy()?.contiguous() } else { new.contiguous() }
}

impl Clone for KvCache {
    fn clone(&self) -> Self {
        // The clone may not write to the memory that it shares with the original.
        Self { len: self.len, capacity: self.len, buffers: self.buffers.clone() }
    }
}
