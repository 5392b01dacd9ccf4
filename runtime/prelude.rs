//! The items that most files need: `use sconce::prelude::*;`.

pub use candle_core::{D, DType, Device, Tensor};

pub use crate::checkpoint::{Save, StateDict};
pub use crate::config::Config;
pub use crate::functional::*;
pub use crate::layers::*;
pub use crate::load::{Load, LoadReport};
pub use crate::module::{Forward, ForwardContainer, ForwardWith, Layer, Mode, Module};
pub use crate::registry::Network;
pub use crate::signal::Signal;
pub use crate::train::loss::{
    BceWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss, CtcLoss, HuberLoss, KlDivLoss, L1Loss, Loss,
    MseLoss, NllLoss, Reduction, SmoothL1Loss, bce_with_logits, cosine_embedding_loss, cross_entropy,
    ctc_loss, huber_loss, kl_div, l1_loss, mse_loss, nll_loss, smooth_l1_loss,
};
pub use crate::train::metrics::{
    Accuracy, Auroc, AveragePrecision, ConfusionMatrix, F1, MeanAbsoluteError, MeanIou, Metric, Perplexity,
    Precision, R2, Recall, RootMeanSquaredError, accuracy,
};
pub use crate::train::optim::{Adam, AdamW, Optimizer, RmsProp, Sgd};
pub use crate::train::schedule::{
    ChainedLr, ConstantLr, Cosine, CosineAnnealingLr, CosineAnnealingWarmRestarts, Every, ExponentialLr,
    LinearLr, MultiStepLr, OneCycleLr, PolynomialLr, ReduceLrOnPlateau, Schedule, SequentialLr, StepLr,
};
pub use crate::train::{
    Batch, Batches, DataLoader, Dataset, Ema, Epochs, History, Patience, Swa, TensorDataset, Trainable,
    Trainer, audit_gradients, clip_grad_norm, clip_grad_value, evaluate,
};
pub use crate::{Error, Result, manual_seed};
pub use sconce_macros::{Batch, Module};
