//! Reads a whole file, which may be compressed, with bounded memory.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::checkpoint::open_regular;
use crate::{Error, Result};

/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The number of bytes of content that the default limit allows for each byte of a compressed file.
const PER_BYTE: usize = 64;

/// The number of bytes of content that the default limit allows in addition, for small files.
const BASE: usize = 8 << 20;

/// Returns the default limit for the content of a compressed file of `length` bytes.
pub(super) fn default_limit(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX).saturating_mul(PER_BYTE).saturating_add(BASE)
}

/// Returns the content of a file, decompressed if it is a gzip file. The content of a gzip file may have at most
/// `limit` bytes.
pub(super) fn read(path: &Path, limit: Option<usize>) -> Result<Vec<u8>> {
    let (mut file, length) = open_regular(path)?;
    let mut content = Vec::new();
    if !is_gzip(&mut file)? {
        file.read_to_end(&mut content)?;
        return Ok(content);
    }
    let limit = limit.unwrap_or_else(|| default_limit(length));
    let decoder = MultiGzDecoder::new(BufReader::new(file));
    decoder.take((limit as u64).saturating_add(1)).read_to_end(&mut content)?;
    if content.len() > limit {
        return Err(Error::msg(format!(
            "expected a gzip file with at most {limit} bytes of content, found more (a higher limit allows it)"
        )));
    }
    Ok(content)
}

/// Returns `true` if the file starts like a gzip file. Rewinds the file.
fn is_gzip(file: &mut File) -> Result<bool> {
    let mut head = Vec::with_capacity(GZIP.len());
    file.take(GZIP.len() as u64).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(head == GZIP)
}
