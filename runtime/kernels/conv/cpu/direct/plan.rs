//! How one convolution is cut into tasks, and where everything lies.

use super::cut::Cut;
use super::micro::Measure;
use super::strips::{Grid, Strips};
use super::tile::Layout;
use crate::kernels::conv::{ConvGeometry, ConvShape};
use crate::kernels::simd::{self, Isa};
use std::ops::Range;

/// Work, in multiplications, that is not worth another thread, and that one hand-out should have.
const SERIAL_BELOW: usize = 2 << 20;
const HAND_OUT: usize = 1 << 20;
/// What an output element costs beside its multiplications, in multiplications.
const OVERHEAD: usize = 16;
/// A tile beyond this many floats (a huge dilation) is no tile any more.
const LARGEST_TILE: usize = 1 << 26;

/// The decisions for one shape on one instruction set. The sum of an output element is the same whatever
/// the number of threads: only the size of the tasks depends on it, never the order of a sum.
pub(super) struct Plan {
    /// A pointwise convolution is flattened to one row.
    pub shape: ConvShape,
    /// Output channels in a register block.
    pub block: usize,
    /// Pixels in a register block.
    pub strip: usize,
    pub layout: Layout,
    /// Offsets of a chunk's taps in the tile.
    pub taps: Vec<u32>,
    pub tile_len: usize,
    pub sums_len: usize,
    /// Tasks that a thread takes at once; all of them where a second thread would not pay.
    pub grain: usize,
    cut: Cut,
    patches: Vec<Patch>,
    /// One for each size of patch.
    strips: Vec<Strips>,
}

/// A block of output pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    pub y: usize,
    pub x: usize,
    pub rows: usize,
    pub columns: usize,
    /// The index of its strips.
    strips: usize,
}

/// What a task computes.
pub(super) struct Place<'a> {
    pub image: usize,
    pub group: usize,
    pub patch: &'a Patch,
    pub strips: &'a Strips,
    /// Of the group's output channels.
    pub channels: Range<usize>,
}

impl Plan {
    /// `None` for a shape whose tiles would be unreasonably large.
    pub fn new(shape: &ConvShape, isa: Isa, threads: usize) -> Option<Self> {
        let registers = simd::dispatch_to(isa, Measure);
        let (strip, lanes) = (registers.strip(), registers.lanes);
        let pointwise = is_pointwise(shape);
        let shape = if pointwise { flattened(shape) } else { *shape };
        let block = registers.channels.min(shape.group_outputs().next_power_of_two());
        let mut cut = Cut::new(&shape, pointwise, strip);
        let work = shape.output_elements().saturating_mul(shape.taps() + OVERHEAD);
        let threads = if work < SERIAL_BELOW { 1 } else { threads };
        if threads > 1 {
            cut.refine(&shape, strip, (work / HAND_OUT).min(3 * threads));
        }
        cut.channels = cut.channels.next_multiple_of(block);
        let (layout, flat) = Layout::choose(&shape, pointwise, &cut, registers);
        let (patches, strips) = patches(&shape, cut.patch, |rows, columns| {
            let grid = |pitch| Grid { rows, columns, pitch, width: shape.output[1], block: registers };
            match &layout {
                Layout::Planes(planes) if flat => Strips::flat(grid(planes.pitch)),
                Layout::Planes(planes) => Strips::by_rows(grid(planes.pitch)),
                Layout::Panels { .. } => Strips::panels(columns, cut.chunk, registers),
            }
        });
        let taps = layout.taps(&shape, cut.chunk, LARGEST_TILE)?;
        let end = strips.iter().map(|strips| strips.end(lanes)).max().unwrap_or(0);
        // One strip more than vectors reach: a panel's last strip is filled whole.
        let tile_len =
            layout.len(cut.chunk).max(end + taps.iter().max().map_or(0, |tap| *tap as usize)) + strip;
        if tile_len > LARGEST_TILE {
            return None;
        }
        let blocks = match cut.chunk < shape.group_inputs() {
            true => cut.channels / block * strips.iter().map(|strips| strips.strips.len()).max().unwrap_or(0),
            false => 1,
        };
        let sums_len = blocks * block * strip;
        let mut plan =
            Self { shape, block, strip, layout, taps, tile_len, sums_len, grain: 1, cut, patches, strips };
        let pieces = (work / HAND_OUT).clamp(1, 8 * threads);
        plan.grain = plan.tasks().div_ceil(if threads > 1 { pieces } else { 1 }).max(1);
        Some(plan)
    }

    pub fn tasks(&self) -> usize {
        self.shape.batch * self.shape.geometry.groups * self.segments() * self.patches.len()
    }

    /// Neighbouring tasks share their weights.
    pub fn place(&self, index: usize) -> Place<'_> {
        let (index, patch) = (index / self.patches.len(), &self.patches[index % self.patches.len()]);
        let (index, segment) = (index / self.segments(), index % self.segments());
        let groups = self.shape.geometry.groups;
        let first = segment * self.cut.channels;
        Place {
            image: index / groups,
            group: index % groups,
            patch,
            strips: &self.strips[patch.strips],
            channels: first..self.shape.group_outputs().min(first + self.cut.channels),
        }
    }

    /// The runs of output channels that tasks share a group in.
    fn segments(&self) -> usize {
        self.shape.group_outputs().div_ceil(self.cut.channels)
    }

    pub fn chunks(&self) -> usize {
        self.shape.group_inputs().div_ceil(self.cut.chunk).max(1)
    }

    /// The group's input channels that are summed in one go.
    pub fn chunk(&self, index: usize) -> Range<usize> {
        let first = index * self.cut.chunk;
        first..self.shape.group_inputs().min(first + self.cut.chunk)
    }

    /// Input channels of a full chunk; the packed weights are in this order.
    pub fn chunk_len(&self) -> usize {
        self.cut.chunk
    }

    pub fn kernel_taps(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1]
    }

    /// The width of the register block that starts at a group's output channel `first`: the last one may
    /// be narrower, but is a power of two.
    pub fn width_of_block(&self, first: usize) -> usize {
        (self.shape.group_outputs() - first).next_power_of_two().min(self.block)
    }

    /// Where the packed weights of a chunk start.
    pub fn weights_at(&self, group: usize, chunk: usize) -> usize {
        let padded = self.padded_outputs();
        padded * (group * self.shape.taps() + self.chunk(chunk).start * self.kernel_taps())
    }

    pub fn weights_len(&self) -> usize {
        self.padded_outputs() * self.shape.taps() * self.shape.geometry.groups
    }

    fn padded_outputs(&self) -> usize {
        let outputs = self.shape.group_outputs();
        let full = outputs / self.block * self.block;
        if full < outputs { full + self.width_of_block(full) } else { full }
    }
}

impl Patch {
    /// The place of its first pixel in an output plane.
    pub fn origin(&self, shape: &ConvShape) -> usize {
        self.y * shape.output[1] + self.x
    }
}

fn is_pointwise(shape: &ConvShape) -> bool {
    let ConvGeometry { stride, padding, .. } = shape.geometry;
    shape.kernel == [1; 2] && stride == [1; 2] && padding == [[0; 2]; 2]
}

fn flattened(shape: &ConvShape) -> ConvShape {
    let pixels = [1, shape.input[0] * shape.input[1]];
    ConvShape { input: pixels, output: pixels, ..*shape }
}

/// All patches of the output, and the strips of each size that occurs.
fn patches(
    shape: &ConvShape,
    [rows, columns]: [usize; 2],
    strips: impl Fn(usize, usize) -> Strips,
) -> (Vec<Patch>, Vec<Strips>) {
    let mut sizes: Vec<[usize; 2]> = vec![];
    let mut patches = vec![];
    for y in (0..shape.output[0]).step_by(rows) {
        for x in (0..shape.output[1]).step_by(columns) {
            let size = [rows.min(shape.output[0] - y), columns.min(shape.output[1] - x)];
            let strips = sizes.iter().position(|known| *known == size).unwrap_or_else(|| {
                sizes.push(size);
                sizes.len() - 1
            });
            patches.push(Patch { y, x, rows: size[0], columns: size[1], strips });
        }
    }
    (patches, sizes.into_iter().map(|[rows, columns]| strips(rows, columns)).collect())
}
