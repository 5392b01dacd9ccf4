//! Losses, metrics, optimizers, learning-rate schedules, gradient clipping, averaged weights and the training loop.

mod audit;
mod average;
mod batch;
mod clip;
pub mod data;
pub mod distributed;
mod evaluate;
mod history;
pub mod log;
pub mod loss;
pub mod metrics;
pub mod optim;
mod precision;
mod progress;
mod scaler;
pub mod schedule;
mod snapshot;
mod tally;
mod throttle;
mod trainable;
mod trainer;
mod update_bn;

pub use crate::kernels::{keep_memory, release_memory};
pub use audit::audit_gradients;
pub use average::{AveragedModel, Ema, Equal, Exponential, Swa, Weighting};
pub use batch::{Batch, BatchField};
pub use clip::{ClipGradNorm, clip_grad_norm, clip_grad_value};
pub use data::{Batches, DataLoader, Dataset, TensorDataset};
pub use evaluate::{Evaluation, evaluate};
pub use history::{EpochReport, History, Stop};
pub use loss::Loss;
pub use optim::Optimizer;
pub use precision::{Precision, mixed_precision};
pub use scaler::GradScaler;
pub use schedule::{Every, Schedule};
pub use trainable::Trainable;
pub use trainer::{
    Callback, Epochs, FitPlan, IntoSchedule, LearningRate, Patience, StepReport, Trainer, Validation,
    best_checkpoint, last_checkpoint,
};
pub use update_bn::update_bn;
