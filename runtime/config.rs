//! From arguments to a network: every layer and every derived struct has a config.

use std::borrow::Borrow;
use std::path::Path;

use candle_core::{DType, Device};
use candle_nn::VarBuilder;

use crate::Result;
use crate::load::{Load, LoadReport};
use crate::module::Module;
use crate::source;

/// The arguments of a layer or network, ready to be built.
///
/// `Conv2d::config(3, 64, 7).stride(2)` is one; so is what `#[derive(Module)]` makes of
/// `#[module(args(…))]`. A type of your own joins in by a function `config` that returns its
/// implementation of this trait.
pub trait Config: Sized {
    type Output: Module;

    /// Builds the layer with the tensors of any candle `VarBuilder`.
    ///
    /// It shares their storage, and so follows whoever writes to it. To run fast, a network that nobody
    /// changes any more needs tensors of its own: [`inference`](crate::Network::inference) copies them.
    fn build(self, vb: VarBuilder) -> Result<Self::Output>;

    /// Builds it with fresh parameters, in PyTorch's default initialisation.
    ///
    /// [`manual_seed`](crate::manual_seed) makes them reproducible.
    fn init(self, device: &Device) -> Result<Self::Output> {
        self.build(source::fresh(DType::F32, device))
    }

    /// Builds it with the parameters of a checkpoint: whatever [`checkpoint::read`](crate::checkpoint::read)
    /// takes.
    ///
    /// Missing, unexpected and misshapen tensors are reported together, by name.
    fn load(self, path: impl AsRef<Path>, device: &Device) -> Result<Self::Output> {
        self.load_with(Load::new(path), device).map(|(network, _)| network)
    }

    /// Builds it with the parameters of a checkpoint, as [`Load`] says, and reports what was loaded.
    ///
    /// With [`Load::partial`], what the checkpoint lacks keeps its fresh initialisation.
    fn load_with(self, load: impl Borrow<Load>, device: &Device) -> Result<(Self::Output, LoadReport)> {
        let load = load.borrow();
        let tensors = load.read(device)?;
        source::build_from(self, tensors, load, device).map_err(|error| error.in_layer(load.path().display()))
    }

    /// Builds it with the parameters of a checkpoint on the Hugging Face hub: `"owner/name"`, or a
    /// [`Hub`](crate::hub::Hub) that says revision and file. Under the feature `hub`.
    ///
    /// What was downloaded before is read from the cache; [`hub`](crate::hub) says where that is. For the
    /// options of [`Load`], call `load_with(Load::new(hub.download()?), device)`.
    #[cfg(feature = "hub")]
    #[allow(clippy::wrong_self_convention)] // The name it has wherever there is a hub.
    fn from_pretrained(self, hub: impl Into<crate::hub::Hub>, device: &Device) -> Result<Self::Output> {
        self.load(hub.into().download()?, device)
    }
}
