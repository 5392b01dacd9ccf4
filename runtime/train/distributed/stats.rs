//! The time that the ranks spend on communication.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time that a rank spent on reducing gradients.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::distributed::{Communication, ThreadCommunicator};
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((8, 1), DType::F32, &Device::Cpu)?;
/// let data = TensorDataset::new(x.clone(), x)?.batch_size(2);
/// let results = ThreadCommunicator::run(2, |communicator| {
///     let line = Linear::config(1, 1).init(&Device::Cpu)?;
///     let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(communicator);
///     trainer.fit(&data, &(), Epochs(3))?;
///     Ok(trainer.communication().expect("training is distributed"))
/// });
/// for communication in results {
///     let communication: Communication = communication?;
///     assert_eq!(communication.steps, 6);
///     assert_eq!(communication.bytes, 6 * 2 * 4);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Communication {
    /// The number of steps for which gradients were reduced.
    pub steps: u64,
    /// The number of buckets that were reduced.
    pub buckets: u64,
    /// The size of the gradients of one rank that were sent, in bytes.
    pub bytes: u64,
    /// The time for copying and reducing buckets, and for converting them with compression.
    pub reduction: Duration,
    /// The time for which the rank waited for buckets after its backward pass. The rest of
    /// [`reduction`](Self::reduction) ran during the backward pass.
    pub exposed: Duration,
}

impl Communication {
    /// Returns the fraction of the reduction that ran during the backward pass, or NaN before the first step.
    pub fn overlap(&self) -> f64 {
        1. - (self.exposed.as_secs_f64() / self.reduction.as_secs_f64()).min(1.)
    }
}

/// The counters behind [`Communication`].
#[derive(Default)]
pub(super) struct Counters {
    steps: AtomicU64,
    buckets: AtomicU64,
    bytes: AtomicU64,
    reduction: AtomicU64,
    exposed: AtomicU64,
}

impl Counters {
    /// Adds a bucket of `bytes` bytes whose reduction began at `start`.
    pub fn add_bucket(&self, bytes: usize, start: Instant) {
        self.buckets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.reduction.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Adds a step that waits for its buckets since `start`.
    pub fn add_step(&self, start: Instant) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.exposed.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    pub fn read(&self) -> Communication {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Communication {
            steps: read(&self.steps),
            buckets: read(&self.buckets),
            bytes: read(&self.bytes),
            reduction: Duration::from_nanos(read(&self.reduction)),
            exposed: Duration::from_nanos(read(&self.exposed)),
        }
    }
}
