//! Options for loading a checkpoint, and the report of what was loaded.

mod copy;
mod detect;
mod guess;
mod propose;
mod rename;
mod report;
mod selection;
mod signature;
mod table;
mod wrapper;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use crate::checkpoint::{ReadOptions, StateDict};
use crate::{Error, Result};

use rename::Renaming;

pub(crate) use copy::{converted, fill};
pub(crate) use detect::wrapper;
pub(crate) use guess::Guesses;
pub(crate) use propose::propose;
pub use report::{LoadReport, ShapeMismatch};
pub(crate) use selection::Selection;
pub(crate) use signature::{Expected, Signature};

/// The path of a checkpoint and the options for loading it, for [`Config::load_with`](crate::Config::load_with) and
/// [`Network::load_with`](crate::Network::load_with).
///
/// Loading first strips the [`prefix`](Self::prefix) from the names in the file, then the prefix of a wrapper, and then
/// applies each [`map`](Self::map) in the order of the calls.
///
/// # Wrappers
///
/// A wrapper around a network prepends its own name to the names of the tensors: `DataParallel` and `AveragedModel`
/// prepend `module.`, `torch.compile` prepends `_orig_mod.`, and Lightning prepends the name of a field, such as
/// `model.`. Loading finds such prefixes and strips them, even if a checkpoint has several, in any order. A part of a
/// network can be wrapped too: `encoder._orig_mod.weight` is loaded as `encoder.weight`. [`LoadReport::renamed`] lists
/// the changed names, and [`LoadReport::skipped`] the tensors without the prefix, such as the counter `n_averaged`.
///
/// A prefix is stripped only under three conditions:
///
/// - No tensor of the checkpoint has a name of the network without a prefix.
/// - The prefix is the clear choice. More than twice as many of the network's tensors are found under it as under any
///   other prefix. If the other prefix begins with this one, a smaller lead is enough.
/// - Each component of the prefix is `module`, `model`, `net`, `network`, the name of another wrapper, or the only
///   module at its level.
///
/// In all other cases, as for `backbone.` in a checkpoint that also has a `head.`, choose the prefix with
/// [`prefix`](Self::prefix).
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
///     "loaded 2, missing 1, unexpected 0, mismatched 1, renamed 3\n\
///      missing     head.bias         [3]\n\
///      mismatched  head.weight       expected [3, 8], found [1000, 8]\n\
///      renamed     net.head.weight   -> head.weight\n\
///      renamed     net.trunk.bias    -> body.bias\n\
///      renamed     net.trunk.weight  -> body.weight"
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
    /// backbone. All other tensors are ignored. If no name starts with `prefix`, loads the tensors whose names start
    /// with the prefix of a [wrapper](Self#wrappers) and then `prefix`, as in `module.backbone.`.
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
    ///
    /// Dots separate the keys of nested dictionaries, as in `ema.shadow`. The key of an item of a tuple or a list is
    /// its index. An empty key selects the tensors at the top level of the file.
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

    /// Reads the tensors of the checkpoint, renamed, in the order and with the dtypes of the file. Prefixes of
    /// [wrappers](Self#wrappers) stay, because they are found by comparison with a network.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, if it has several state dicts and no [`key`](Self::key) selects one, if candle
    /// cannot represent one of the tensors with the prefix, if no name has the prefix, if a pattern is invalid, or if
    /// two names become equal.
    pub fn read(&self, device: &Device) -> Result<StateDict> {
        let selection = self.select(device)?;
        let checked = selection.check_unambiguous().and_then(|()| selection.check_supported(|_| true));
        let renamed = checked.and_then(|()| selection.renamed("", &Signature::default()));
        renamed.map(|renamed| renamed.state).map_err(|error| self.with_path(&error))
    }

    /// Reads the checkpoint and selects its tensors.
    pub(crate) fn select(&self, device: &Device) -> Result<Selection> {
        let contents = self.reading.read(&self.path, device)?;
        let selection = self.renaming.select(contents).map_err(|error| self.with_path(&error))?;
        Ok(selection.read_by(self, device))
    }

    /// Returns the key of the state dict that [`key`](Self::key) has set.
    pub(crate) fn requested_key(&self) -> Option<&str> {
        self.reading.key.as_deref()
    }

    fn with_path(&self, error: &Error) -> Error {
        Error::msg(format!("{}: {error}", self.path.display()))
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
