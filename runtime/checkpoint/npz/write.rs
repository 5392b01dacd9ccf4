//! Writing of `.npz` archives.

use std::io::Write;

use candle_core::DType;

use crate::{Error, Result};

use super::super::archive::ArchiveWriter;
use super::super::output::OutputTensor;
use super::EXTENSION;
use super::header;

/// Checks that the format supports the name and the dtype of a tensor.
pub(in super::super) fn check(tensor: &OutputTensor) -> Result<()> {
    // Python's `zipfile` cuts the name of an entry off at the first NUL.
    if tensor.name.contains('\0') {
        return Err(Error::msg("the name of an array in an .npz cannot contain NUL"));
    }
    let longest = usize::from(u16::MAX) - EXTENSION.len();
    if tensor.name.len() > longest {
        return Err(Error::msg(format!(
            "expected a name of at most {longest} bytes for an .npz, found one of {}",
            tensor.name.len()
        )));
    }
    tensor.check_rank()?;
    descr(tensor.dtype).map(|_| ())
}

/// Writes an archive of the tensors.
pub(in super::super) fn write(file: impl Write, tensors: &[OutputTensor]) -> Result<()> {
    // Readers recognize an archive by the local header of its first entry. An archive without arrays has none.
    if tensors.is_empty() {
        return Err(Error::msg("expected at least one tensor for an .npz, found none"));
    }
    let mut archive = ArchiveWriter::new(file);
    for tensor in tensors {
        let header = header::bytes(descr(tensor.dtype)?, tensor.dims());
        let size = header.len() as u64 + tensor.byte_count();
        archive.entry(&format!("{}{EXTENSION}", tensor.name), size, |out| {
            out.write_all(&header)?;
            tensor.write(out)
        })?;
    }
    archive.finish()
}

/// Returns the element type in NumPy's notation: byte order, kind, size in bytes.
fn descr(dtype: DType) -> Result<&'static str> {
    Ok(match dtype {
        DType::U8 => "|u1",
        DType::U32 => "<u4",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        dtype => {
            return Err(Error::msg(format!(
                "NumPy has no dtype {dtype:?} (`Save::dtype(DType::F32)` converts floating-point tensors)"
            )));
        }
    })
}
