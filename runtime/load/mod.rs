//! Loading a checkpoint that was not saved by the very same network.

mod copy;
mod rename;
mod report;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use crate::checkpoint::{ReadOptions, StateDict};
use crate::{Error, Result};
pub(crate) use copy::{PIECE, converted, fill};
use rename::Renaming;
pub use report::{LoadReport, Misshapen};

/// A checkpoint and how to load it, for [`Config::load_with`](crate::Config::load_with) and
/// [`Network::load_with`](crate::Network::load_with).
///
/// The names of the file go through [`prefix`](Self::prefix) first and then through each
/// [`map`](Self::map), in the order in which they were called.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// struct Classifier {
///     #[layer(4, 8)]
///     body: Linear,
///     #[layer(8, 3)]
///     head: Linear,
/// }
///
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("other.safetensors");
/// # let other = StateDict::from_iter([
/// #     ("net.trunk.weight", Tensor::zeros((8, 4), DType::F32, &Device::Cpu)?),
/// #     ("net.trunk.bias", Tensor::zeros(8, DType::F32, &Device::Cpu)?),
/// #     ("net.head.weight", Tensor::zeros((1000, 8), DType::F32, &Device::Cpu)?),
/// # ]);
/// # sconce::checkpoint::write_safetensors(&path, &other, &Default::default())?;
/// // `net.trunk.weight` becomes `body.weight`; the head has other classes and stays as initialised.
/// let load = Load::new(path).prefix("net.").map(r"^trunk\.", "body.").partial();
/// let (model, report) = Classifier::config().load_with(load, &Device::Cpu)?;
/// assert_eq!(report.loaded, ["body.weight", "body.bias"]);
/// assert_eq!(
///     report.to_string(),
///     "loaded 2, missing 1, unexpected 0, misshapen 1\n\
///      missing    head.bias    [3]\n\
///      misshapen  head.weight  [3, 8], found [1000, 8]"
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Load {
    path: PathBuf,
    partial: bool,
    dtype: Option<DType>,
    renaming: Renaming,
    reading: ReadOptions,
}

impl Load {
    /// The checkpoint at `path`, in any format of [`checkpoint::read`](crate::checkpoint::read).
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            partial: false,
            dtype: None,
            renaming: Renaming::default(),
            reading: ReadOptions::default(),
        }
    }

    /// Reports missing, unexpected and misshapen tensors as an error: the default.
    pub fn strict(mut self) -> Self {
        self.partial = false;
        self
    }

    /// What fits is loaded; the rest is reported, and keeps its fresh initialization or, in an existing network,
    /// its values. Different values under the names of a tensor that fields share are still an error.
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Takes only the tensors whose names begin with `prefix`, and takes it off: `backbone.` for the
    /// backbone alone. The other tensors count as if they were not in the file.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.renaming.prefix = Some(prefix.into());
        self
    }

    /// Replaces every match of the regular expression `pattern` in a name; `replacement` may use its
    /// groups, `$1` or `${name}`. The syntax is that of the crate [`regex`](https://docs.rs/regex).
    ///
    /// Several are applied one after the other. That two names become one is an error, as is a pattern
    /// that is none; both show when the checkpoint is loaded.
    pub fn map(mut self, pattern: impl Into<String>, replacement: impl Into<String>) -> Self {
        self.renaming.maps.push((pattern.into(), replacement.into()));
        self
    }

    /// The network's float tensors get this type. Without it, a network that is built is `F32`, and one
    /// that there was before keeps what it has.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// Where the state dict is in a file of `torch.save`: `ema` for `{"state_dict": …, "ema": …}`.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.reading.key = Some(key.into());
        self
    }

    /// Maps the file into memory instead of reading it through a buffer: fewer copies, and processes that load
    /// one file share the system's cache of it. A file that somebody shortens meanwhile ends the process,
    /// where otherwise it is an error.
    pub fn mapped(mut self) -> Self {
        self.reading.mapped = true;
        self
    }

    /// How many bytes of memory the file's content may take, instead of
    /// [what its length allows](crate::checkpoint#memory).
    pub fn limit(mut self, bytes: usize) -> Self {
        self.reading.limit = Some(bytes);
        self
    }

    /// The tensors of the checkpoint under their new names, in the file's order and types.
    ///
    /// # Errors
    ///
    /// Those of [`checkpoint::read`](crate::checkpoint::read), and when nothing has the prefix, a pattern
    /// is not valid, or two tensors get one name.
    pub fn read(&self, device: &Device) -> Result<StateDict> {
        let state = self.reading.read(&self.path, device)?;
        let renamed = self.renaming.apply(state);
        renamed.map_err(|error| Error::msg(format!("{}: {error}", self.path.display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_partial(&self) -> bool {
        self.partial
    }

    /// The type that was asked for, if it is one of floats.
    pub(crate) fn float_dtype(&self) -> Result<Option<DType>> {
        match self.dtype {
            Some(dtype) if !dtype.is_float() => {
                Err(Error::msg(format!("expected a type of floats for a network, got {dtype:?}")))
            }
            dtype => Ok(dtype),
        }
    }
}
