//! The element types of checkpoint files and the candle types that they become.

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;

use crate::Result;

/// The type of a stored tensor's elements, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Element {
    Bool,
    U8,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F8E4M3,
    F16,
    BF16,
    F32,
    F64,
}

impl Element {
    /// The type of that name in a safetensors header, where candle has one that holds its values.
    pub fn from_safetensors(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::BOOL => Self::Bool,
            Dtype::U8 => Self::U8,
            Dtype::I8 => Self::I8,
            Dtype::I16 => Self::I16,
            Dtype::U16 => Self::U16,
            Dtype::I32 => Self::I32,
            Dtype::U32 => Self::U32,
            Dtype::I64 => Self::I64,
            Dtype::F8_E4M3 => Self::F8E4M3,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F32 => Self::F32,
            Dtype::F64 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of one element in the file.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 | Self::F8E4M3 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// The type of the tensor that is read.
    pub fn dtype(self) -> DType {
        match self {
            Self::Bool | Self::U8 => DType::U8,
            Self::I16 => DType::I16,
            Self::I32 => DType::I32,
            Self::U16 | Self::U32 => DType::U32,
            Self::I8 | Self::I64 => DType::I64,
            Self::F8E4M3 => DType::F8E4M3,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
        }
    }

    /// A tensor of `shape` from its elements' bytes in row-major order.
    pub fn tensor(self, bytes: &[u8], shape: &[usize], device: &Device) -> Result<Tensor> {
        let tensor = match self {
            Self::I8 => {
                let values = bytes.iter().map(|&byte| i64::from(byte.cast_signed())).collect();
                Tensor::from_vec(values, shape, device)
            }
            Self::U16 => {
                let values = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 8);
                Tensor::from_vec(values.collect(), shape, device)
            }
            _ => Tensor::from_raw_buffer(bytes, self.dtype(), shape, device),
        };
        Ok(tensor?)
    }
}
