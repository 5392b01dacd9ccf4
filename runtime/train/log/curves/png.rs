//! PNG files of 8-bit colors, as in the [specification](https://www.w3.org/TR/png-3/).
//!
//! This module replaces the crate `png`, which would add three packages to the dependencies.

use std::io::{self, Write};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// Bit depth 8, color type RGB, compression method 0, filter method 0 and no interlacing.
const FORMAT: [u8; 5] = [8, 2, 0, 0, 0];
/// The filter of a row that is stored as it is.
const NO_FILTER: [u8; 1] = [0];
/// The number of bytes of a pixel: red, green and blue.
pub(super) const CHANNELS: usize = 3;

/// Encodes a picture. `pixels` has the rows from top to bottom.
pub(super) fn encode((width, height): (u32, u32), pixels: &[u8]) -> io::Result<Vec<u8>> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks_exact(width as usize * CHANNELS) {
        rows.write_all(&NO_FILTER)?;
        rows.write_all(row)?;
    }
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &FORMAT].concat();
    let mut png = SIGNATURE.to_vec();
    push_chunk(&mut png, b"IHDR", &header);
    push_chunk(&mut png, b"IDAT", &rows.finish()?);
    push_chunk(&mut png, b"IEND", &[]);
    Ok(png)
}

/// Appends the length, the name, the data and the checksum of a chunk.
fn push_chunk(png: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    let mut checksum = Crc::new();
    checksum.update(name);
    checksum.update(data);
    png.extend((data.len() as u32).to_be_bytes());
    png.extend(name);
    png.extend(data);
    png.extend(checksum.sum().to_be_bytes());
}

/// Returns the size and the pixels of a picture that [`encode`] wrote.
#[cfg(test)]
pub(super) fn decode(png: &[u8]) -> io::Result<((u32, u32), Vec<u8>)> {
    let number = |at: usize| u32::from_be_bytes([png[at], png[at + 1], png[at + 2], png[at + 3]]);
    let size = (number(16), number(20));
    let length = number(33) as usize;
    assert_eq!((&png[12..16], &png[37..41]), (&b"IHDR"[..], &b"IDAT"[..]));
    let mut rows = Vec::new();
    io::copy(&mut flate2::read::ZlibDecoder::new(&png[41..41 + length]), &mut rows)?;
    let pixels = rows.chunks_exact(1 + size.0 as usize * CHANNELS).flat_map(|row| row[1..].to_vec());
    Ok((size, pixels.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_two_pixels_has_the_chunks_of_libpng() -> io::Result<()> {
        // The chunks that libpng writes for a red and a blue pixel, except for the compressed rows.
        let png = encode((2, 1), &[255, 0, 0, 0, 0, 255])?;
        let header = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x02\0\0\0\x01\x08\x02\0\0\0\x7b\x40\xe8\xdd";
        assert_eq!(png[..33], *header);
        assert!(png.ends_with(b"\0\0\0\0IEND\xae\x42\x60\x82"));
        assert_eq!(decode(&png)?, ((2, 1), vec![255, 0, 0, 0, 0, 255]));
        Ok(())
    }
}
