//! A struct whose fields are layers becomes, through `#[derive(Module)]`, a whole neural network.

// The derive writes `::sconce::…`, also for the networks of this crate's own tests and examples.
extern crate self as sconce;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod checkpoint;
mod config;
mod display;
mod error;
pub mod functional;
mod glob;
pub mod init;
pub mod kernels;
pub mod layers;
mod module;
pub mod prelude;
pub mod random;
mod registry;
mod scope;
mod signal;
mod source;
pub mod train;

pub use candle_core as candle;
pub use candle_nn as nn;
pub use config::Config;
pub use error::{Error, Result};
pub use module::{Forward, Layer, Mode, Module, Visitor, VisitorMut};
pub use random::manual_seed;
pub use registry::{Eval, Network};
pub use sconce_macros::Module;
pub use scope::{Launch, no_fusion, trace};
#[cfg(feature = "serde")]
#[doc(hidden)]
pub use serde;
pub use signal::{Finish, Outcome, Signal};
