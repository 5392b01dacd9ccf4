//! Writing of files in the format of `torch.save`.

use std::collections::HashMap;
use std::io::Write;

use candle_core::DType;

use crate::{Error, Result};

use super::super::archive::{ALIGNMENT, ArchiveWriter};
use super::super::element::element_count;
use super::super::output::OutputTensor;
use super::named::check_name;
use super::pickler::{PickledTensor, StorageType, pickle};

/// The folder of all entries. `torch.save` uses this name when it writes to a file object. When it writes to a path, it
/// uses the file's name without the extension.
const FOLDER: &str = "archive";

/// The version of the format, which older versions of PyTorch check.
const VERSION: &[u8] = b"3\n";

/// The version of the layout of the archive: the order and the alignment of its entries.
const FORMAT_VERSION: &[u8] = b"1";

/// Checks that the format supports the shape and the dtype of a tensor, and that [`read`](crate::checkpoint::read)
/// accepts its name.
pub(in super::super) fn check(tensor: &OutputTensor) -> Result<()> {
    check_name(tensor.name.len())?;
    if element_count(tensor.dims()).is_none() {
        return Err(Error::msg(format!("the strides of the shape {:?} are too large", tensor.dims())));
    }
    tensor.check_rank()?;
    storage_type(tensor.dtype).map(|_| ())
}

/// Writes an archive of the tensors.
///
/// PyTorch 2.15 writes the same bytes for an `OrderedDict` of these tensors, if they are contiguous, except for the
/// first half of `serialization_id`.
pub(in super::super) fn write(file: impl Write, tensors: &[OutputTensor]) -> Result<()> {
    let mut storages: Vec<&OutputTensor> = Vec::new();
    let mut numbers = HashMap::new();
    let mut pickled = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let storage = *numbers.entry(tensor.identity()).or_insert(storages.len());
        if storage == storages.len() {
            storages.push(tensor);
        }
        let storage_type = storage_type(tensor.dtype)?;
        let storage_size = match storage_type {
            StorageType::Typed(_) => tensor.element_count(),
            StorageType::Untyped(_) => tensor.element_count() * tensor.dtype.size_in_bytes(),
        };
        let (name, shape) = (tensor.name, tensor.dims());
        pickled.push(PickledTensor { name, shape, storage, storage_type, storage_size });
    }

    let mut archive = TorchArchiveWriter { archive: ArchiveWriter::new(file), combined_checksums: 0 };
    archive.bytes("data.pkl", &pickle(&pickled))?;
    archive.bytes(".format_version", FORMAT_VERSION)?;
    archive.bytes(".storage_alignment", ALIGNMENT.to_string().as_bytes())?;
    archive.bytes("byteorder", b"little")?;
    for (number, tensor) in storages.into_iter().enumerate() {
        archive.entry(&format!("data/{number}"), tensor.byte_count(), |out| tensor.write(out))?;
    }
    archive.bytes("version", VERSION)?;
    archive.finish()
}

/// Returns how PyTorch pickles the storage of a tensor. PyTorch has no storage classes for its newer dtypes.
fn storage_type(dtype: DType) -> Result<StorageType> {
    Ok(match dtype {
        DType::U8 => StorageType::Typed("ByteStorage"),
        DType::I16 => StorageType::Typed("ShortStorage"),
        DType::I32 => StorageType::Typed("IntStorage"),
        DType::I64 => StorageType::Typed("LongStorage"),
        DType::F16 => StorageType::Typed("HalfStorage"),
        DType::BF16 => StorageType::Typed("BFloat16Storage"),
        DType::F32 => StorageType::Typed("FloatStorage"),
        DType::F64 => StorageType::Typed("DoubleStorage"),
        DType::U32 => StorageType::Untyped("uint32"),
        DType::F8E4M3 => StorageType::Untyped("float8_e4m3fn"),
        dtype => return Err(Error::msg(format!("dtype {dtype:?} is not supported"))),
    })
}

/// An archive of `torch.save` that is being written.
struct TorchArchiveWriter<W> {
    archive: ArchiveWriter<W>,
    /// The checksums of the entries that are not empty, combined in one hash: the second half of `serialization_id`.
    combined_checksums: u64,
}

impl<W: Write> TorchArchiveWriter<W> {
    fn entry(
        &mut self,
        name: &str,
        size: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let checksum = self.archive.entry(&format!("{FOLDER}/{name}"), size, write)?;
        if size > 0 {
            self.combined_checksums = combined(self.combined_checksums, u64::from(checksum));
        }
        Ok(())
    }

    fn bytes(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, content.len() as u64, |out| Ok(out.write_all(content)?))
    }

    /// Writes `serialization_id` and the archive's central directory.
    ///
    /// In PyTorch's files, the first half of `serialization_id` is a hash of the names of all entries. The hash depends
    /// on the C++ standard library with which PyTorch was compiled, so it is 0 here. When PyTorch loads a file, it only
    /// logs `serialization_id`.
    fn finish(mut self) -> Result<()> {
        let id = format!("{:020}{:020}", 0, self.combined_checksums);
        self.bytes(".data/serialization_id", id.as_bytes())?;
        self.archive.finish()
    }
}

/// Combines two hashes as PyTorch's `hash_combine` does.
fn combined(seed: u64, value: u64) -> u64 {
    seed ^ value.wrapping_add(0x9e37_79b9).wrapping_add(seed << 6).wrapping_add(seed >> 2)
}
