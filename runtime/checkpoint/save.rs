//! Options for saving a checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::DType;

use crate::{Error, Result};

/// A file format that [`write`](super::write()) supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The safetensors format, which also stores metadata. Extension `.safetensors`.
    Safetensors,
    /// A zip archive of NumPy arrays, which `numpy.load` reads. NumPy has no `BF16` and no `F8E4M3`. Extension
    /// `.npz`.
    Npz,
    /// An `OrderedDict` of tensors as `torch.save` writes it, which `torch.load(path, weights_only=True)` reads.
    /// Extensions `.pt`, `.pth` and `.bin`.
    Torch,
}

/// The extension of each format.
const EXTENSIONS: [(&str, Format); 5] = [
    ("safetensors", Format::Safetensors),
    ("npz", Format::Npz),
    ("pt", Format::Torch),
    ("pth", Format::Torch),
    ("bin", Format::Torch),
];

impl Format {
    /// Returns the format that the extension of `path` stands for.
    fn from_extension(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default();
        let found = EXTENSIONS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known));
        found.map(|&(_, format)| format).ok_or_else(|| {
            let known = EXTENSIONS.map(|(known, _)| format!("`.{known}`")).join(", ");
            let found = match extension.display().to_string() {
                none if none.is_empty() => "a path without an extension".to_string(),
                other => format!("`.{other}`"),
            };
            Error::msg(format!(
                "expected one of the extensions {known}, found {found} (`Save::format` selects a format for any \
                 extension)"
            ))
        })
    }
}

/// The path of a checkpoint and the options for saving it, for [`Network::save_with`](crate::Network::save_with) and
/// [`checkpoint::write`](super::write()).
///
/// ```
/// use sconce::checkpoint;
/// use sconce::prelude::*;
///
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("model.safetensors");
/// let fc = Linear::config(3, 2).init(&Device::Cpu)?;
/// fc.save_with(Save::new(&path).dtype(DType::BF16).metadata([("epoch", "3")]))?;
///
/// let state = checkpoint::read(&path, &Device::Cpu)?;
/// assert_eq!(state.get("weight").map(Tensor::dtype), Some(DType::BF16));
/// assert_eq!(checkpoint::metadata(&path)?["epoch"], "3");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Save {
    path: PathBuf,
    format: Option<Format>,
    dtype: Option<DType>,
    max_shard_size: Option<u64>,
    metadata: Vec<(String, String)>,
}

impl Save {
    /// Saves to the file at `path`. The extension selects the [`Format`]: `.safetensors`, `.npz`, or `.pt`, `.pth` or
    /// `.bin` for PyTorch.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            format: None,
            dtype: None,
            max_shard_size: None,
            metadata: Vec::new(),
        }
    }

    /// Sets the format. By default the extension of the path selects it.
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Writes the floating-point tensors as `dtype`: `F16`, `BF16`, `F32` or `F64`. Other tensors keep their dtype. The
    /// tensors in memory do not change.
    ///
    /// A finite value that becomes infinite is an error, unlike in PyTorch's `half()`. The largest finite `F16` is
    /// 65504. `BF16` has the range of `F32`.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// Splits a safetensors checkpoint of more than `bytes` bytes of tensors into shards, as the Hugging Face hub
    /// stores large models: `model.safetensors` becomes `model-00001-of-00003.safetensors`, … and the index
    /// `model.safetensors.index.json`, all in the directory of the path. A tensor of more than `bytes` bytes has a
    /// shard of its own. The same path loads the checkpoint.
    ///
    /// The save replaces an older checkpoint with the same name, whether it is split or not, and removes its files.
    /// The save is atomic as a whole: if the process is killed at any time, the directory still holds the complete old
    /// or the complete new checkpoint. The next save removes the files that the killed process left.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let directory = directory.path();
    /// let network = vec![Linear::config(3, 2).init(&Device::Cpu)?, Linear::config(3, 2).init(&Device::Cpu)?];
    /// network.save_with(Save::new(directory.join("model.safetensors")).max_shard_size(40))?;
    /// let mut files = Vec::new();
    /// for entry in std::fs::read_dir(directory)? {
    ///     files.push(entry?.file_name().into_string().unwrap());
    /// }
    /// files.sort();
    /// assert_eq!(
    ///     files,
    ///     [
    ///         "model-00001-of-00002.safetensors",
    ///         "model-00002-of-00002.safetensors",
    ///         "model.safetensors.index.json",
    ///     ]
    /// );
    /// let state = sconce::checkpoint::read(directory.join("model.safetensors"), &Device::Cpu)?;
    /// assert_eq!(state.len(), 4);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_shard_size(mut self, bytes: u64) -> Self {
        self.max_shard_size = Some(bytes);
        self
    }

    /// Adds metadata to a safetensors file, as in `metadata([("epoch", "3")])`. [`metadata`](super::metadata) reads
    /// it back. Other formats have no metadata.
    pub fn metadata<Key, Value>(mut self, pairs: impl IntoIterator<Item = (Key, Value)>) -> Self
    where
        Key: Into<String>,
        Value: Into<String>,
    {
        self.metadata.extend(pairs.into_iter().map(|(key, value)| (key.into(), value.into())));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the format in which to write.
    pub(crate) fn selected_format(&self) -> Result<Format> {
        self.format.map_or_else(|| Format::from_extension(&self.path), Ok)
    }

    pub(super) fn shard_size(&self) -> Option<u64> {
        self.max_shard_size
    }

    /// Returns the dtype of the floating-point tensors in the file, or an error if `dtype` is not supported.
    pub(super) fn float_dtype(&self) -> Result<Option<DType>> {
        match self.dtype {
            None | Some(DType::F16 | DType::BF16 | DType::F32 | DType::F64) => Ok(self.dtype),
            Some(dtype) => {
                Err(Error::msg(format!("expected the dtype F16, BF16, F32 or F64, found {dtype:?}")))
            }
        }
    }

    /// Returns the metadata, or an error if a key occurs twice.
    pub(crate) fn unique_metadata(&self) -> Result<BTreeMap<&str, &str>> {
        let mut unique = BTreeMap::new();
        for (key, value) in &self.metadata {
            if unique.insert(key.as_str(), value.as_str()).is_some() {
                return Err(Error::msg(format!("the metadata key `{key}` is specified twice")));
            }
        }
        Ok(unique)
    }
}
