//! Training: losses, optimisers, and the loop that ties them to a network.

pub mod data;
mod evaluate;
mod history;
pub mod loss;
pub mod metrics;
pub mod optim;
mod progress;
mod snapshot;
mod trainable;
mod trainer;

pub use data::{Batches, TensorDataset};
pub use evaluate::{Evaluation, evaluate};
pub use history::{EpochReport, History};
pub use loss::Loss;
pub use optim::Optimizer;
pub use trainable::Trainable;
pub use trainer::{Epochs, Trainer, Validation};
