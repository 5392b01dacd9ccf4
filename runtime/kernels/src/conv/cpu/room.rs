//! Memory for an output. A large one begins at a cache line: a vector that is stored across two of them costs two
//! stores, and where an output's planes are whole lines, that is every vector or none.

use super::pixels::Element;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Result, Shape, Storage, Tensor, bail};

/// Where an output begins in its storage.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::conv) enum Start {
    /// With the storage, as an operation's of candle has to.
    First,
    /// At its first cache line, if it is large.
    Line,
}

/// Elements from which on an output is large: storing it takes longer than the views of its storage.
const LARGE: usize = 1 << 14;
/// Bytes of a cache line.
const LINE: usize = 64;

impl Start {
    /// What lies before an output of `elements`, with room for it, or an error where the machine has not so much
    /// memory.
    pub fn reserve<E: Element>(self, elements: usize) -> Result<Vec<E>> {
        let most = if self == Self::Line && elements >= LARGE { LINE / size_of::<E>() - 1 } else { 0 };
        let mut all = reserve::<E>(elements.saturating_add(most))?;
        // An element lies at a multiple of its size: so many of them reach the line.
        let before = all.as_ptr().align_offset(LINE).min(most);
        all.resize(before, E::zero());
        Ok(all)
    }
}

/// Room for so many elements, or an error where the machine has not so much memory.
pub(super) fn reserve<T>(elements: usize) -> Result<Vec<T>> {
    let mut room = Vec::new();
    match room.try_reserve_exact(elements) {
        Ok(()) => Ok(room),
        Err(error) => bail!("conv2d: no memory for an output of {elements} elements: {error}"),
    }
}

/// The tensor of shape `dims` that a storage ends with.
pub(super) fn last(storage: CpuStorage, dims: [usize; 4]) -> Result<Tensor> {
    let elements = dims.iter().product();
    let all = match &storage {
        CpuStorage::F32(all) => all.len(),
        CpuStorage::F64(all) => all.len(),
        CpuStorage::F16(all) => all.len(),
        CpuStorage::BF16(all) => all.len(),
        _ => elements,
    };
    let whole = |shape: Shape| Tensor::from_storage(Storage::Cpu(storage), shape, BackpropOp::none(), false);
    match all - elements {
        0 => Ok(whole(dims.to_vec().into())),
        before => whole(all.into()).narrow(0, before, elements)?.reshape(dims.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that is numbered, and its place in its storage.
    fn output(start: Start, dims: [usize; 4]) -> Result<(Tensor, usize)> {
        let elements = dims.iter().product::<usize>();
        let mut all = start.reserve::<f32>(elements)?;
        let before = all.len();
        all.extend((0..elements).map(|i| i as f32));
        let tensor = last(CpuStorage::F32(all), dims)?;
        assert_eq!(tensor.dims(), dims);
        assert!(tensor.is_contiguous());
        assert!(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().eq((0..elements).map(|i| i as f32)));
        Ok((tensor, before))
    }

    #[test]
    fn a_large_output_begins_at_a_line() -> Result<()> {
        let dims = [1, 4, 64, LARGE / 256];
        // Other allocations between them, so that not all begin at one place.
        let outputs = (0..8).map(|i| Ok((output(Start::Line, dims)?, vec![0u8; 16 * i + 16])));
        for ((tensor, before), _) in outputs.collect::<Result<Vec<_>>>()? {
            let (storage, layout) = tensor.storage_and_layout();
            let Storage::Cpu(CpuStorage::F32(all)) = &*storage else { bail!("not f32 on the CPU") };
            assert_eq!(layout.start_offset(), before);
            assert!(all[before..].as_ptr().addr().is_multiple_of(LINE));
        }
        Ok(())
    }

    #[test]
    fn others_begin_with_their_storage() -> Result<()> {
        assert_eq!(output(Start::First, [1, 4, 64, LARGE / 256])?.1, 0);
        assert_eq!(output(Start::Line, [1, 1, 1, LARGE - 1])?.1, 0);
        assert_eq!(output(Start::Line, [0, 4, 8, 8])?.1, 0);
        Ok(())
    }
}
