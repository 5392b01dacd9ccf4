//! Contiguous, aligned operands of kernels.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::driver::{CudaStream, DevicePtr, SyncOnDrop};
use candle_core::{CudaStorage, Result, bail};

use crate::cuda::Operand;

/// The alignment of an operand's first element in bytes, so that kernels may read vectors.
const ALIGNMENT: usize = 16;

/// A contiguous operand with an aligned address.
pub(super) enum Dense<'a> {
    /// The operand itself, whose first element is element `start` of the storage.
    InPlace { storage: &'a CudaStorage, start: usize },
    /// A contiguous copy.
    Copied(CudaStorage),
}

impl<'a> Dense<'a> {
    /// Returns the operand in place if it is contiguous and aligned, and a copy otherwise.
    pub fn of((storage, layout): Operand<'a>) -> Result<Self> {
        let start = layout.start_offset();
        let aligned = (start * storage.dtype().size_in_bytes()).is_multiple_of(ALIGNMENT);
        // An empty view may begin past the end of its storage. Kernels do not read it.
        if layout.shape().elem_count() == 0 {
            return Ok(Self::InPlace { storage, start: 0 });
        }
        if aligned && layout.is_contiguous() {
            return Ok(Self::InPlace { storage, start });
        }
        // SAFETY: the copy below writes all elements, on the stream of the allocation.
        let mut copy = unsafe { storage.device().alloc_uninit(layout.shape(), storage.dtype())? };
        storage.copy_strided_src(&mut copy, 0, layout)?;
        Ok(Self::Copied(copy))
    }

    /// Returns the operand's address on the device.
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
    /// When dropped, records for other streams that this stream has finished using the memory.
    _used: SyncOnDrop<'a>,
}

impl<'a> Address<'a> {
    /// Returns the address of element `start` of a storage.
    pub fn of(storage: &'a CudaStorage, start: usize, stream: &'a CudaStream) -> Result<Self> {
        macro_rules! address {
            ($($variant:ident)*) => {
                match &storage.slice {
                    $(CudaStorageSlice::$variant(slice) => slice.device_ptr(stream),)*
                    _ => bail!("expected an operand of integers or floats, found {:?}", storage.dtype()),
                }
            };
        }
        let (pointer, used) = address!(U8 U32 I16 I32 I64 BF16 F16 F32 F64);
        let bytes = start * storage.dtype().size_in_bytes();
        Ok(Self { pointer: pointer + bytes as u64, _used: used })
    }
}
