//! TensorFlow's record format (TFRecord): the length of the data, the checksum of the length, the data, and the
//! checksum of the data. All numbers are little-endian.

use super::crc32c::masked_crc32c;

/// Returns `data` as a record.
pub(super) fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_crc32c(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc32c(data).to_le_bytes());
    record
}
