//! Normalization layers.

mod batch;
mod channel_norm;
mod group;
mod instance;
mod layer;
mod layer2d;
mod rms;

pub use batch::{
    BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormConfig, BatchNormNd, BatchNormNdConfig,
};
pub use group::{GroupNorm, GroupNormConfig};
pub use instance::{InstanceNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, InstanceNormConfig};
pub use layer::{LayerNorm, LayerNormConfig};
pub use layer2d::{LayerNorm2d, LayerNorm2dConfig};
pub use rms::{RmsNorm, RmsNormConfig};
