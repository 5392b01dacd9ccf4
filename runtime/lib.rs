//! A struct whose fields are layers becomes, through `#[derive(Module)]`, a whole neural network.

pub mod checkpoint;
mod error;
pub mod kernels;
pub mod layers;
pub mod random;
pub mod train;

pub use candle_core as candle;
pub use candle_nn as nn;
pub use error::{Error, Result};
pub use random::manual_seed;
