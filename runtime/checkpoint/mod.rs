//! Reading and writing checkpoints.
//!
//! [`read`] supports safetensors files (single or sharded), both formats of `torch.save`, and NumPy's `.npz`.
//! [`write_safetensors`] writes a safetensors file atomically. [`Load`](crate::Load) adds options for loading a
//! checkpoint of a different network: a key, a prefix, renaming, and partial loading.
//!
//! # Memory
//!
//! Tensors are read one after the other, through a small buffer. No file is held in memory as a whole. Building a
//! network from a file of N bytes therefore needs memory for the parameters of the network, N bytes for the tensors
//! of the file, and a few kilobytes.
//!
//! Reading a damaged or hostile file cannot allocate more than twice the file's length plus 8 MiB; a larger allocation
//! is an error. A file with transposed or shared tensors of `int8`, `uint16` or `float8_e5m2` is an exception: reading
//! it can take three times its length, because candle stores these elements in twice the size. Some valid files need
//! more memory: an `.npz` compressed to less than half its size, or tensors that overlap each other. Set
//! [`Load::limit`](crate::Load::limit) to read them.

mod archive;
mod atomic;
mod budget;
mod contents;
mod element;
mod input;
mod npz;
mod open;
pub(crate) mod readers;
mod safetensors;
mod sharded;
mod state_dict;
mod strided;
mod temporary;
mod torch;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::{Error, Result};

use open::open_regular;

pub use atomic::write_atomically;
pub(crate) use contents::Contents;
pub use contents::Skipped;
#[cfg(feature = "hub")]
pub(crate) use open::HUB_FILES;
pub(crate) use open::ReadOptions;
#[cfg(feature = "hub")]
pub(crate) use sharded::for_each_shard;
pub use state_dict::StateDict;

/// Reads the tensors of a checkpoint to `device`, in the order of the file.
///
/// The format is detected from the content, not the extension:
///
/// - `.safetensors`;
/// - `.pt`, `.pth` and `.bin` files of `torch.save`: a zip archive of a pickle and storages;
/// - files that `torch.save` wrote before PyTorch 1.6: pickles followed by storages;
/// - TorchScript archives, which `torch.jit.save` writes;
/// - `model.safetensors.index.json` and `pytorch_model.bin.index.json`: the index of a sharded checkpoint, whose files
///   are in the same directory;
/// - a directory that contains `model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin` or
///   `pytorch_model.bin.index.json`, tried in this order;
/// - `.npz`, compressed or not, with arrays in row-major or column-major order.
///
/// # Files of PyTorch
///
/// The state dict may be the top-level object, the entry `state_dict`, `model_state_dict` or `model`, or the only
/// dictionary of tensors in the file. A module (`torch.save(model)`, or a TorchScript module) is read as its
/// `state_dict()`: the parameters and the persistent buffers by path. TorchScript does not record which buffers are
/// persistent, so all of them are read. The names are those of the file, including the prefix `module.` that
/// `DataParallel` adds.
///
/// Other objects are skipped: the arguments and paths of a training script, enums, or instances of its classes. Their
/// code is never imported or run. [`LoadReport`](crate::LoadReport) lists them.
///
/// # Element types
///
/// Element types that candle lacks are converted to the smallest type that can represent all values: `bool` to `U8`,
/// `int8` to `I16`, `uint16` to `U32`, `float8_e5m2` to `F16`. Complex, quantized and sparse tensors, `uint64`, and
/// NumPy's objects and strings are errors. In a PyTorch file, such tensors outside the state dict are skipped.
///
/// # Errors
///
/// Fails if the file cannot be read, is truncated or damaged, or contains an unsupported object. The message begins
/// with the path.
///
/// # Examples
/// ```
/// use sconce::checkpoint;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("model.safetensors");
/// let fc = Linear::config(3, 2).init(&Device::Cpu)?;
/// fc.save(&path)?;
/// let state = checkpoint::read(&path, &Device::Cpu)?;
/// assert_eq!(state.get("weight").map(Tensor::dims), Some([2, 3].as_slice()));
/// # Ok(())
/// # }
/// ```
pub fn read(path: impl AsRef<Path>, device: &Device) -> Result<StateDict> {
    let path = path.as_ref();
    let contents = ReadOptions::default().read(path, device)?;
    with_context(path.display(), contents.into_state())
}

/// Returns the metadata of a safetensors file, as written by [`write_safetensors`] and
/// [`Network::save_with`](crate::Network::save_with). Reads no tensors.
///
/// The format defines metadata as strings. Numbers and booleans, which some programs write, are returned as text. Other
/// values are ignored.
///
/// # Errors
///
/// Fails if the file cannot be read or is not a safetensors file. The message begins with the path.
///
/// # Examples
/// ```
/// use std::collections::BTreeMap;
///
/// use sconce::checkpoint;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("model.safetensors");
/// let weight = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
/// let epoch = BTreeMap::from([("epoch".to_string(), "7".to_string())]);
/// checkpoint::write_safetensors(&path, [("weight", &weight)], &epoch)?;
/// let metadata = checkpoint::metadata(&path)?;
/// assert_eq!((metadata["epoch"].as_str(), metadata["format"].as_str()), ("7", "pt"));
/// # Ok(())
/// # }
/// ```
pub fn metadata(path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
    let path = path.as_ref();
    with_context(path.display(), open::metadata(path))
}

/// Writes `tensors` to a safetensors file with [`write_atomically`].
///
/// Tensors with larger elements are written first, so that all tensors are aligned. Tensors with elements of equal
/// size keep their order, except that [`read`] returns empty tensors in the order of their names. The header contains
/// `metadata`, `format` (`pt`) and `sconce_version`. A non-contiguous tensor is written in row-major order.
///
/// # Errors
///
/// Fails if the format does not support the dtype of a tensor, if a name occurs twice or is `__metadata__`, which is
/// reserved, or if the file cannot be written. The message begins with the path.
///
/// # Examples
/// ```
/// use std::collections::BTreeMap;
///
/// use sconce::checkpoint;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("model.safetensors");
/// let weight = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// checkpoint::write_safetensors(&path, [("weight", &weight)], &BTreeMap::new())?;
/// let state = checkpoint::read(&path, &Device::Cpu)?;
/// assert_eq!(state.get("weight").unwrap().to_vec1::<f32>()?, [1., 2., 3.]);
/// # Ok(())
/// # }
/// ```
pub fn write_safetensors<'a, Tensors>(
    path: impl AsRef<Path>,
    tensors: Tensors,
    metadata: &BTreeMap<String, String>,
) -> Result<()>
where
    Tensors: IntoIterator<Item = (&'a str, &'a Tensor)>,
{
    let tensors: Vec<_> = tensors.into_iter().collect();
    write_atomically(path, |file| safetensors::write(file, tensors, metadata))
}

/// Prepends `context`, such as a file, a tensor or the position of a byte, to the message of an error.
fn with_context<T>(context: impl Display, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::msg(format!("{context}: {error}")))
}
