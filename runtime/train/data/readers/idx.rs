//! IDX, the format of MNIST and Fashion-MNIST: two zero bytes, the element type, the number of dimensions, each
//! dimension as a big-endian u32, and the elements, big-endian.

use std::path::Path;

use candle_core::{Device, Tensor, WithDType};

use crate::checkpoint::element::element_count;
use crate::checkpoint::with_context;
use crate::{Error, Result};

use super::compressed;

/// Reads an IDX file, such as MNIST's `train-images-idx3-ubyte.gz`, plain or compressed by gzip, to a tensor on the
/// CPU.
///
/// The dtype is that of the file: u8, i16, i32, f32 or f64. Elements of type i8 become i16.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::read_idx;
/// # fn main() -> Result<()> {
/// let images = read_idx("examples/data/t10k-images-idx3-ubyte.gz")?;
/// let classes = read_idx("examples/data/t10k-labels-idx1-ubyte.gz")?;
/// assert_eq!((images.dims(), images.dtype()), ([10_000, 28, 28].as_slice(), DType::U8));
/// let data = TensorDataset::new(images.unsqueeze(1)?, classes)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if the file cannot be read, is truncated or damaged, or has bytes after its elements. The content of a
/// compressed file may have at most 64 times the bytes of the file, plus 8 MiB; see [`read_idx_with_limit`]. The
/// message begins with the path.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Tensor> {
    read(path.as_ref(), None)
}

/// Like [`read_idx`], with a limit of `bytes` for the content of a compressed file.
///
/// ```
/// use sconce::train::data::read_idx_with_limit;
///
/// let images = "examples/data/t10k-images-idx3-ubyte.gz";
/// assert!(read_idx_with_limit(images, 10_000_000).is_ok());
/// assert!(read_idx_with_limit(images, 1_000_000).is_err());
/// ```
///
/// # Errors
/// Fails under the same conditions as [`read_idx`], and if the content is larger than the limit.
pub fn read_idx_with_limit(path: impl AsRef<Path>, bytes: usize) -> Result<Tensor> {
    read(path.as_ref(), Some(bytes))
}

fn read(path: &Path, limit: Option<usize>) -> Result<Tensor> {
    with_context(path.display(), compressed::read(path, limit).and_then(parse))
}

/// Returns the tensor of an IDX file with the given content.
fn parse(mut content: Vec<u8>) -> Result<Tensor> {
    let Some((&[0, 0, element, rank], rest)) = content.split_first_chunk() else {
        let head = &content[..content.len().min(4)];
        return Err(Error::msg(format!(
            "expected an IDX file, which begins with two zero bytes, an element type and a number of dimensions, \
             found {head:02x?}"
        )));
    };
    let Some((header, elements)) = rest.split_at_checked(4 * usize::from(rank)) else {
        return Err(Error::msg(format!("the file ends within the {rank} dimensions of its header")));
    };
    let dims: Vec<usize> = header.as_chunks().0.iter().map(|dim| u32::from_be_bytes(*dim) as usize).collect();
    let found = elements.len();
    let start = content.len() - found;
    let check = |size: usize| {
        let expected = element_count(&dims).and_then(|count| count.checked_mul(size));
        let expected =
            expected.ok_or_else(|| Error::msg(format!("the shape {dims:?} is too large for memory")))?;
        if expected == found {
            return Ok(());
        }
        Err(Error::msg(format!(
            "expected {expected} bytes for {size}-byte elements of shape {dims:?}, found {found} bytes"
        )))
    };
    match element {
        0x08 => {
            check(1)?;
            content.drain(..start);
            Ok(Tensor::from_vec(content, dims, &Device::Cpu)?)
        }
        0x09 => check(1).and_then(|()| tensor(elements, |[byte]| i16::from(byte as i8), &dims)),
        0x0b => check(2).and_then(|()| tensor(elements, i16::from_be_bytes, &dims)),
        0x0c => check(4).and_then(|()| tensor(elements, i32::from_be_bytes, &dims)),
        0x0d => check(4).and_then(|()| tensor(elements, f32::from_be_bytes, &dims)),
        0x0e => check(8).and_then(|()| tensor(elements, f64::from_be_bytes, &dims)),
        other => Err(Error::msg(format!(
            "expected the element type 0x08, 0x09, 0x0b, 0x0c, 0x0d or 0x0e, found 0x{other:02x}"
        ))),
    }
}

/// Converts elements of `N` bytes each to a tensor of shape `dims`.
fn tensor<const N: usize, T: WithDType>(
    elements: &[u8],
    convert: impl Fn([u8; N]) -> T,
    dims: &[usize],
) -> Result<Tensor> {
    let values: Vec<T> = elements.as_chunks().0.iter().map(|bytes| convert(*bytes)).collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}
