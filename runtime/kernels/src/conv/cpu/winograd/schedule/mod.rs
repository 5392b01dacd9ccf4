//! The division of the work into blocks of tiles, and the distribution of blocks to threads.
//!
//! The output channels are divided into *panels* of [`PANEL`] channels. One or two panels form a *group*, which reads
//! the transformed tiles `v` of a block once.

use std::marker::PhantomData;
use std::ops::Range;

use crate::gemm::{PackedFactors, multiply_packed, panels_at_once};
use crate::memory::Scratch;
use crate::parallel::for_each;
use crate::simd::{Isa, Kernel, Simd, dispatch_to};

use super::Operands;
use super::pack::{PANEL, PackedWinograd};
use super::scheme::Scheme;
use super::transform::{InputTransform, OutputTransform, Positions, STRIP_FLOATS};

/// The maximum number of tiles of a block. More tiles would need fewer passes over the weight, and fewer tiles would
/// keep the products `m` in a faster cache.
pub(in crate::conv::cpu) const BLOCK_TILES: usize = 64;

/// The maximum number of panels of output channels that share a pass over `v`.
const GROUP_PANELS: usize = 2;

/// The number of output channels of [`GROUP_PANELS`] panels.
pub(in crate::conv::cpu) const GROUP_CHANNELS: usize = GROUP_PANELS * PANEL;

/// With at least this many panels of output channels, transforming a block costs little compared with its products.
const MIN_PANELS: usize = 4;
/// If the transformed tiles of a block have at most this many cache lines, half of the L2 cache remains for the
/// weights.
const MAX_BLOCK_LINES: usize = 1 << 14;

/// The overhead of a task (2000 cycles, as in `partition.rs`), expressed as the number of vectors that the input
/// transform writes in this time, at about 8 cycles per vector.
const TASK_VECTORS: usize = 256;

/// The schedule of one convolution: its division into blocks, and the distribution of the blocks to threads.
pub(super) struct Schedule<'a, F, const OUT: usize, const IN: usize> {
    isa: Isa,
    scheme: PhantomData<F>,
    operands: &'a Operands<'a>,
    /// The number of blocks of tiles.
    blocks: usize,
    /// The number of tiles of a block. The last blocks may have fewer.
    block_tiles: usize,
    /// The number of panels.
    panels: usize,
    /// The number of panels of a group. The last group may have fewer.
    group_panels: usize,
    distribution: Distribution,
}

/// How blocks are distributed to threads.
#[derive(Clone, Copy, PartialEq)]
enum Distribution {
    /// Each task transforms a whole block and computes some of its output channels. The field is the number of tasks
    /// per block.
    WholeBlocks(usize),
    /// In a first loop, each task transforms some input channels of all or some tiles of a block. In a second loop,
    /// each task computes some output channels of a block.
    SharedBlocks,
}

impl<'a, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize> Schedule<'a, F, OUT, IN> {
    pub(super) fn new(isa: Isa, _: F, operands: &'a Operands<'a>) -> Self {
        let (tiles, threads) = (operands.grid.count(), rayon::current_num_threads());
        let has_many_tiles = tiles >= threads * BLOCK_TILES;
        let panels = operands.shape.out_channels.div_ceil(PANEL);
        let blocks = if has_many_tiles {
            tiles.div_ceil(BLOCK_TILES).next_multiple_of(threads)
        } else {
            // Use enough blocks that each thread has at least one panel of one block.
            tiles.div_ceil(BLOCK_TILES).max(threads.div_ceil(panels)).min(tiles)
        };
        let block_tiles = tiles.div_ceil(blocks);
        let panels_per_thread = (panels * blocks).div_ceil(threads);
        let occupies_all_threads = |group: &usize| blocks * panels.div_ceil(*group) >= threads;
        let group_panels =
            if has_many_tiles { GROUP_PANELS } else { panels_per_thread.clamp(1, GROUP_PANELS) };
        let group_panels = if has_many_tiles {
            group_panels
        } else {
            Some(group_panels).filter(occupies_all_threads).unwrap_or(1)
        };
        let distribution =
            if has_many_tiles { Distribution::WholeBlocks(1) } else { Distribution::SharedBlocks };
        let schedule = Self {
            isa,
            scheme: PhantomData,
            operands,
            blocks,
            block_tiles,
            panels,
            group_panels,
            distribution,
        };
        let can_transform_twice = schedule.v_len() <= MAX_BLOCK_LINES * PANEL && panels >= MIN_PANELS;
        let distribution = if threads == 2 && blocks == 1 && can_transform_twice {
            Distribution::WholeBlocks(2)
        } else {
            distribution
        };
        Self { distribution, ..schedule }
    }

    pub(super) fn run(&self) {
        match self.distribution {
            Distribution::WholeBlocks(parts) => self.run_whole_blocks(parts),
            Distribution::SharedBlocks => self.run_shared_blocks(),
        }
    }

    /// Runs tasks that transform everything that they multiply, so that the transformed tiles stay in the caches of one
    /// core. Two threads that share a block finish sooner in this way, because exchanging transformed tiles between
    /// cores takes as long as transforming them twice.
    fn run_whole_blocks(&self, parts: usize) {
        for_each(self.blocks * parts, &|task| {
            let (block, part) = (task / parts, task % parts);
            let mut scratch = Scratch::new([self.v_len()]);
            let v = self.v_in(&mut scratch);
            self.transform(block, self.tiles(block), 0..self.operands.shape.in_channels, v);
            self.multiply(block, part_of(0..self.panels, part, parts), v);
        });
    }

    /// Runs two loops of tasks. In the first loop, each task transforms up to [`PANEL`] input channels of a block. If
    /// that gives too few tasks, the tiles of a block are divided, too. In the second loop, each task computes one
    /// group of panels of output channels.
    fn run_shared_blocks(&self) {
        let channels = self.operands.shape.in_channels;
        let channel_parts = channels.div_ceil(PANEL);
        let tile_parts = self.tile_parts(rayon::current_num_threads());
        let groups = self.panels.div_ceil(self.group_panels);
        let mut scratch = Scratch::new([self.v_len() * self.blocks]);
        let v = self.v_in(&mut scratch);
        for_each(self.blocks * tile_parts * channel_parts, &|task| {
            let first = task / (self.blocks * tile_parts) * PANEL;
            let block = task / tile_parts % self.blocks;
            let tiles = part_of(self.tiles(block), task % tile_parts, tile_parts);
            self.transform(block, tiles, first..channels.min(first + PANEL), self.block_of(v, block));
        });
        // Neighboring tasks use the same weights.
        for_each(self.blocks * groups, &|task| {
            let (block, first) = (task % self.blocks, task / self.blocks * self.group_panels);
            let panels = first..self.panels.min(first + self.group_panels);
            self.multiply(block, panels, self.block_of(v, block));
        });
    }

    /// Returns the number of parts into which the input transform divides the tiles of each block.
    ///
    /// Returns 1 if every thread already has a task without this division. Otherwise, prefers numbers that give every
    /// thread a task, and among these, returns the one with the lowest estimated time. A part takes at least as long as
    /// the overhead of a task, even if threads then remain idle.
    fn tile_parts(&self, threads: usize) -> usize {
        let channels = self.operands.shape.in_channels;
        let tasks = self.blocks * channels.div_ceil(PANEL);
        if tasks >= threads {
            return 1;
        }
        let tile_vectors = channels.min(PANEL).div_ceil(self.isa.lanes()) * IN * IN;
        let max_parts = (self.block_tiles * tile_vectors / TASK_VECTORS).clamp(1, self.block_tiles);
        let time = |parts: usize| {
            let part_vectors = self.block_tiles.div_ceil(parts) * tile_vectors;
            (tasks * parts).div_ceil(threads) * (part_vectors + TASK_VECTORS)
        };
        (1..=max_parts).min_by_key(|parts| (tasks * parts < threads, time(*parts))).unwrap_or(1)
    }

    /// Returns the tiles of a block.
    fn tiles(&self, block: usize) -> Range<usize> {
        let bound = |block: usize| (block * self.block_tiles).min(self.operands.grid.count());
        bound(block)..bound(block + 1)
    }

    /// Returns the number of cache lines of one position of `v`: an odd number, which avoids cache-set conflicts
    /// between positions.
    fn v_stride(&self) -> usize {
        (self.operands.shape.in_channels.div_ceil(PANEL) * self.block_tiles) | 1
    }

    /// Returns the number of floats of a block's transformed tiles.
    fn v_len(&self) -> usize {
        self.v_stride() * PANEL * IN * IN
    }

    /// Returns the matrices `v` in scratch memory, to which the input transform writes.
    fn v_in(&self, scratch: &mut Scratch<1>) -> Positions {
        let [v] = scratch.slices();
        Positions { data: v.as_mut_ptr(), stride: self.v_stride() * PANEL }
    }

    /// Returns the part of `v` that belongs to a block.
    fn block_of(&self, v: Positions, block: usize) -> Positions {
        Positions { data: v.data.wrapping_add(block * self.v_len()), ..v }
    }

    /// Transforms some channels of some tiles of a block.
    fn transform(&self, block: usize, tiles: Range<usize>, channels: Range<usize>, v: Positions) {
        let mut scratch = Scratch::new([STRIP_FLOATS]);
        let strip = scratch.slices()[0].as_mut_ptr();
        dispatch_to(self.isa, self.input_transform(block, tiles, channels, v, strip));
    }

    /// Computes some panels of output channels of a block.
    fn multiply(&self, block: usize, panels: Range<usize>, v: Positions) {
        let mut scratch = Scratch::new([self.m_stride() * IN * IN, STRIP_FLOATS]);
        let [m, strip] = scratch.slices().map(<[f32]>::as_mut_ptr);
        let m = Positions { data: m, stride: self.m_stride() };
        for group in self.groups(panels) {
            dispatch_to(self.isa, self.product(block, group.clone(), v, m));
            dispatch_to(self.isa, self.output_transform(block, group, m, strip));
        }
    }

    /// Splits panels into groups.
    fn groups(&self, panels: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<F, OUT, IN> {
        let size = self.group_panels;
        panels.clone().step_by(size).map(move |first| first..panels.end.min(first + size))
    }

    /// Returns the number of floats of one position's products: an odd number of cache lines, as for `v`.
    fn m_stride(&self) -> usize {
        ((self.block_tiles * self.group_panels) | 1) * PANEL
    }

    fn input_transform(
        &self,
        block: usize,
        tiles: Range<usize>,
        channels: Range<usize>,
        v: Positions,
        strip: *mut f32,
    ) -> InputTransform<'_, F, OUT, IN> {
        let Self { scheme, operands, .. } = *self;
        InputTransform { scheme, operands, block: self.tiles(block), tiles, channels, strip, v }
    }

    fn product(&self, block: usize, panels: Range<usize>, v: Positions, m: Positions) -> Product<'_> {
        let packed = self.operands.packed;
        Product { packed, positions: IN * IN, tiles: self.tiles(block).len(), panels, v, m }
    }

    fn output_transform(
        &self,
        block: usize,
        panels: Range<usize>,
        m: Positions,
        strip: *mut f32,
    ) -> OutputTransform<'_, F, OUT, IN> {
        let Self { scheme, operands, .. } = *self;
        OutputTransform { scheme, operands, tiles: self.tiles(block), panels, m, strip }
    }
}

/// Returns one of `parts` nearly equal parts of a range.
fn part_of(range: Range<usize>, part: usize, parts: usize) -> Range<usize> {
    let bound = |part: usize| range.start + range.len() * part / parts;
    bound(part)..bound(part + 1)
}

/// The second step, the matrix products, for some panels of output channels. The same code serves every scheme.
struct Product<'a> {
    packed: &'a PackedWinograd,
    positions: usize,
    tiles: usize,
    panels: Range<usize>,
    /// The tiles of a block in the order of [`RowGroups::offset`](crate::gemm::RowGroups::offset).
    v: Positions,
    /// `[panel][tile][PANEL]` at each position.
    m: Positions,
}

impl Kernel for Product<'_> {
    type Output = ();

    /// Multiplies position by position, so that all panels share one pass over `v`.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { packed, positions, tiles, panels, v, m } = self;
        let channels = packed.in_channels;
        let strides = [positions * channels * PANEL, tiles * PANEL];
        for position in 0..positions {
            for panel in panels.clone().step_by(panels_at_once::<S>()) {
                let first = (panel * positions + position) * channels * PANEL;
                let factors = PackedFactors {
                    a: v.data.wrapping_add(position * v.stride),
                    b: packed.floats[first..].as_ptr(),
                    depth: channels,
                    rows: tiles,
                    panels: panels_at_once::<S>().min(panels.end - panel),
                    panel_strides: strides,
                };
                let at = position * m.stride + (panel - panels.start) * strides[1];
                // SAFETY: the panels and the position exist, and the scratch memory has the requested sizes.
                unsafe { multiply_packed(simd, factors, m.data.add(at)) }
            }
        }
    }
}
