//! Checkpoints: reading and writing the tensors of a network by their names.
//!
//! [`read`] takes safetensors files and both formats that `torch.save` has had; [`write_safetensors`]
//! writes the first of them, so that at any moment the path holds either the old file or the new one.

mod atomic;
mod element;
mod safetensors;
mod state_dict;
mod torch;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::{Error, Result};

pub use atomic::write_atomically;
pub use state_dict::StateDict;

/// Reads the tensors of a checkpoint onto `device`, in the file's order.
///
/// The content, not the extension, tells the format:
///
/// - `.safetensors`;
/// - `.pt`, `.pth`, `.bin` as `torch.save` writes them today, a zip archive of a pickle and storages;
/// - the same extensions as it wrote them before PyTorch 1.6, pickles followed by storages.
///
/// A PyTorch file may hold the state dict itself or, beside epochs and optimiser states, under the
/// key `state_dict`, `model_state_dict` or `model`; entries that are no tensors are passed over, and
/// a `module.` that all names begin with (what `DataParallel` adds) is taken off. Pickled code is
/// never run: a name outside the few that tensors need is an error.
///
/// Element types that candle lacks are widened: `bool` to `U8`, `int8` to `I64`, `uint16` to `U32`.
///
/// # Errors
///
/// When the file cannot be read, is cut short or damaged, or holds something that is no tensor where
/// one is due. The message begins with the path.
pub fn read(path: impl AsRef<Path>, device: &Device) -> Result<StateDict> {
    let path = path.as_ref();
    within(path.display(), read_file(path, device))
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

fn read_file(path: &Path, device: &Device) -> Result<StateDict> {
    let mut file = File::open(path)?;
    let length = regular_length(&file)?;
    match Format::of(&mut file)? {
        Format::Safetensors => safetensors::read(&whole(file, length)?, device),
        Format::TorchZip => torch::read_zip(file, length, device),
        Format::TorchLegacy => torch::read_legacy(&whole(file, length)?, device),
    }
}

/// The length of a file; directories, pipes and devices have none to rely on.
fn regular_length(file: &File) -> Result<usize> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Error::msg("expected a file, got a directory or a device"));
    }
    usize::try_from(metadata.len()).map_err(|_| Error::msg("the file does not fit into memory"))
}

fn whole(mut file: File, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file is, as its first bytes tell.
enum Format {
    Safetensors,
    TorchZip,
    TorchLegacy,
}

impl Format {
    /// Leaves the file where it found it, at its start.
    fn of(file: &mut File) -> Result<Self> {
        let mut head = Vec::with_capacity(9);
        file.take(9).read_to_end(&mut head)?;
        file.rewind()?;
        match head[..] {
            // Eight bytes of the header's length, then the header. No archive and no pickle has a
            // brace there, whereas a length may look like the beginning of either.
            [_, _, _, _, _, _, _, _, b'{'] => Ok(Self::Safetensors),
            [b'P', b'K', 3, 4, ..] => Ok(Self::TorchZip),
            [0x80, 2..=5, ..] => Ok(Self::TorchLegacy),
            _ => Err(Error::msg(format!(
                "expected a safetensors file or one of torch.save (zip or legacy), got a file that begins \
                 with the bytes {head:02x?}"
            ))),
        }
    }
}

/// Says of an error where it happened: the file, the tensor, the byte.
fn within<T>(place: impl Display, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::msg(format!("{place}: {error}")))
}
