//! Allocation of the outputs of convolutions. A large output begins at a cache line, because a vector store that
//! crosses a line costs as much as two stores. If, in addition, the size of a plane is a multiple of 64 bytes, every
//! plane begins at a cache line.

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Result, Shape, Storage, Tensor, bail};

/// The alignment of an output in its storage.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Alignment {
    /// The output begins at the start of its storage, as candle requires of an operation with a gradient.
    StorageStart,
    /// A large output begins at the first cache line of the storage.
    CacheLine,
}

/// The minimum number of elements of a large output. Storing this many elements takes longer than creating the view of
/// the storage that an aligned output needs (see [`tensor_at_end`]).
const MIN_LARGE_ELEMENTS: usize = 1 << 14;

const CACHE_LINE_BYTES: usize = 64;

impl Alignment {
    /// Allocates an output of `elements` elements. The returned vector holds only the padding before the output, and
    /// its capacity suffices for the padding and the output.
    ///
    /// # Errors
    /// Fails if the allocation fails.
    pub fn allocate<E: Copy + Default>(self, elements: usize) -> Result<Vec<E>> {
        let max_padding = match self {
            Self::CacheLine if elements >= MIN_LARGE_ELEMENTS => CACHE_LINE_BYTES / size_of::<E>() - 1,
            _ => 0,
        };
        let mut storage = allocate::<E>(elements.saturating_add(max_padding))?;
        // An element's address is a multiple of its size, so at most `max_padding` elements precede the next line.
        let padding = storage.as_ptr().align_offset(CACHE_LINE_BYTES).min(max_padding);
        storage.resize(padding, E::default());
        Ok(storage)
    }
}

/// Returns an empty vector with capacity for `elements`.
///
/// # Errors
/// Fails if the allocation fails.
pub(crate) fn allocate<T>(elements: usize) -> Result<Vec<T>> {
    let mut output = Vec::new();
    match output.try_reserve_exact(elements) {
        Ok(()) => Ok(output),
        Err(error) => bail!("conv2d: could not allocate an output of {elements} elements: {error}"),
    }
}

/// Returns a tensor of shape `dims` that consists of the last elements of `storage`.
pub(crate) fn tensor_at_end(storage: CpuStorage, dims: [usize; 4]) -> Result<Tensor> {
    let elements = dims.iter().product();
    let storage_len = match &storage {
        CpuStorage::F32(all) => all.len(),
        CpuStorage::F64(all) => all.len(),
        CpuStorage::F16(all) => all.len(),
        CpuStorage::BF16(all) => all.len(),
        // Convolutions have no outputs of other types.
        _ => elements,
    };
    let whole = |shape: Shape| Tensor::from_storage(Storage::Cpu(storage), shape, BackpropOp::none(), false);
    match storage_len - elements {
        0 => Ok(whole(dims.to_vec().into())),
        offset => whole(storage_len.into()).narrow(0, offset, elements)?.reshape(dims.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an output with the elements 0, 1, 2, …, and its offset in its storage.
    fn output(alignment: Alignment, dims: [usize; 4]) -> Result<(Tensor, usize)> {
        let elements = dims.iter().product::<usize>();
        let mut all = alignment.allocate::<f32>(elements)?;
        let offset = all.len();
        all.extend((0..elements).map(|i| i as f32));
        let tensor = tensor_at_end(CpuStorage::F32(all), dims)?;
        assert_eq!(tensor.dims(), dims);
        assert!(tensor.is_contiguous());
        assert!(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().eq((0..elements).map(|i| i as f32)));
        Ok((tensor, offset))
    }

    #[test]
    fn large_outputs_begin_at_a_cache_line() -> Result<()> {
        let dims = [1, 4, 64, MIN_LARGE_ELEMENTS / 256];
        // The small vectors between the outputs vary the addresses.
        let outputs = (0..8).map(|i| Ok((output(Alignment::CacheLine, dims)?, vec![0u8; 16 * i + 16])));
        for ((tensor, offset), _) in outputs.collect::<Result<Vec<_>>>()? {
            let (storage, layout) = tensor.storage_and_layout();
            let Storage::Cpu(CpuStorage::F32(all)) = &*storage else { bail!("not f32 on the CPU") };
            assert_eq!(layout.start_offset(), offset);
            assert!(all[offset..].as_ptr().addr().is_multiple_of(CACHE_LINE_BYTES));
        }
        Ok(())
    }

    #[test]
    fn only_large_outputs_with_cache_line_alignment_have_padding() -> Result<()> {
        assert_eq!(output(Alignment::StorageStart, [1, 4, 64, MIN_LARGE_ELEMENTS / 256])?.1, 0);
        assert_eq!(output(Alignment::CacheLine, [1, 1, 1, MIN_LARGE_ELEMENTS - 1])?.1, 0);
        assert_eq!(output(Alignment::CacheLine, [0, 4, 8, 8])?.1, 0);
        Ok(())
    }
}
