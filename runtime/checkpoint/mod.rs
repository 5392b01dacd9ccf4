//! Checkpoints: reading and writing the tensors of a network by their names.
//!
//! [`read`] takes safetensors files, single and sharded, both formats that `torch.save` has had, and
//! NumPy's `.npz`; [`write_safetensors`] writes the first of them, so that at any moment the path holds
//! either the old file or the new one. [`Load`](crate::Load) adds what a network needs to take over the
//! checkpoint of another: a key, a prefix, other names, parts that are missing.
//!
//! # Memory
//!
//! Tensors are read one after the other through a small buffer into their own memory; no file is ever in
//! memory as a whole. Building a network from a file of N bytes therefore takes the network's parameters,
//! the tensors read (N bytes) and some kilobytes more.
//!
//! A damaged or hostile file can ask for no more than twice its length and 8 MiB; what asks for more is an
//! error before it is allocated. Tensors of `int8` and `uint16` are the exception: candle has them only in
//! twice the size, so that transposed or shared ones take three times their length. An `.npz` that is
//! compressed to less than half, or tensors that overlap each other, can need more for good reason;
//! [`Load::limit`](crate::Load::limit) allows it.

mod archive;
mod atomic;
mod budget;
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

pub use atomic::write_atomically;
pub(crate) use open::ReadOptions;
use open::open_regular;
#[cfg(feature = "hub")]
pub(crate) use sharded::for_each_shard;
pub use state_dict::StateDict;

/// Reads the tensors of a checkpoint onto `device`, in the file's order.
///
/// The content, not the extension, tells the format:
///
/// - `.safetensors`;
/// - `model.safetensors.index.json`, the index of a checkpoint in several safetensors files beside it, or
///   the directory that holds such an index or a `model.safetensors`;
/// - `.pt`, `.pth`, `.bin` as `torch.save` writes them today, a zip archive of a pickle and storages;
/// - the same extensions as it wrote them before PyTorch 1.6, pickles followed by storages;
/// - `.npz`, compressed or not, of arrays in either order.
///
/// A PyTorch file may hold the state dict itself or, beside epochs and optimiser states, under the
/// key `state_dict`, `model_state_dict` or `model`, or as the only dictionary of tensors in it; entries
/// that are no tensors are passed over, and a `module.` that all names begin with (what `DataParallel`
/// adds) is taken off. Pickled code is never run: a name outside the few that tensors need is an error.
///
/// Element types that candle lacks become the smallest that has all their values: `bool` `U8`, `int8`
/// `I16`, `uint16` `U32`. Complex, quantised and sparse tensors, `uint64` and NumPy's objects and strings are
/// errors that name them.
///
/// # Errors
///
/// When the file cannot be read, is cut short or damaged, or holds something that is no tensor where
/// one is due. The message begins with the path.
pub fn read(path: impl AsRef<Path>, device: &Device) -> Result<StateDict> {
    ReadOptions::default().read(path.as_ref(), device)
}

/// What a safetensors file says beside its tensors: what [`write_safetensors`] and
/// [`Network::save_with`](crate::Network::save_with) put there. None of the tensors is read.
///
/// # Errors
///
/// When the file cannot be read or is no safetensors file. The message begins with the path.
pub fn metadata(path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
    let path = path.as_ref();
    within(path.display(), open::metadata(path))
}

/// Writes `tensors` as a safetensors file, through [`write_atomically`].
///
/// The file keeps their order among tensors whose elements have the same size; larger elements come
/// first, which aligns all of them (empty ones read back by name). `metadata` goes into the header, beside `format` (`pt`) and
/// `sconce_version`. A tensor whose memory is not contiguous is written as it reads.
///
/// # Errors
///
/// When a tensor's type is one that cannot be stored, a name is `__metadata__` (the format keeps it
/// for itself), or the file cannot be written. The message begins with the path.
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

/// Says of an error where it happened: the file, the tensor, the byte.
fn within<T>(place: impl Display, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::msg(format!("{place}: {error}")))
}
