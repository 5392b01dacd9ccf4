//! The element types of checkpoint files and their conversion to candle's dtypes.

use std::io::Read;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use crate::{Error, Result};

use super::input::fill;

/// The type of a stored tensor's elements, which are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ElementType {
    Bool,
    U8,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F8E4M3,
    F8E5M2,
    F16,
    BF16,
    F32,
    F64,
}

impl ElementType {
    /// Returns the size of an element in the file, in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 | Self::F8E4M3 | Self::F8E5M2 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// Returns the dtype of the tensor: the smallest candle dtype that can represent all values.
    pub fn dtype(self) -> DType {
        match self {
            Self::Bool | Self::U8 => DType::U8,
            Self::I8 | Self::I16 => DType::I16,
            Self::U16 | Self::U32 => DType::U32,
            Self::I32 => DType::I32,
            Self::I64 => DType::I64,
            Self::F8E4M3 => DType::F8E4M3,
            Self::F8E5M2 | Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
        }
    }

    /// Returns `true` if the dtype is larger than the element in the file.
    pub fn is_widened(self) -> bool {
        self.dtype().size_in_bytes() > self.size()
    }

    /// Returns the size of a tensor in memory, in bytes, or `None` on overflow.
    pub fn tensor_bytes(self, elements: usize) -> Option<usize> {
        elements.checked_mul(self.dtype().size_in_bytes())
    }

    /// Creates a tensor of `shape` from the elements of `source`.
    pub fn tensor(self, mut source: impl Elements, shape: &[usize], device: &Device) -> Result<Tensor> {
        let tensor = match self {
            Self::Bool => Tensor::from_vec(source.decode(|[byte]| u8::from(byte != 0))?, shape, device),
            Self::U8 => Tensor::from_vec(source.decode(|[byte]| byte)?, shape, device),
            Self::I8 => Tensor::from_vec(source.decode(|[byte]| i16::from(byte as i8))?, shape, device),
            Self::I16 => Tensor::from_vec(source.decode(i16::from_le_bytes)?, shape, device),
            Self::U16 => {
                let values = source.decode(|pair| u32::from(u16::from_le_bytes(pair)))?;
                Tensor::from_vec(values, shape, device)
            }
            Self::I32 => Tensor::from_vec(source.decode(i32::from_le_bytes)?, shape, device),
            Self::U32 => Tensor::from_vec(source.decode(u32::from_le_bytes)?, shape, device),
            Self::I64 => Tensor::from_vec(source.decode(i64::from_le_bytes)?, shape, device),
            Self::F8E4M3 => {
                Tensor::from_raw_buffer(&source.decode(|[byte]| byte)?, DType::F8E4M3, shape, device)
            }
            Self::F8E5M2 => {
                // An F8E5M2 is the upper byte of an f16.
                let values = source.decode(|[byte]| f16::from_bits(u16::from(byte) << 8))?;
                Tensor::from_vec(values, shape, device)
            }
            Self::F16 => Tensor::from_vec(source.decode(f16::from_le_bytes)?, shape, device),
            Self::BF16 => Tensor::from_vec(source.decode(bf16::from_le_bytes)?, shape, device),
            Self::F32 => Tensor::from_vec(source.decode(f32::from_le_bytes)?, shape, device),
            Self::F64 => Tensor::from_vec(source.decode(f64::from_le_bytes)?, shape, device),
        };
        Ok(tensor?)
    }
}

/// A source of elements in row-major order.
pub(super) trait Elements {
    /// Decodes all elements, each from `SIZE` bytes.
    fn decode<const SIZE: usize, T>(&mut self, decode: impl Fn([u8; SIZE]) -> T) -> Result<Vec<T>>;
}

/// The next `count` elements of a reader, read through a small buffer.
pub(super) struct Stream<'r> {
    pub reader: &'r mut dyn Read,
    pub count: usize,
}

/// The maximum size of the buffer in bytes; a multiple of every element size.
const BUFFER_BYTES: usize = 1 << 16;

impl Elements for Stream<'_> {
    fn decode<const SIZE: usize, T>(&mut self, decode: impl Fn([u8; SIZE]) -> T) -> Result<Vec<T>> {
        let bytes =
            self.count.checked_mul(SIZE).ok_or_else(|| Error::msg("the tensor is too large for memory"))?;
        let mut values = Vec::with_capacity(self.count);
        let mut buffer = vec![0; bytes.min(BUFFER_BYTES)];
        let mut left = bytes;
        while left > 0 {
            let chunk = &mut buffer[..left.min(BUFFER_BYTES)];
            fill(self.reader, chunk)?;
            values.extend(chunk.as_chunks::<SIZE>().0.iter().map(|&bytes| decode(bytes)));
            left -= chunk.len();
        }
        Ok(values)
    }
}

/// Returns the number of elements of a shape. Returns `None` if the product of the nonzero sizes overflows, even if
/// another size is 0: the row-major strides would overflow.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length.max(1)))?;
    Some(if shape.contains(&0) { 0 } else { product })
}
