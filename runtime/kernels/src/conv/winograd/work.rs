//! The division of the work into blocks of tiles, and of these among the threads.

use super::Operands;
use super::pack::{PANEL, PackedWinograd};
use super::scheme::Scheme;
use super::transform::{Products, STRIP, Transformed, transform_inputs, transform_outputs};
use crate::gemm::{PackedFactors, multiply_packed, panels_at_once};
use crate::memory::Scratch;
use crate::parallel::for_each;
use crate::simd::{Isa, Kernel, Simd, dispatch_to};
use std::marker::PhantomData;
use std::ops::Range;

/// The most tiles of a block. With more, there are fewer passes over the weight; with fewer, `m` is nearer.
pub(in crate::conv) const BLOCK_TILES: usize = 64;

/// The most panels of output channels that share a pass over `v`.
const GROUP_PANELS: usize = 2;

/// The output channels of so many.
pub(in crate::conv) const GROUP_OUTPUTS: usize = GROUP_PANELS * PANEL;

/// From so many panels of output channels on a block's transform is little beside its products, and so many lines of
/// it leave half of the second-level cache for the weights.
const LEAST_PANELS: usize = 4;
const MOST_LINES: usize = 1 << 14;

/// One convolution, divided.
pub(super) struct Work<'a, F, const OUT: usize, const IN: usize> {
    isa: Isa,
    scheme: PhantomData<F>,
    operands: &'a Operands<'a>,
    blocks: usize,
    /// The tiles of a block, of the last ones perhaps fewer.
    block_tiles: usize,
    panels: usize,
    group_panels: usize,
    shared: Shared,
}

/// How threads share the work.
#[derive(Clone, Copy, PartialEq)]
enum Shared {
    /// A thread takes whole blocks.
    Blocks,
    /// A thread takes a part of the output channels of the only block, and transforms that for itself.
    Outputs,
    /// All take channels of each block, first of the input, then of the output.
    Channels,
}

impl<'a, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize> Work<'a, F, OUT, IN> {
    pub(super) fn new(isa: Isa, _: F, operands: &'a Operands<'a>) -> Self {
        let (tiles, threads) = (operands.grid.count(), rayon::current_num_threads());
        let apart = tiles >= threads * BLOCK_TILES;
        let panels = operands.shape.out_channels.div_ceil(PANEL);
        let blocks = match apart {
            true => tiles.div_ceil(BLOCK_TILES).next_multiple_of(threads),
            // At least one panel of one block for each thread.
            false => tiles.div_ceil(BLOCK_TILES).max(threads.div_ceil(panels)).min(tiles),
        };
        let block_tiles = tiles.div_ceil(blocks);
        let even = (panels * blocks).div_ceil(threads);
        let busy = |group: &usize| blocks * panels.div_ceil(*group) >= threads;
        let group_panels = if apart { GROUP_PANELS } else { even.clamp(1, GROUP_PANELS) };
        let group_panels = if apart { group_panels } else { Some(group_panels).filter(busy).unwrap_or(1) };
        let shared = if apart { Shared::Blocks } else { Shared::Channels };
        let work =
            Self { isa, scheme: PhantomData, operands, blocks, block_tiles, panels, group_panels, shared };
        let is_small = work.v_len() <= MOST_LINES * PANEL && panels >= LEAST_PANELS;
        let shared = if threads == 2 && blocks == 1 && is_small { Shared::Outputs } else { shared };
        Self { shared, ..work }
    }

    pub(super) fn run(&self) {
        match self.shared {
            Shared::Blocks => self.run_apart(),
            Shared::Outputs => self.run_for_itself(),
            Shared::Channels => self.run_together(),
        }
    }

    /// Each block is one task: what it transforms stays near its thread.
    fn run_apart(&self) {
        for_each(self.blocks, &|block| {
            let mut scratch = Scratch::new([self.v_len()]);
            let v = self.transformed(&mut scratch);
            self.transform(block, 0..self.operands.shape.in_channels, v);
            self.multiply(block, 0..self.panels, v);
        });
    }

    /// Two threads are done sooner when each transforms all that it multiplies: to write to lines that the other has
    /// read in the call before, and to read the other's, takes as long as to transform them again.
    fn run_for_itself(&self) {
        for_each(2, &|half| {
            let bound = |half: usize| half * self.panels / 2;
            let mut scratch = Scratch::new([self.v_len()]);
            let v = self.transformed(&mut scratch);
            self.transform(0, 0..self.operands.shape.in_channels, v);
            self.multiply(0, bound(half)..bound(half + 1), v);
        });
    }

    /// There are too few blocks for that: first the input channels are shared out, then the output's.
    fn run_together(&self) {
        let channels = self.operands.shape.in_channels;
        let pieces = channels.div_ceil(PANEL);
        let groups = self.panels.div_ceil(self.group_panels);
        let mut scratch = Scratch::new([self.v_len() * self.blocks]);
        let v = self.transformed(&mut scratch);
        for_each(self.blocks * pieces, &|task| {
            let (block, first) = (task % self.blocks, task / self.blocks * PANEL);
            self.transform(block, first..channels.min(first + PANEL), self.block_of(v, block));
        });
        // Neighbouring tasks use the same weights.
        for_each(self.blocks * groups, &|task| {
            let (block, first) = (task % self.blocks, task / self.blocks * self.group_panels);
            let panels = first..self.panels.min(first + self.group_panels);
            self.multiply(block, panels, self.block_of(v, block));
        });
    }

    fn tiles(&self, block: usize) -> Range<usize> {
        let bound = |block: usize| (block * self.block_tiles).min(self.operands.grid.count());
        bound(block)..bound(block + 1)
    }

    /// The cache lines of one position. An odd number: at a multiple of the caches' period all positions
    /// would compete for the same places.
    fn v_stride(&self) -> usize {
        (self.operands.shape.in_channels.div_ceil(PANEL) * self.block_tiles) | 1
    }

    /// The floats of a block's transformed tiles.
    fn v_len(&self) -> usize {
        self.v_stride() * PANEL * IN * IN
    }

    fn transformed(&self, scratch: &mut Scratch<1>) -> Transformed {
        let [v] = scratch.slices();
        Transformed { data: v.as_mut_ptr(), position_stride: self.v_stride() * PANEL }
    }

    /// The part of `v` that belongs to a block.
    fn block_of(&self, v: Transformed, block: usize) -> Transformed {
        Transformed { data: v.data.wrapping_add(block * self.v_len()), ..v }
    }

    fn transform(&self, block: usize, channels: Range<usize>, v: Transformed) {
        let mut scratch = Scratch::new([STRIP]);
        let strip = scratch.slices()[0].as_mut_ptr();
        dispatch_to(self.isa, Transform { work: self, tiles: self.tiles(block), channels, strip, v });
    }

    fn multiply(&self, block: usize, panels: Range<usize>, v: Transformed) {
        let mut scratch = Scratch::new([self.m_stride() * IN * IN, STRIP]);
        let [m, strip] = scratch.slices().map(<[f32]>::as_mut_ptr);
        for group in self.groups(panels) {
            dispatch_to(self.isa, self.product(block, group.clone(), v, m));
            dispatch_to(self.isa, self.results(block, group, m, strip));
        }
    }

    /// The panels that share a pass over `v`.
    fn groups(&self, panels: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<F, OUT, IN> {
        let size = self.group_panels;
        panels.clone().step_by(size).map(move |first| first..panels.end.min(first + size))
    }

    /// The floats of one position's products: an odd number of cache lines, as for `v`.
    fn m_stride(&self) -> usize {
        ((self.block_tiles * self.group_panels) | 1) * PANEL
    }

    /// The second step, for a group of panels of a block's tiles.
    fn product(&self, block: usize, panels: Range<usize>, v: Transformed, m: *mut f32) -> Product<'_> {
        let (packed, tiles) = (self.operands.packed, self.tiles(block).len());
        Product { packed, positions: IN * IN, tiles, panels, v, m, m_stride: self.m_stride() }
    }

    /// The third.
    fn results(
        &self,
        block: usize,
        panels: Range<usize>,
        m: *mut f32,
        strip: *mut f32,
    ) -> Results<'_, F, OUT, IN> {
        Results { work: self, tiles: self.tiles(block), panels, m, strip }
    }
}

/// The first step, for some channels of a block's tiles.
struct Transform<'a, F, const OUT: usize, const IN: usize> {
    work: &'a Work<'a, F, OUT, IN>,
    tiles: Range<usize>,
    /// From a multiple of [`PANEL`], which every instruction set's vectors divide.
    channels: Range<usize>,
    strip: *mut f32,
    v: Transformed,
}

impl<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize> Kernel for Transform<'_, F, OUT, IN> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { work, tiles, channels, strip, v } = self;
        // SAFETY: the scratch has the sizes asked for, and no other task these channels of these tiles.
        unsafe { transform_inputs::<S, F, OUT, IN>(simd, work.operands, tiles, channels, strip, v) }
    }
}

/// The second step, for some panels of output channels: the same for every scheme, so that it is compiled
/// once.
struct Product<'a> {
    packed: &'a PackedWinograd,
    positions: usize,
    tiles: usize,
    panels: Range<usize>,
    v: Transformed,
    /// `[position][panel][tile][PANEL]`.
    m: *mut f32,
    m_stride: usize,
}

impl Kernel for Product<'_> {
    type Output = ();

    /// Position by position: `v` is read once for all panels.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { packed, positions, tiles, panels, v, m, m_stride } = self;
        let channels = packed.in_channels;
        let strides = [positions * channels * PANEL, tiles * PANEL];
        for position in 0..positions {
            for panel in panels.clone().step_by(panels_at_once::<S>()) {
                let first = (panel * positions + position) * channels * PANEL;
                let factors = PackedFactors {
                    a: v.data.wrapping_add(position * v.position_stride),
                    b: packed.floats[first..].as_ptr(),
                    depth: channels,
                    rows: tiles,
                    panels: panels_at_once::<S>().min(panels.end - panel),
                    panel_strides: strides,
                };
                let at = position * m_stride + (panel - panels.start) * strides[1];
                // SAFETY: the panels and the position exist, and the scratch has the sizes asked for.
                unsafe { multiply_packed(simd, factors, m.add(at)) }
            }
        }
    }
}

/// The third step.
struct Results<'a, F, const OUT: usize, const IN: usize> {
    work: &'a Work<'a, F, OUT, IN>,
    tiles: Range<usize>,
    panels: Range<usize>,
    m: *mut f32,
    strip: *mut f32,
}

impl<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize> Kernel for Results<'_, F, OUT, IN> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (i, panel) in self.panels.clone().enumerate() {
            let (operands, tiles) = (self.work.operands, self.tiles.clone());
            let data = self.m.wrapping_add(i * tiles.len() * PANEL);
            let m = Products { data, position_stride: self.work.m_stride() };
            // SAFETY: the scratch has the sizes asked for, and no other task these outputs.
            unsafe { transform_outputs::<S, F, OUT, IN>(simd, operands, tiles, panel * PANEL, self.strip, m) }
        }
    }
}

#[cfg(test)]
mod tests;
