//! The trait of layer and network configs.

use std::borrow::Borrow;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Shape};
use candle_nn::VarBuilder;

use crate::Result;
use crate::load::{Load, LoadReport, Selection};
use crate::module::{Forward, Mode, Module};
use crate::registry::{Matching, Network};
use crate::scope::Scope;
use crate::signal::Signal;
use crate::source::{self, Checkpoint, Fallback};
use crate::symbolic::{SymbolicSize, SymbolicSizes};

/// The settings from which a layer or network is built.
///
/// Every layer has a function `config`, as in `Conv2d::config(3, 64, 7).stride(2)`. `#[derive(Module)]` generates one
/// from `#[module(args(…))]`. A custom layer needs a function `config` that returns a type with this trait.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv2d::config(3, 64, 7).stride(2).padding(3).init(&Device::Cpu)?;
/// let x = Tensor::zeros((1, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(conv.forward(&x)?.dims(), [1, 64, 16, 16]);
/// # Ok(())
/// # }
/// ```
pub trait Config: Sized {
    /// The layer or network.
    type Output: Module;

    /// Builds the layer with tensors of a `VarBuilder`.
    ///
    /// The layer shares the storage of these tensors and sees later writes to it. If the network no longer changes,
    /// call [`inference`](crate::Network::inference). It returns a faster network, which has its own copy of the
    /// tensors and therefore packs the weights once instead of on every call.
    ///
    /// # Errors
    /// Fails if the settings are invalid, or if `vb` has no tensor of the expected name and shape.
    fn build(self, vb: VarBuilder) -> Result<Self::Output>;

    /// Builds the layer with PyTorch's default initialization.
    ///
    /// [`manual_seed`](crate::manual_seed) makes the initial values reproducible.
    ///
    /// # Errors
    /// Fails if the settings are invalid, or if a tensor cannot be created on `device`.
    fn init(self, device: &Device) -> Result<Self::Output> {
        self.build(source::fresh(DType::F32, device))
    }

    /// Builds the layer without memory for its parameters, to call it with signals without numbers
    /// ([`Signal::meta`]). PyTorch's `torch.device("meta")` is similar.
    ///
    /// Each parameter is a view of a single zero, which cannot be trained or loaded.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// // The weight would have 4 TB.
    /// let linear = Linear::config(1_000_000, 1_000_000).meta()?;
    /// let y = linear.call(Signal::meta((64, 1_000_000), DType::F32), Mode::Eval);
    /// assert_eq!(y.dims()?, [64, 1_000_000]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the settings are invalid.
    fn meta(self) -> Result<Self::Output> {
        self.build(source::meta(DType::F32, &Device::Cpu))
    }

    /// Checks that the shapes of all layers fit together, for an input of the given shape and of f32, without memory
    /// for parameters or activations. Returns the output, a signal without numbers.
    ///
    /// For networks with other inputs or outputs, call [`meta`](Self::meta) and the network.
    ///
    /// ```
    /// use sconce::prelude::*;
    ///
    /// #[derive(Module)]
    /// struct Net {
    ///     #[layer(1, 20, 5)]
    ///     conv1: Conv2d,
    ///     #[layer(21, 50, 5)]
    ///     conv2: Conv2d,
    /// }
    /// # fn main() -> Result<()> {
    /// let error = Net::config().check((1, 1, 28, 28)).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "at Net.conv2 (Conv2d 21→50, 5×5): expected 21 input channels, found 20 (input [1, 20, 24, 24])"
    /// );
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the settings are invalid, or if a layer does not accept the shape of its input.
    fn check(self, input: impl Into<Shape>) -> Result<Signal>
    where
        Self::Output: Forward<Signal, Output = Signal>,
    {
        let network = self.meta()?;
        let _root = Scope::root(network.kind());
        let output = network.call(Signal::meta(input, DType::F32), Mode::Eval);
        match output.error() {
            Some(error) => Err(error.clone()),
            None => Ok(output),
        }
    }

    /// Checks the shapes of all layers like [`check`](Self::check), for an input whose sizes may have names. Returns
    /// the sizes of the output, as [`Network::output_sizes`](crate::Network::output_sizes) does.
    ///
    /// ```
    /// use sconce::SymbolicSize;
    /// use sconce::prelude::*;
    ///
    /// #[derive(Module)]
    /// struct Net {
    ///     #[layer(1, 20, 5)]
    ///     conv1: Conv2d,
    ///     #[layer(20, 50, 5)]
    ///     conv2: Conv2d,
    /// }
    /// # fn main() -> Result<()> {
    /// let height = SymbolicSize::named("height").example(28);
    /// let sizes = Net::config().check_symbolic(("batch", 1, height, 28))?;
    /// assert_eq!(format!("{sizes:?}"), "[batch, 50, height-8, 20]");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails under the same conditions as `Network::output_sizes`, or if the settings are invalid.
    fn check_symbolic(self, sizes: impl SymbolicSizes) -> Result<Vec<SymbolicSize>>
    where
        Self::Output: Forward<Signal, Output = Signal>,
    {
        let sizes = self.meta()?.output_sizes(Signal::symbolic(sizes, DType::F32))?;
        Ok(sizes.into_iter().next().unwrap_or_default())
    }

    /// Builds the network with the parameters of a checkpoint, in any format that
    /// [`checkpoint::read`](crate::checkpoint::read) supports.
    ///
    /// # Errors
    /// Fails under the same conditions as [`load_with`](Self::load_with).
    fn load(self, path: impl AsRef<Path>, device: &Device) -> Result<Self::Output> {
        self.load_with(Load::new(path), device).map(|(network, _)| network)
    }

    /// Builds the network with the parameters of a checkpoint and returns it with a report.
    ///
    /// Accepts the same checkpoints as [`Network::load_with`](crate::Network::load_with). With [`Load::partial`],
    /// tensors that the checkpoint lacks keep their initial values.
    ///
    /// # Errors
    /// Fails if the settings are invalid, if the checkpoint cannot be read, or if it has different values under two
    /// names of a tied tensor. Unless [`Load::partial`] is set, also fails if tensors are missing, unexpected or
    /// mismatched. One error lists all of these tensors.
    fn load_with(self, load: impl Borrow<Load>, device: &Device) -> Result<(Self::Output, LoadReport)> {
        let load = load.borrow();
        let dtype = load.float_dtype()?.unwrap_or(DType::F32);
        let selection = Arc::new(load.select(device)?);
        let built = build_from(self, &selection, load.is_partial(), dtype, device);
        built.map_err(|error| error.in_layer(load.path().display()))
    }

    /// Builds the network with the parameters of a checkpoint on the Hugging Face hub. Requires the feature `hub`.
    ///
    /// `hub` is `"owner/name"`, or a [`Hub`](crate::hub::Hub) with a revision or a file. Downloaded files are cached;
    /// see [`hub`](crate::hub) for the location of the cache. For the options of [`Load`], call
    /// `load_with(Load::new(hub.download()?), device)`.
    #[cfg(feature = "hub")]
    #[allow(clippy::wrong_self_convention)] // Hugging Face's libraries use this name.
    fn from_pretrained(self, hub: impl Into<crate::hub::Hub>, device: &Device) -> Result<Self::Output> {
        self.load(hub.into().download()?, device)
    }
}

/// Builds a network with the values of a checkpoint, then loads the tensors that the construction did not request.
fn build_from<C: Config>(
    config: C,
    selection: &Arc<Selection>,
    partial: bool,
    dtype: DType,
    device: &Device,
) -> Result<(C::Output, LoadReport)> {
    let fallback = if partial { Fallback::Initialize } else { Fallback::Zeros };
    let source = Checkpoint::new(Arc::clone(selection), fallback);
    let mut network = config.build(source.var_builder(dtype, device))?;
    let matching = Matching::new(&network, &source.requested(), selection, partial)?;
    let already_assigned = source.correct_values(|name| matching.values(name))?;
    matching.assign(&mut network, &already_assigned)?;
    Ok((network, matching.report))
}
