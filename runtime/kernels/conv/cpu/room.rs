//! Memory for an output. A large one begins at a cache line: a vector that is stored across two of them costs two
//! stores, and where an output's planes are whole lines, that is every vector or none.

use super::pixels::Element;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Result, Storage, Tensor, bail};

/// Where an output begins in its storage.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::kernels::conv) enum Start {
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
        let mut all = reserve::<E>(elements + most)?;
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
    let tensor = Tensor::from_storage(Storage::Cpu(storage), all, BackpropOp::none(), false);
    tensor.narrow(0, all - elements, elements)?.reshape(dims.to_vec())
}
