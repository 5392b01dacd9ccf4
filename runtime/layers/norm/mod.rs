//! Normalisation layers.

mod batch;
mod channels;
mod group;
mod instance;
mod layer;
mod rms;
mod shape;

pub use batch::{BatchNorm, BatchNormConfig};
pub use group::{GroupNorm, GroupNormConfig};
pub use instance::{InstanceNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, InstanceNormConfig};
pub use layer::{LayerNorm, LayerNormConfig};
pub(crate) use rms::epsilon;
pub use rms::{RmsNorm, RmsNormConfig};
pub use shape::NormalizedShape;
