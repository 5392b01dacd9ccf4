//! From arguments to a network: every layer and every derived struct has a config.

use std::borrow::Borrow;
use std::path::Path;

use candle_core::{DType, Device};
use candle_nn::VarBuilder;

use crate::Result;
use crate::load::{Load, LoadReport};
use crate::module::Module;
use crate::registry::Matching;
use crate::source::{self, Checkpoint, Fallback};

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

    /// Builds it with the parameters of a checkpoint, in any format of
    /// [`checkpoint::read`](crate::checkpoint::read).
    ///
    /// # Errors
    /// Those of [`load_with`](Self::load_with).
    fn load(self, path: impl AsRef<Path>, device: &Device) -> Result<Self::Output> {
        self.load_with(Load::new(path), device).map(|(network, _)| network)
    }

    /// Builds it with the parameters of a checkpoint, as [`Load`] says, and reports what was loaded.
    ///
    /// It takes the checkpoints that [`Network::load_with`](crate::Network::load_with) takes. With
    /// [`Load::partial`], what the checkpoint lacks keeps its fresh initialization.
    ///
    /// # Errors
    /// The checkpoint cannot be read; tensors are missing, unexpected or misshapen, unless [`Load::partial`] is
    /// set, or the names of a shared tensor have different values, which are reported together; or the arguments
    /// are wrong.
    fn load_with(self, load: impl Borrow<Load>, device: &Device) -> Result<(Self::Output, LoadReport)> {
        let load = load.borrow();
        let dtype = load.float_dtype()?.unwrap_or(DType::F32);
        let fallback = if load.is_partial() { Fallback::Draw } else { Fallback::Zeros };
        let source = Checkpoint::new(load.read(device)?, fallback);
        build_from(self, &source, dtype, device).map_err(|error| error.in_layer(load.path().display()))
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

/// Builds a network with the values of a checkpoint, then loads what the construction did not ask for.
fn build_from<C: Config>(
    config: C,
    source: &Checkpoint,
    dtype: DType,
    device: &Device,
) -> Result<(C::Output, LoadReport)> {
    let mut network = config.build(source.var_builder(dtype, device))?;
    let requests = source.requests();
    let matching = Matching::new(&network, &requests, source.state())?;
    matching.check(source.fallback() == Fallback::Draw)?;
    matching.assign(&mut network, &requests.filled)?;
    Ok((network, matching.report))
}
