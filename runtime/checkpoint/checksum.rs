//! Checksums of tensors.

use std::io::{self, Write};

use candle_core::Tensor;
use flate2::Crc;

use crate::Result;

use super::output::OutputTensor;
use super::state_dict::StateDict;

/// Returns the CRC-32 of `text` and of the names, dtypes, shapes and elements of `tensors`, in the order of the names.
pub(crate) fn checksum(text: &str, tensors: &StateDict) -> Result<u32> {
    let mut sum = Checksum(Crc::new());
    sum.write_all(text.as_bytes())?;
    let mut sorted: Vec<(&str, &Tensor)> = tensors.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    for (name, tensor) in sorted {
        write!(sum, "{name}\0{:?}\0{:?}\0", tensor.dtype(), tensor.dims())?;
        OutputTensor::new(name, tensor, None)?.write(&mut sum)?;
    }
    Ok(sum.0.sum())
}

/// A writer that updates a checksum with the bytes written to it.
struct Checksum(Crc);

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
