//! Data sets and batches.

mod batches;
mod from_fn;
mod tensor_dataset;

pub use batches::{Batch, Batches, Epoch};
pub use from_fn::{FromFn, from_fn};
pub use tensor_dataset::TensorDataset;
