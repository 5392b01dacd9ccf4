//! An activation in blocks: its memory and its sizes.

use super::reorder;
use crate::element::with_elements;
use crate::layout::Layout;
use crate::memory::{Arena, Lease};
use crate::simd::{Isa, isa};
use candle_core::{Device, Result, Shape, Tensor, bail};
use std::sync::{Arc, OnceLock};

/// `[batch, channels, height, width]` of f32 on the CPU, in memory `[batch, ⌈channels / lanes⌉, height, width,
/// lanes]`, zeros in the lanes after the last channel.
pub struct Image {
    memory: Lease,
    shape: Shape,
    dims: [usize; 4],
    isa: Isa,
    /// The same in rows, once somebody has asked.
    planes: OnceLock<Tensor>,
}

impl Image {
    /// Of any content, which whoever asks writes all of.
    ///
    /// # Errors
    /// The machine has not so much memory.
    pub fn new(arena: &Arc<Arena>, dims: [usize; 4]) -> Result<Self> {
        let isa = isa();
        let memory = arena.lease(Layout::Nchwc.elements(dims, isa.lanes()))?;
        Ok(Self { memory, shape: Shape::from(dims.to_vec()), dims, isa, planes: OnceLock::new() })
    }

    /// The elements of a tensor `[batch, channels, height, width]` of f32 on the CPU.
    ///
    /// # Errors
    /// It is no such tensor, or there is no memory.
    pub fn from_tensor(arena: &Arc<Arena>, tensor: &Tensor) -> Result<Self> {
        let mut image = Self::new(arena, tensor.dims4()?.into())?;
        let (dims, lanes) = (image.dims, image.lanes());
        with_elements(tensor, |planes| reorder::to_blocks(planes, &mut image.memory, dims, lanes))?;
        Ok(image)
    }

    /// The same in rows: a pass over memory, the first time.
    pub fn to_tensor(&self) -> Result<Tensor> {
        if let Some(planes) = self.planes.get() {
            return Ok(planes.clone());
        }
        let mut planes = vec![0.; self.shape.elem_count()];
        reorder::to_planes(&self.memory, &mut planes, self.dims, self.lanes());
        let planes = Tensor::from_vec(planes, self.shape.clone(), &Device::Cpu)?;
        Ok(self.planes.get_or_init(|| planes).clone())
    }

    /// Whether it has been put in rows already.
    pub fn has_planes(&self) -> bool {
        self.planes.get().is_some()
    }

    /// Returns the shape `[batch, channels, height, width]`.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// `[batch, channels, height, width]`
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// Returns the number of channels in a block.
    pub fn lanes(&self) -> usize {
        self.isa.lanes()
    }

    /// Returns the instruction set whose vectors the blocks fit.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Returns the arena that the memory is leased from.
    pub fn arena(&self) -> &Arc<Arena> {
        self.memory.arena()
    }

    /// The floats, in blocks.
    pub fn blocks(&self) -> &[f32] {
        &self.memory
    }

    /// Returns the floats, in blocks, for writing.
    pub fn blocks_mut(&mut self) -> &mut [f32] {
        // What it was in rows, it is no longer.
        self.planes.take();
        &mut self.memory
    }

    /// The blocks of channels of one image.
    pub fn channel_blocks(&self) -> usize {
        self.dims[1].div_ceil(self.lanes())
    }

    /// The pixels of a channel.
    pub fn pixels(&self) -> usize {
        self.dims[2] * self.dims[3]
    }

    /// A tensor `[batch, channels, 1, 1]` of an image of one pixel, which lies in rows but for the zeros.
    ///
    /// # Errors
    /// It has more pixels.
    pub fn pixel_tensor(&self) -> Result<Tensor> {
        if self.pixels() != 1 {
            bail!("expected an image of one pixel, got {:?}", self.dims)
        }
        let (channels, padded) = (self.dims[1], self.channel_blocks() * self.lanes());
        let rows = self.memory.chunks_exact(padded.max(1)).flat_map(|row| &row[..channels]);
        Tensor::from_vec(rows.copied().collect::<Vec<_>>(), self.shape.clone(), &Device::Cpu)
    }
}
