//! What every network can do with its named tensors.

mod convert;
mod copy;
mod eval;
mod freeze;
mod list;
mod load;
mod metadata;
mod replace;

pub use eval::Eval;
pub(crate) use list::Kind;
pub(crate) use load::Matching;
pub(crate) use replace::for_each_mut;

use std::borrow::Borrow;
use std::collections::HashSet;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};

use crate::Result;
use crate::capture::Captured;
use crate::checkpoint::{self, StateDict};
use crate::load::{Load, LoadReport};
use crate::module::{Forward, Module};
use crate::signal::Signal;
use crate::source::Requests;

/// The calls on a network's tensors and parts; every [`Module`] has them.
///
/// Lists are in the order of the fields, with dotted paths as in PyTorch's checkpoints; a tensor that
/// two fields share is listed once, under the first name.
pub trait Network: Module {
    /// Every parameter, frozen ones included, with its path.
    fn named_parameters(&self) -> Vec<(String, Tensor)> {
        list::first_names(self, Kind::Parameter)
    }

    /// Every parameter, frozen ones included.
    fn parameters(&self) -> Vec<Tensor> {
        self.named_parameters().into_iter().map(|(_, tensor)| tensor).collect()
    }

    /// The parameters that training changes, with their paths: what an optimiser takes.
    fn trainable_parameters(&self) -> Vec<(String, Var)> {
        let trainable = self.named_parameters().into_iter().filter(|(_, tensor)| tensor.is_variable());
        trainable.filter_map(|(name, tensor)| Some((name, Var::from_tensor(&tensor).ok()?))).collect()
    }

    /// The tensors that are saved and moved but never trained, with their paths.
    fn buffers(&self) -> Vec<(String, Tensor)> {
        list::first_names(self, Kind::Buffer)
    }

    /// The network itself under the empty path, then every part of it.
    fn named_modules(&self) -> Vec<(String, &dyn Module)>
    where
        Self: Sized,
    {
        list::modules(self)
    }

    /// The number of elements of all parameters.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(Tensor::elem_count).sum()
    }

    /// Parameters and buffers by path, sharing the network's storage.
    fn state_dict(&self) -> StateDict {
        list::all_names(self).into_iter().map(|entry| (entry.path, entry.tensor.detach())).collect()
    }

    /// Copies the tensors of `state` into this network, all of them or, if one does not fit, none.
    ///
    /// A tensor that several fields share may be there under any of its names. The number of batches that a batch
    /// norm has seen may be missing, as it is in checkpoints older than PyTorch 0.4.1.
    ///
    /// # Errors
    /// A tensor is missing, unexpected or mismatched, or the names of a shared tensor have different values.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let matching = Matching::new(self, &Requests::default(), state)?;
        matching.check(false)?;
        matching.assign(self, &HashSet::new())
    }

    /// Copies the tensors of a checkpoint into this network, as [`Load`] says, and reports what was loaded.
    ///
    /// It takes the checkpoints that [`Config::load_with`](crate::Config::load_with) takes. With
    /// [`Load::partial`], what the checkpoint lacks keeps its values. With [`Load::dtype`], the network's float
    /// tensors are converted to that type first.
    ///
    /// # Errors
    /// Those of [`load_state_dict`](Self::load_state_dict) and of [`Load::read`]; nothing is changed. With
    /// [`Load::partial`], missing, unexpected and mismatched tensors are no error.
    fn load_with(&mut self, load: impl Borrow<Load>) -> Result<LoadReport>
    where
        Self: Sized,
    {
        let load = load.borrow();
        let dtype = load.float_dtype()?;
        let state = load.read(&Device::Cpu)?;
        let matching = Matching::new(self, &Requests::default(), &state)?;
        matching.check(load.is_partial()).map_err(|error| error.in_layer(load.path().display()))?;
        if let Some(dtype) = dtype {
            self.to_dtype(dtype)?;
        }
        matching.assign(self, &HashSet::new())?;
        Ok(matching.report)
    }

    /// Writes every tensor to a `.safetensors` file. The file appears whole or not at all: a crash, or a
    /// full disk, leaves what was there before.
    fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.save_with(path, &[])
    }

    /// The same, with metadata of your own: `&[("epoch", "3")]`. [`checkpoint::metadata`] reads them back,
    /// beside `network`, this network's type, and `sconce_version`.
    fn save_with(&self, path: impl AsRef<Path>, metadata: &[(&str, &str)]) -> Result<()>
    where
        Self: Sized,
    {
        checkpoint::write_safetensors(path, &self.state_dict(), &metadata::with_type(metadata, self.kind())?)
    }

    /// Moves every tensor to `device`; trainable parameters become new variables there.
    fn to_device(&mut self, device: &Device) -> Result<()> {
        convert::convert(self, |tensor| tensor.to_device(device))
    }

    /// Converts every float tensor to `dtype`; trainable parameters become new variables.
    fn to_dtype(&mut self, dtype: DType) -> Result<()> {
        convert::convert(self, |tensor| {
            if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { Ok(tensor.clone()) }
        })
    }

    /// Stops training of the parameters whose path matches: `freeze("backbone.**")`. `*` stands for one
    /// step of a path, `**` for any number. A pattern that matches nothing is an error.
    fn freeze(&mut self, pattern: &str) -> Result<()> {
        freeze::freeze(self, pattern)
    }

    /// Resumes training of the parameters whose path matches, as copies of their own.
    fn unfreeze(&mut self, pattern: &str) -> Result<()> {
        freeze::unfreeze(self, pattern)
    }

    /// A twin that shares storage with this network and records no graph: it sees what training does
    /// to this one, and nothing in it is trainable.
    fn detached(&self) -> Self
    where
        Self: Sized,
    {
        copy::detached(self)
    }

    /// A copy with storage of its own in which nothing is trainable: its weights are packed for the
    /// kernels once, not at every call.
    fn inference(&self) -> Result<Self>
    where
        Self: Sized,
    {
        copy::inference(self)
    }

    /// A view in evaluation mode that is a `candle_nn::Module`, for candle's `Sequential` and friends.
    fn eval(&self) -> Eval<'_, Self>
    where
        Self: Sized,
    {
        Eval(self)
    }

    /// Records the evaluation forward pass of an input like `x` as a CUDA graph, to be replayed with the numbers
    /// of other inputs: the whole network in one submission, which pays for networks of many small launches.
    /// See [`Captured`].
    ///
    /// # Errors
    /// `x` is not on a CUDA device, the device is on the legacy default stream, the forward pass fails, or it
    /// does what cannot be recorded: reads a number back, or copies more than a few from the host.
    fn capture(&self, x: &Tensor) -> Result<Captured<Self>>
    where
        Self: Forward<Signal, Output = Signal> + Sized,
    {
        Captured::new(self.detached(), x)
    }
}

impl<M: Module + ?Sized> Network for M {}
