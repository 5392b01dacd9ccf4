//! A channel-blocked activation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use candle_core::{Device, Result, Shape, Tensor, bail};

use crate::element::with_elements;
use crate::layout::Layout;
use crate::memory::{Arena, Lease};
use crate::simd::{Isa, isa};

use super::reorder;

/// An activation `[batch, channels, height, width]` of f32 on the CPU, stored as
/// `[batch, ⌈channels / lanes⌉, height, width, lanes]`. The lanes after the last channel are zero.
pub struct BlockedTensor {
    memory: Lease,
    shape: Shape,
    dims: [usize; 4],
    isa: Isa,
    id: u64,
    /// The `Nchw` tensor, once [`BlockedTensor::to_tensor`] has computed it.
    nchw: OnceLock<Tensor>,
}

impl BlockedTensor {
    /// Returns an activation with unspecified contents. The caller must write every element.
    ///
    /// # Errors
    /// Fails if there is not enough memory.
    pub fn new(arena: &Arc<Arena>, dims: [usize; 4]) -> Result<Self> {
        let isa = isa();
        let memory = arena.lease(Layout::Nchwc.elements(dims, isa.lanes()))?;
        Ok(Self { memory, shape: Shape::from(dims.to_vec()), dims, isa, id: new_id(), nchw: OnceLock::new() })
    }

    /// Returns a number that no other activation of the process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Converts a tensor `[batch, channels, height, width]` of f32 on the CPU.
    ///
    /// # Errors
    /// Fails if the tensor has the wrong rank, dtype or device, or there is not enough memory.
    pub fn from_tensor(arena: &Arc<Arena>, tensor: &Tensor) -> Result<Self> {
        let mut blocked = Self::new(arena, tensor.dims4()?.into())?;
        let (dims, lanes) = (blocked.dims, blocked.lanes());
        with_elements(tensor, |nchw| reorder::to_nchwc(nchw, &mut blocked.memory, dims, lanes))?;
        Ok(blocked)
    }

    /// Returns the activation as an `Nchw` tensor. The first call converts the layout; later calls return the same
    /// tensor.
    ///
    /// # Errors
    /// Fails if candle cannot create the tensor.
    pub fn to_tensor(&self) -> Result<Tensor> {
        if let Some(nchw) = self.nchw.get() {
            return Ok(nchw.clone());
        }
        let mut elements = vec![0.; self.shape.elem_count()];
        reorder::to_nchw(&self.memory, &mut elements, self.dims, self.lanes());
        let tensor = Tensor::from_vec(elements, self.shape.clone(), &Device::Cpu)?;
        Ok(self.nchw.get_or_init(|| tensor).clone())
    }

    /// Returns `true` if [`BlockedTensor::to_tensor`] has already converted the activation.
    pub fn has_cached_tensor(&self) -> bool {
        self.nchw.get().is_some()
    }

    /// Returns the shape `[batch, channels, height, width]`.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Returns the dimensions `[batch, channels, height, width]`.
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// Returns the number of channels in a block.
    pub fn lanes(&self) -> usize {
        self.isa.lanes()
    }

    /// Returns the instruction set whose vectors have as many lanes as a block has channels.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Returns the arena that the memory is leased from.
    pub fn arena(&self) -> &Arc<Arena> {
        self.memory.arena()
    }

    /// Returns the elements in the channel-blocked layout.
    pub fn blocks(&self) -> &[f32] {
        &self.memory
    }

    /// Returns the elements in the channel-blocked layout, for writing.
    pub fn blocks_mut(&mut self) -> &mut [f32] {
        // The converted tensor would be out of date.
        self.nchw.take();
        &mut self.memory
    }

    /// Returns the number of channel blocks of one sample.
    pub fn channel_blocks(&self) -> usize {
        self.dims[1].div_ceil(self.lanes())
    }

    /// Returns the number of pixels of one channel.
    pub fn pixels(&self) -> usize {
        self.dims[2] * self.dims[3]
    }

    /// Returns the tensor `[batch, channels, 1, 1]` of an activation with one pixel. The channels of each sample are
    /// already consecutive, so this method only drops the lanes after the last channel.
    ///
    /// # Errors
    /// Fails if the activation does not have exactly one pixel.
    pub fn pixel_tensor(&self) -> Result<Tensor> {
        if self.pixels() != 1 {
            bail!("expected an activation with one pixel, found the shape {:?}", self.dims)
        }
        let (channels, padded) = (self.dims[1], self.channel_blocks() * self.lanes());
        let rows = self.memory.chunks_exact(padded.max(1)).flat_map(|row| &row[..channels]);
        Tensor::from_vec(rows.copied().collect::<Vec<_>>(), self.shape.clone(), &Device::Cpu)
    }
}

fn new_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
