//! Options for loading a checkpoint, and the report of what was loaded.

mod copy;
mod rename;
mod report;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use crate::checkpoint::{ReadOptions, StateDict};
use crate::{Error, Result};

use rename::Renaming;

pub(crate) use copy::{CHUNK, converted, fill};
pub use report::{LoadReport, ShapeMismatch};

/// The path of a checkpoint and the options for loading it, for [`Config::load_with`](crate::Config::load_with) and
/// [`Network::load_with`](crate::Network::load_with).
///
/// Loading first strips the [`prefix`](Self::prefix) from the names in the file, and then applies each
/// [`map`](Self::map) in the order of the calls.
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
/// // `net.trunk.weight` becomes `body.weight`. The head keeps its initial values: it has fewer classes.
/// let load = Load::new(path).prefix("net.").map(r"^trunk\.", "body.").partial();
/// let (model, report) = Classifier::config().load_with(load, &Device::Cpu)?;
/// assert_eq!(report.loaded, ["body.weight", "body.bias"]);
/// assert_eq!(
///     report.to_string(),
///     "loaded 2, missing 1, unexpected 0, mismatched 1\n\
///      missing     head.bias    [3]\n\
///      mismatched  head.weight  [3, 8], found [1000, 8]"
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
    /// Loads the checkpoint at `path`, in any format that [`checkpoint::read`](crate::checkpoint::read) supports.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            partial: false,
            dtype: None,
            renaming: Renaming::default(),
            reading: ReadOptions::default(),
        }
    }

    /// Makes loading fail if tensors are missing, unexpected or mismatched. This is the default.
    pub fn strict(mut self) -> Self {
        self.partial = false;
        self
    }

    /// Loads the tensors that match and reports the rest. Tensors of the network that are not loaded keep their
    /// values. Different values under two names of a tied tensor are still an error.
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Loads only the tensors whose names start with `prefix`, and strips it. For example, `backbone.` loads only the
    /// backbone. All other tensors are ignored.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.renaming.prefix = Some(prefix.into());
        self
    }

    /// Replaces every match of the regular expression `pattern` in a name with `replacement`, which may refer to
    /// groups as `$1` or `${name}`. The syntax is that of the crate [`regex`](https://docs.rs/regex).
    ///
    /// Several maps are applied one after the other. Loading fails if a pattern is invalid or two names become equal.
    pub fn map(mut self, pattern: impl Into<String>, replacement: impl Into<String>) -> Self {
        self.renaming.maps.push((pattern.into(), replacement.into()));
        self
    }

    /// Converts the floating-point tensors of the network to `dtype`. By default, a new network is `F32` and an
    /// existing network keeps its dtypes.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// Sets the key of the state dict in a file of `torch.save`, for example `ema` in `{"state_dict": …, "ema": …}`.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.reading.key = Some(key.into());
        self
    }

    /// Maps the file into memory instead of reading it through a buffer, which saves a copy. If the file is truncated
    /// while it is mapped, the process is killed; without mapping, loading returns an error.
    pub fn mapped(mut self) -> Self {
        self.reading.mapped = true;
        self
    }

    /// Sets the maximum memory of the file's content in bytes. By default it depends on the
    /// [length of the file](crate::checkpoint#memory).
    pub fn limit(mut self, bytes: usize) -> Self {
        self.reading.limit = Some(bytes);
        self
    }

    /// Reads the tensors of the checkpoint, renamed, in the order and with the dtypes of the file.
    ///
    /// # Errors
    ///
    /// Fails if [`checkpoint::read`](crate::checkpoint::read) fails, if no name has the prefix, if a pattern is
    /// invalid, or if two names become equal.
    pub fn read(&self, device: &Device) -> Result<StateDict> {
        let contents = self.reading.read(&self.path, device)?;
        let renamed = contents.into_state().and_then(|state| self.renaming.apply(state));
        renamed.map_err(|error| Error::msg(format!("{}: {error}", self.path.display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Returns the requested dtype, or an error if the dtype is not floating point.
    pub(crate) fn float_dtype(&self) -> Result<Option<DType>> {
        match self.dtype {
            Some(dtype) if !dtype.is_float() => {
                Err(Error::msg(format!("expected a floating-point dtype for a network, found {dtype:?}")))
            }
            dtype => Ok(dtype),
        }
    }
}
