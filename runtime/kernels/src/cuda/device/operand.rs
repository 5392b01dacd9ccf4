//! Tensors' memory as kernels want it.

use crate::cuda::Operand;
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::driver::{CudaStream, DevicePtr, SyncOnDrop};
use candle_core::{CudaStorage, Result, bail};

/// Bytes that an operand's start is a multiple of, so that kernels may read vectors of them.
const ALIGNMENT: usize = 16;

/// An operand whose elements follow one another from an aligned address on.
pub(super) enum Dense<'a> {
    InPlace { storage: &'a CudaStorage, start: usize },
    Copied(CudaStorage),
}

impl<'a> Dense<'a> {
    /// The operand where it lies, or else a copy.
    pub fn of((storage, layout): Operand<'a>) -> Result<Self> {
        let start = layout.start_offset();
        let aligned = (start * storage.dtype().size_in_bytes()).is_multiple_of(ALIGNMENT);
        // An empty view may begin behind the end of its storage; nothing of it is read.
        if layout.shape().elem_count() == 0 {
            return Ok(Self::InPlace { storage, start: 0 });
        }
        if aligned && layout.is_contiguous() {
            return Ok(Self::InPlace { storage, start });
        }
        // SAFETY: the copy writes all of it, on the stream that it is allocated on.
        let mut copy = unsafe { storage.device().alloc_uninit(layout.shape(), storage.dtype())? };
        storage.copy_strided_src(&mut copy, 0, layout)?;
        Ok(Self::Copied(copy))
    }

    pub fn address<'s>(&'s self, stream: &'s CudaStream) -> Result<Address<'s>> {
        match self {
            Self::InPlace { storage, start } => Address::of(storage, *start, stream),
            Self::Copied(storage) => Address::of(storage, 0, stream),
        }
    }
}

/// An address in the device's memory.
pub(super) struct Address<'a> {
    pub pointer: u64,
    /// Tells other streams, where there are any, when this one is done with the memory.
    _used: SyncOnDrop<'a>,
}

impl<'a> Address<'a> {
    /// Of the element `start` of a storage.
    pub fn of(storage: &'a CudaStorage, start: usize, stream: &'a CudaStream) -> Result<Self> {
        macro_rules! address {
            ($($variant:ident)*) => {
                match &storage.slice {
                    $(CudaStorageSlice::$variant(slice) => slice.device_ptr(stream),)*
                    _ => bail!("expected an operand of plain numbers, got one of {:?}", storage.dtype()),
                }
            };
        }
        let (pointer, used) = address!(U8 U32 I16 I32 I64 BF16 F16 F32 F64);
        let bytes = start * storage.dtype().size_in_bytes();
        Ok(Self { pointer: pointer + bytes as u64, _used: used })
    }
}
