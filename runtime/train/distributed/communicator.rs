//! The interface to the network that connects the ranks.

use std::sync::Arc;

use candle_core::Tensor;

use crate::Result;

/// Connects the ranks of a distributed training: a user can implement it for any transport.
///
/// Every rank calls the same methods in the same order, with tensors of the same length and dtype. A trainer calls
/// [`all_reduce`](Self::all_reduce) and [`broadcast`](Self::broadcast) from a thread of its own, one call at a time.
///
/// A communicator for a single rank:
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::distributed::Communicator;
///
/// struct Alone;
///
/// impl Communicator for Alone {
///     fn rank(&self) -> usize {
///         0
///     }
///
///     fn size(&self) -> usize {
///         1
///     }
///
///     fn all_reduce(&self, values: &Tensor) -> Result<Tensor> {
///         Ok(values.clone())
///     }
///
///     fn broadcast(&self, values: &Tensor, _root: usize) -> Result<Tensor> {
///         Ok(values.clone())
///     }
///
///     fn abort(&self, cause: &str) {
///         eprintln!("training stops: {cause}");
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::ones((8, 1), DType::F32, &Device::Cpu)?;
/// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(Alone);
/// trainer.fit(&(x.clone(), x), &(), Epochs(2))?;
/// # Ok(())
/// # }
/// ```
pub trait Communicator: Send + Sync {
    /// Returns the number of this rank, counted from 0.
    fn rank(&self) -> usize;

    /// Returns the number of ranks.
    fn size(&self) -> usize;

    /// Returns the sum of `values` over all ranks, with the same bits on every rank.
    ///
    /// - `values`: `[n]`, contiguous, in f32, f64, f16 or bf16; on the CPU or on the device of the parameters
    /// - returns a tensor of the same shape and dtype on the same device
    ///
    /// # Errors
    /// Fails if another rank has failed or if the ranks called different methods, as far as the transport can tell.
    fn all_reduce(&self, values: &Tensor) -> Result<Tensor>;

    /// Returns the `values` of the rank `root`, with the same bits.
    ///
    /// - `values`: `[n]`, contiguous, of any dtype; on the CPU or on the device of the parameters
    /// - returns a tensor of the same shape and dtype on the same device
    ///
    /// # Errors
    /// Fails under the same conditions as [`all_reduce`](Self::all_reduce).
    fn broadcast(&self, values: &Tensor, root: usize) -> Result<Tensor>;

    /// Stops all ranks, because this rank failed with `cause`. The methods of the other ranks return an error that
    /// names this rank and the cause or, if the transport cannot deliver an error, their processes end. The method may
    /// be called while another thread waits in [`all_reduce`](Self::all_reduce). Only the first call has an effect.
    fn abort(&self, cause: &str);
}

impl<C: Communicator + ?Sized> Communicator for Arc<C> {
    fn rank(&self) -> usize {
        (**self).rank()
    }

    fn size(&self) -> usize {
        (**self).size()
    }

    fn all_reduce(&self, values: &Tensor) -> Result<Tensor> {
        (**self).all_reduce(values)
    }

    fn broadcast(&self, values: &Tensor, root: usize) -> Result<Tensor> {
        (**self).broadcast(values, root)
    }

    fn abort(&self, cause: &str) {
        (**self).abort(cause);
    }
}
