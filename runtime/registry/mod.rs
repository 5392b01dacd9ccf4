//! Operations on the named tensors of a network.

mod convert;
mod copy;
mod eval;
mod freeze;
mod list;
mod load;
mod metadata;
mod replace;

pub use eval::Eval;
pub(crate) use list::TensorKind;
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

/// Methods on the tensors and child modules of a network. Every [`Module`] implements this trait.
///
/// Lists are in the order of the fields, with dotted paths like those in PyTorch's checkpoints. A tensor that
/// several fields share is listed once, under its first path.
pub trait Network: Module {
    /// Returns every parameter with its path, including frozen parameters.
    fn named_parameters(&self) -> Vec<(String, Tensor)> {
        list::first_paths(self, TensorKind::Parameter)
    }

    /// Returns every parameter, including frozen parameters.
    fn parameters(&self) -> Vec<Tensor> {
        self.named_parameters().into_iter().map(|(_, tensor)| tensor).collect()
    }

    /// Returns the parameters that are not frozen, with their paths, for an optimizer.
    fn trainable_parameters(&self) -> Vec<(String, Var)> {
        let trainable = self.named_parameters().into_iter().filter(|(_, tensor)| tensor.is_variable());
        trainable.filter_map(|(name, tensor)| Some((name, Var::from_tensor(&tensor).ok()?))).collect()
    }

    /// Returns the buffers with their paths: tensors that are saved and moved but never trained.
    fn buffers(&self) -> Vec<(String, Tensor)> {
        list::first_paths(self, TensorKind::Buffer)
    }

    /// Returns every module with its path: first the network itself, whose path is empty, then the modules in it.
    fn named_modules(&self) -> Vec<(String, &dyn Module)>
    where
        Self: Sized,
    {
        list::modules(self)
    }

    /// Returns the number of elements of all parameters.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(Tensor::elem_count).sum()
    }

    /// Returns the parameters and buffers by path. The tensors share the network's storage.
    fn state_dict(&self) -> StateDict {
        list::all_paths(self).into_iter().map(|entry| (entry.path, entry.tensor.detach())).collect()
    }

    /// Copies the tensors of `state` into this network. If a tensor does not fit, the network is left unchanged.
    ///
    /// `state` may hold a tied tensor under any of its paths. `num_batches_tracked` of a batch norm may be missing,
    /// as in checkpoints older than PyTorch 0.4.1.
    ///
    /// # Errors
    /// Fails if a tensor is missing, unexpected or mismatched, or if `state` has different values under two
    /// paths of a tied tensor.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let matching = Matching::new(self, &Requests::default(), state)?;
        matching.check(false)?;
        matching.assign(self, &HashSet::new())
    }

    /// Copies the tensors of a checkpoint into this network with the options of [`Load`], and reports what was
    /// loaded.
    ///
    /// Accepts the same checkpoints as [`Config::load_with`](crate::Config::load_with). With [`Load::partial`],
    /// tensors that are missing from the checkpoint keep their values. With [`Load::dtype`], the network's float
    /// tensors are first converted to that type.
    ///
    /// # Errors
    /// Fails under the same conditions as [`load_state_dict`](Self::load_state_dict) and [`Load::read`]. With
    /// [`Load::partial`], missing, unexpected and mismatched tensors are not errors. After an error, the network is
    /// unchanged.
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

    /// Writes every tensor to a `.safetensors` file. The file is written atomically: if the process crashes or
    /// the disk is full, the old file stays intact.
    ///
    /// # Errors
    /// Fails if the file cannot be written, or if the format does not support the dtype of a tensor.
    fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.save_with(path, &[])
    }

    /// Writes every tensor and custom metadata, such as `&[("epoch", "3")]`, to a `.safetensors` file.
    ///
    /// Adds the type of this network to the metadata under the key `network`, and the version of sconce under the key
    /// `sconce_version`. [`checkpoint::metadata`] reads the metadata back.
    ///
    /// # Errors
    /// Fails if a metadata key is specified twice or is `network`, `sconce_version` or `format`. Also fails if the file
    /// cannot be written, or if the format does not support the dtype of a tensor.
    fn save_with(&self, path: impl AsRef<Path>, metadata: &[(&str, &str)]) -> Result<()>
    where
        Self: Sized,
    {
        checkpoint::write_safetensors(path, &self.state_dict(), &metadata::with_type(metadata, self.kind())?)
    }

    /// Moves every tensor to `device`. Trainable parameters become new variables.
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied to `device`. After an error, the network is unchanged.
    fn to_device(&mut self, device: &Device) -> Result<()> {
        convert::convert(self, |tensor| tensor.to_device(device))
    }

    /// Converts every float tensor to `dtype`. Trainable parameters become new variables.
    ///
    /// # Errors
    /// Fails if a tensor cannot be converted to `dtype`. After an error, the network is unchanged.
    fn to_dtype(&mut self, dtype: DType) -> Result<()> {
        convert::convert(self, |tensor| {
            if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { Ok(tensor.clone()) }
        })
    }

    /// Freezes the parameters whose path matches `pattern`, as in `freeze("backbone.**")`. Training does not change
    /// frozen parameters. In the pattern, `*` matches one segment of a path, and `**` any number of segments.
    ///
    /// # Errors
    /// Fails if the pattern matches no parameter.
    fn freeze(&mut self, pattern: &str) -> Result<()> {
        freeze::freeze(self, pattern)
    }

    /// Unfreezes the parameters whose path matches `pattern`: they become new variables with copied values.
    ///
    /// # Errors
    /// Fails if the pattern matches no parameter.
    fn unfreeze(&mut self, pattern: &str) -> Result<()> {
        freeze::unfreeze(self, pattern)
    }

    /// Returns a copy that shares storage with this network and has no trainable parameters. The copy sees the
    /// changes that training makes to this network. Its forward pass records no graph for a backward pass.
    fn detached(&self) -> Self
    where
        Self: Sized,
    {
        copy::detached(self)
    }

    /// Returns a copy with separate storage and no trainable parameters. The weights of the copy are packed for the
    /// kernels once instead of in every call.
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied.
    fn inference(&self) -> Result<Self>
    where
        Self: Sized,
    {
        copy::inference(self)
    }

    /// Returns a view in evaluation mode that implements `candle_core::Module`, for example for use in candle's
    /// `Sequential`.
    fn eval(&self) -> Eval<'_, Self>
    where
        Self: Sized,
    {
        Eval(self)
    }

    /// Records the forward pass in evaluation mode as a CUDA graph, for inputs with the shape and dtype of `x`. The
    /// graph can be replayed with new inputs. A replay submits the whole network at once, which is faster for networks
    /// with many small launches. See [`Captured`].
    ///
    /// # Errors
    /// Fails if `x` is not on a CUDA device, if the device uses the legacy default stream, or if the forward pass
    /// fails. The forward pass also fails if it reads a value back from the device or copies more than a few values
    /// from the host.
    fn capture(&self, x: &Tensor) -> Result<Captured<Self>>
    where
        Self: Forward<Signal, Output = Signal> + Sized,
    {
        Captured::new(self.detached(), x)
    }
}

impl<M: Module + ?Sized> Network for M {}
