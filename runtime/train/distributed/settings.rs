//! The settings of distributed training.

use std::fmt;
use std::sync::Arc;

use candle_core::DType;

use super::Communicator;

/// A communicator and the settings of distributed training, for
/// [`Trainer::distributed`](crate::train::Trainer::distributed).
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::distributed::{Compression, Distributed, ThreadCommunicator};
/// # fn main() -> Result<()> {
/// # let x = Tensor::ones((8, 1), DType::F32, &Device::Cpu)?;
/// # let data = TensorDataset::new(x.clone(), x)?.batch_size(2);
/// ThreadCommunicator::run(2, |communicator| {
///     let line = Linear::config(1, 1).init(&Device::Cpu)?;
///     let settings = Distributed::new(communicator).compression(Compression::Bf16).bucket_bytes(1 << 20);
///     let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(settings);
///     trainer.fit(&data, &(), Epochs(2))
/// })
/// .into_iter()
/// .collect::<Result<Vec<_>>>()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Distributed {
    pub(super) communicator: Arc<dyn Communicator>,
    pub(super) bucket_bytes: usize,
    pub(super) compression: Option<Compression>,
    pub(super) sync_batch_norm: bool,
}

/// The type in which gradients are sent.
///
/// ```
/// use sconce::train::distributed::Compression;
///
/// assert_ne!(Compression::F16, Compression::Bf16);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// f16, with 11 bits of precision. Gradients above 65504 overflow, and those below 6e-8 become 0.
    F16,
    /// bf16, with 8 bits of precision and the range of f32.
    Bf16,
}

impl Compression {
    /// Returns the dtype of the sent gradients.
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl Distributed {
    /// Creates the default settings: f32 gradients in buckets of 4 MiB, and batch norm with the statistics of each
    /// rank.
    pub fn new(communicator: impl Communicator + 'static) -> Self {
        let communicator = Arc::new(communicator);
        Self { communicator, bucket_bytes: 4 << 20, compression: None, sync_batch_norm: false }
    }

    /// Sets the size of a bucket in bytes, by default 4 MiB. The gradients of a bucket are reduced together, as soon as
    /// the backward pass has computed all of them. Small buckets are ready earlier; large ones have less overhead.
    pub fn bucket_bytes(mut self, bytes: usize) -> Self {
        self.bucket_bytes = bytes;
        self
    }

    /// Sends gradients in half precision, which halves the bytes on the network. The ranks still agree on every bit of
    /// the gradients, but these have the precision of f16 or bf16.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Sets whether batch norm computes the statistics in training over the batches of all ranks, by default `false`:
    /// each rank uses the statistics of its own batch, and the running statistics are averaged over the ranks at the
    /// end of an epoch and before a checkpoint.
    ///
    /// Only on the CPU. Each batch norm waits for the other ranks, twice in each step.
    pub fn sync_batch_norm(mut self, sync: bool) -> Self {
        self.sync_batch_norm = sync;
        self
    }
}

impl<C: Communicator + 'static> From<C> for Distributed {
    fn from(communicator: C) -> Self {
        Self::new(communicator)
    }
}

impl fmt::Debug for Distributed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distributed")
            .field("rank", &self.communicator.rank())
            .field("size", &self.communicator.size())
            .field("bucket_bytes", &self.bucket_bytes)
            .field("compression", &self.compression)
            .field("sync_batch_norm", &self.sync_batch_norm)
            .finish()
    }
}
