//! Training of one network by several processes.
//!
//! Each process, a *rank*, has a copy of the network and trains it on its own part of the data. The gradients are
//! averaged over all ranks before each step, so that the copies stay equal.
//!
//! A [`Communicator`] connects the ranks. [`Trainer::distributed`](crate::train::Trainer::distributed) takes one, or
//! [`Distributed`], which also has settings:
//!
//! | communicator | ranks | feature |
//! |---|---|---|
//! | [`ThreadCommunicator`] | threads of one process, for tests | |
//! | `MpiCommunicator` | the processes that `mpirun` or `srun` starts | `mpi` |
//! | `NcclCommunicator` | processes with one GPU each; compiled, but never run by the tests | `nccl` |
//!
//! ```
//! use sconce::prelude::*;
//! use sconce::train::distributed::ThreadCommunicator;
//! # fn main() -> Result<()> {
//! let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
//! let data = TensorDataset::new(x.clone(), (x * 3.)?)?.batch_size(2);
//! // Two ranks with batches of 2 examples take the same steps as one with batches of 4.
//! let slopes = ThreadCommunicator::run(2, |communicator| {
//!     let line = Linear::config(1, 1).init(&Device::Cpu)?;
//!     let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.05)).quiet(true).distributed(communicator);
//!     trainer.fit(&data, &(), Epochs(100))?;
//!     Ok(line.weight().flatten_all()?.to_vec1::<f32>()?[0])
//! });
//! let slopes = slopes.into_iter().collect::<Result<Vec<f32>>>()?;
//! assert!((slopes[0] - 3.).abs() < 1e-3);
//! assert_eq!(slopes[0], slopes[1]);
//! # Ok(())
//! # }
//! ```
//!
//! The chapter "Several processes" of the guide describes what the ranks share, checkpoints and Slurm.

mod buckets;
mod communicator;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod queue;
mod ranks;
mod reducer;
mod settings;
mod stats;
mod sync;
mod threads;

pub use communicator::Communicator;
#[cfg(feature = "mpi")]
pub use mpi::MpiCommunicator;
#[cfg(feature = "nccl")]
pub use nccl::NcclCommunicator;
pub(super) use ranks::Ranks;
pub(super) use reducer::{Gradients, Reduced, Reducer};
pub use settings::{Compression, Distributed};
pub use stats::Communication;
pub(super) use sync::{average_buffers, broadcast_tensors, check_equal_parameters, merge_metrics};
pub use threads::ThreadCommunicator;
