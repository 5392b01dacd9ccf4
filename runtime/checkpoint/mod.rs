//! Reading and writing checkpoints.
//!
//! [`read`] supports safetensors files (single or sharded), both formats of `torch.save`, and NumPy's `.npz`.
//! [`Load`](crate::Load) adds options for loading a checkpoint of a different network: a key, a prefix, renaming, and
//! partial loading. [`write()`] writes safetensors (single or sharded), `.pt` files for `torch.load`, and `.npz`, all
//! atomically and with the options of [`Save`].
//!
//! # Memory
//!
//! Tensors are read one after the other, through a small buffer, so that no copy of the file itself is in memory.
//! Building a network from a file of N bytes needs memory for the parameters of the network, N bytes for the tensors of
//! the file, and a few kilobytes. Tensors are written in chunks, so writing needs memory for one chunk, or for one
//! tensor if it is not contiguous. If a load fails, up to three other state dicts of the file are read as well, to
//! propose the options with which the load would succeed.
//!
//! Reading a damaged or hostile file cannot allocate more than twice the file's length plus 8 MiB; a larger allocation
//! is an error. A file with transposed or shared tensors of `int8`, `uint16` or `float8_e5m2` is an exception: reading
//! it can allocate three times its length, because candle stores these elements in twice the size. Some valid files
//! need more memory: an `.npz` compressed to less than half its size, or tensors that overlap each other. Set
//! [`Load::limit`](crate::Load::limit) to read them.

mod archive;
mod atomic;
mod budget;
mod checksum;
mod contents;
mod convert;
pub(crate) mod element;
mod input;
mod npz;
mod open;
mod output;
pub(crate) mod readers;
mod safetensors;
mod save;
mod sharded;
mod state_dict;
mod strided;
mod temporary;
mod torch;
mod write;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::{Error, Result};

pub use atomic::write_atomically;
pub(crate) use checksum::checksum;
pub(crate) use contents::Contents;
pub use contents::Skipped;
pub(crate) use convert::{CHUNK, to_dtype};
#[cfg(feature = "hub")]
pub(crate) use open::HUB_FILES;
pub(crate) use open::{ReadOptions, open_regular};
pub use save::{Format, Save};
#[cfg(feature = "hub")]
pub(crate) use sharded::for_each_shard;
pub use state_dict::StateDict;
pub use write::write;

/// Reads the tensors of a checkpoint to `device`, in the order of the file.
///
/// The format is detected from the content, not the extension:
///
/// - `.safetensors`;
/// - `.pt`, `.pth` and `.bin` files of `torch.save`: a zip archive of a pickle and storages;
/// - files that `torch.save` wrote before PyTorch 1.6: pickles followed by storages;
/// - TorchScript archives, which `torch.jit.save` writes;
/// - `model.safetensors.index.json` and `pytorch_model.bin.index.json`: the index of a sharded checkpoint, whose files
///   are in the same directory. If `model.safetensors` does not exist, the path `model.safetensors` also finds the
///   index;
/// - a directory that contains `model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin` or
///   `pytorch_model.bin.index.json`, tried in this order;
/// - `.npz`, compressed or not, with arrays in row-major or column-major order.
///
/// # Files of PyTorch
///
/// The state dict may be the top-level object, the entry `state_dict`, `model_state_dict` or `model`, or the only
/// dictionary of tensors in the file. If a dictionary has both tensors and dictionaries of tensors, select the state
/// dict with [`Load::key`](crate::Load::key). A module (`torch.save(model)`, or a TorchScript module) is read as its
/// `state_dict()`: the parameters and the persistent buffers by path. TorchScript does not record which buffers are
/// persistent, so all of them are read. The names are those of the file, including the prefix `module.` that
/// `DataParallel` adds.
///
/// Other objects are skipped, such as the arguments of a training script, paths, enums and instances of other classes.
/// Their code is never imported or run. [`LoadReport`](crate::LoadReport) lists the skipped objects.
///
/// # Element types
///
/// Element types that candle lacks are converted to the smallest dtype of candle that can represent all their values:
/// `bool` to `U8`, `int8` to `I16`, `uint16` to `U32`, `float8_e5m2` to `F16`. Complex, quantized and sparse tensors,
/// `uint64`, and NumPy's objects and strings are errors. In a PyTorch file, such tensors outside the state dict are
/// skipped.
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

/// Returns the metadata of a safetensors file, as written by [`write()`] and
/// [`Network::save_with`](crate::Network::save_with). Reads no tensors. In a sharded checkpoint, every shard has the
/// metadata.
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
/// use sconce::checkpoint;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("model.safetensors");
/// let weight = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
/// checkpoint::write(Save::new(&path).metadata([("epoch", "7")]), [("weight", &weight)])?;
/// let metadata = checkpoint::metadata(&path)?;
/// assert_eq!((metadata["epoch"].as_str(), metadata["format"].as_str()), ("7", "pt"));
/// # Ok(())
/// # }
/// ```
pub fn metadata(path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
    let path = path.as_ref();
    with_context(path.display(), open::metadata(path))
}

/// Writes `tensors` and `metadata` to a safetensors file: [`write()`] with the format
/// [`Safetensors`](Format::Safetensors), whatever the extension of the path.
///
/// # Errors
///
/// Fails under the same conditions as [`write()`].
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
    write(Save::new(path).format(Format::Safetensors).metadata(metadata.clone()), tensors)
}

/// Prepends `context`, such as a file, a tensor or the position of a byte, to the message of an error.
pub(crate) fn with_context<T, E: Display>(context: impl Display, result: Result<T, E>) -> Result<T> {
    result.map_err(|error| Error::msg(format!("{context}: {error}")))
}
