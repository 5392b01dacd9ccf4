//! Neural networks as plain Rust structs, on [candle](https://docs.rs/candle-core) tensors.
//!
//! [`#[derive(Module)]`](macro@Module) turns a struct of layers into a network: it generates the constructor,
//! the parameter registry, the forward pass, checkpoint loading and the training setup. A convolution and the
//! bias, batch norm, residual and activation that follow it run as one kernel.
//!
//! ```
//! use sconce::prelude::*;
//!
//! #[derive(Module)]
//! #[module(forward = |x| {
//!     let x = relu(conv1(x));
//!     relu(conv2(x))
//! })]
//! struct Model {
//!     #[layer(1, 20, 5)]
//!     conv1: Conv2d,
//!     #[layer(20, 20, 5)]
//!     conv2: Conv2d,
//! }
//!
//! # fn main() -> Result<()> {
//! let device = Device::Cpu;
//! let model = Model::new(&device)?; // PyTorch's default initialization
//! let x = Tensor::zeros((1, 1, 28, 28), DType::F32, &device)?;
//! let y = model.forward(&x)?; // each conv + bias + relu is one kernel launch
//! assert_eq!(y.dims(), [1, 20, 20, 20]);
//! # Ok(())
//! # }
//! ```
//!
//! - **Layers** take PyTorch's arguments in PyTorch's order: `#[layer(3, 64, 7, stride = 2)] conv: Conv2d`.
//!   A derived struct is a layer too. [The derive](macro@Module) documents the attributes.
//! - **Custom layers** implement [`Module`](trait@Module) and [`Forward`]. [`Module`](trait@Module) has an example.
//! - **Named tensors**: [`Network`] gives every network `named_parameters`, `state_dict`, `save`,
//!   `freeze("backbone.**")`, `to_dtype` and more. [`Config::load`] builds a network from a checkpoint,
//!   including PyTorch's `.pt` files.
//! - **Training**: write `#[module(loss = cross_entropy, optimizer = AdamW::new(1e-3))]` and call
//!   `model.fit(&train, &valid, Epochs(5))`; see [`train`].
//! - **Signals**: layers take and return a [`Signal`]. A signal collects the operations that can run as one
//!   kernel. It also carries the first error, with the path of the failing layer, to the end of the forward pass.
//! - **candle** is re-exported as `sconce::candle` and candle-nn as `sconce::nn`. candle-nn's layers can be
//!   fields like any other layer.

// All `unsafe` code of the published crates is in sconce-kernels.
#![forbid(unsafe_code)]

// The derive generates paths that begin with `::sconce`. With this line, they also resolve inside this crate.
extern crate self as sconce;

#[doc(hidden)]
#[path = "private/mod.rs"]
pub mod __private;
mod call_once;
mod capture;
pub mod checkpoint;
mod config;
mod dim;
mod dispatch;
mod display;
mod error;
#[cfg(any(feature = "onnx", feature = "stablehlo"))]
mod export;
pub mod functional;
mod glob;
#[cfg_attr(
    not(any(feature = "onnx", feature = "stablehlo")),
    expect(dead_code, reason = "only the exports read graphs")
)]
mod graph;
#[cfg(doctest)]
mod guide;
#[cfg(feature = "hub")]
pub mod hub;
pub mod init;
pub mod layers;
mod load;
mod module;
mod network_graph;
#[cfg(feature = "onnx")]
mod onnx;
mod ops;
pub mod prelude;
mod profile;
pub mod random;
mod recompute;
mod registry;
mod reuse;
mod scope;
mod signal;
mod sizes;
mod source;
#[cfg(feature = "stablehlo")]
mod stablehlo;
mod summary;
mod symbolic;
mod text_table;
mod thread_value;
pub mod train;

pub use candle_core as candle;
pub use candle_nn as nn;
pub use capture::Captured;
pub use checkpoint::Save;
pub use config::Config;
pub use dim::{Dim, Dims};
pub use error::{Error, Result};
/// The map type of fields such as `heads: IndexMap<String, Linear>`.
pub use indexmap::IndexMap;
pub use kernels::cuda::{cuda, set_tf32};
pub use kernels::internal::ActivationMemory;
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let layers = vec![
///     Conv2d::config(3, 32, 3).padding(1).init(&Device::Cpu)?,
///     Conv2d::config(32, 32, 3).padding(1).init(&Device::Cpu)?,
///     Conv2d::config(32, 32, 3).padding(1).init(&Device::Cpu)?,
/// ];
/// let network = layers.inference()?;
/// let x = Tensor::zeros((1, 3, 20, 20), DType::F32, &Device::Cpu)?;
/// network.call(x.into(), Mode::Eval).into_tensor()?;
/// // There are three activations of 32 channels; at most two are alive at the same time.
/// assert_eq!(sconce::activation_memory().peak, 2 * 32 * 20 * 20 * 4);
/// drop(network);
/// assert_eq!(sconce::activation_memory().held, 0);
/// # Ok(())
/// # }
/// ```
pub use kernels::internal::activation_memory;
pub use kernels::trace::{Launch, trace};
pub use kernels::{backward, is_exact, set_exact};
pub use load::{Load, LoadReport, ShapeMismatch};
pub use module::{Forward, ForwardContainer, ForwardWith, Layer, Mode, Module, Visitor, VisitorMut};
pub use network_graph::{Graph, GraphEdge, GraphLaunch, GraphNode};
#[cfg(feature = "onnx")]
pub use onnx::OnnxOptions;
pub use profile::{LaunchProfile, Profile};
pub use random::manual_seed;
pub use recompute::is_recomputing;
pub use registry::{Eval, Network};
/// The kernels, for use without the derive.
pub use sconce_kernels as kernels;
pub use sconce_macros::{Batch, Module};
pub use scope::{NotFused, NotFusedKind, no_fusion};
pub use signal::{Chunks, IntoTensors, Number, Operand, OperandValue, Outcome, Signal, SplitSizes};
pub use sizes::{Size, Sizes};
#[cfg(feature = "stablehlo")]
pub use stablehlo::StableHloOptions;
pub use summary::{LayerSummary, Summary, SummaryColumn, SummaryInput};
pub use symbolic::{SymbolicSize, SymbolicSizes};
