//! Data sets and batches.
//!
//! A source of batches implements [`Batches`]:
//!
//! - [`TensorDataset`], for data that fits in memory as two tensors;
//! - [`DataLoader`], which reads the examples of a [`Dataset`] one by one, in worker threads if requested;
//! - [`from_fn`], for batches from a function.
//!
//! A [`Dataset`] returns examples by index: a [`TensorDataset`], [`dataset_fn`], a [`Subset`] from [`random_split`], or
//! your own type. [`read_idx`], [`read_cifar10`], [`read_npz`] and [`CsvTable`] read files into tensors. `ImageFolder`,
//! with the feature `image`, reads images one by one. [`Dataset::map`] and [`Dataset::transform`] change the examples
//! of a data set; [`transforms`] contains the transforms of images.

mod batches;
mod collate;
mod dataset;
mod from_fn;
mod generator;
mod loader;
mod readers;
mod sampler;
mod subset;
mod tensor_dataset;
pub mod transforms;

pub use batches::{Batches, Epoch};
pub use collate::{Collate, stack_examples};
pub use dataset::{Dataset, DatasetFn, Map, dataset_fn};
pub use from_fn::{FromFn, from_fn};
pub use generator::Generator;
pub use loader::{DataLoader, LoaderEpoch};
#[cfg(feature = "image")]
pub use readers::ImageFolder;
pub use readers::{
    CsvReader, CsvTable, read_cifar10, read_cifar100, read_idx, read_idx_with_limit, read_npz,
    read_npz_with_limit,
};
pub use sampler::WeightedSampler;
pub use subset::{SplitSizes, Subset, random_split};
pub use tensor_dataset::TensorDataset;
