//! `use sconce::prelude::*;`: what a file that defines and runs networks needs.

pub use candle_core::{D, DType, Device, Tensor};

pub use crate::checkpoint::StateDict;
pub use crate::config::Config;
pub use crate::functional::*;
pub use crate::layers::*;
pub use crate::module::{Forward, Layer, Mode, Module};
pub use crate::registry::Network;
pub use crate::signal::Signal;
pub use crate::{Error, Result, manual_seed};
pub use sconce_macros::Module;
