//! How one convolution is cut into tasks, and where everything lies.

use super::cut::Cut;
use super::micro::Measure;
use super::strips::{self, Strip};
use super::tile::{Layout, Tile};
use super::words::Words;
use crate::conv::{ConvGeometry, ConvShape};
use crate::parallel;
use crate::simd::{self, Isa};
use std::ops::Range;

/// Work, in multiplications, that one hand-out should have.
const HAND_OUT: usize = 1 << 20;
/// What an output element costs beside its multiplications, in multiplications.
const OVERHEAD: usize = 16;
/// A tile beyond this many floats (a huge dilation) is no tile any more.
const LARGEST_TILE: usize = 1 << 26;

/// The decisions for one shape on one instruction set. The sum of an output element is the same whatever
/// the number of threads: only the size of the tasks depends on it, never the order of a sum.
pub(super) struct Plan {
    /// Its channels are of words. A pointwise convolution is flattened to one row.
    pub shape: ConvShape,
    pub words: Words,
    /// Input channels of a group, in elements.
    pub group_inputs: usize,
    /// Output channels in a register block.
    pub block: usize,
    /// Pixels in a register block.
    pub strip: usize,
    pub layout: Layout,
    /// Offsets of a chunk's taps in the tile.
    pub taps: Vec<u32>,
    pub tile_len: usize,
    pub sums_len: usize,
    /// Words of the largest window of a channel that a task reads.
    pub rows_len: usize,
    /// Into how many hand-outs the tasks are best grouped.
    pub hand_outs: usize,
    cut: Cut,
    patches: Vec<Patch>,
    /// One list for each size of patch.
    strips: Vec<Vec<Strip>>,
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
    pub strips: &'a [Strip],
    /// Of the group's output channels.
    pub channels: Range<usize>,
}

impl Plan {
    /// `None` for a shape whose tiles would be unreasonably large.
    pub fn new(shape: &ConvShape, isa: Isa, threads: usize, words: Words, in_place: bool) -> Option<Self> {
        let registers = simd::dispatch_to(isa, Measure);
        let (strip, lanes) = (registers.strip(), registers.lanes);
        let group_inputs = shape.group_inputs();
        let shape = words.shape(&if is_pointwise(shape) { flattened(shape) } else { *shape });
        let block = width_of_block(shape.group_outputs(), registers.channels);
        let work = shape.output_elements().saturating_mul(shape.taps() + OVERHEAD);
        let threads = parallel::worthwhile(threads, work);
        let cut = Cut::new(&shape, in_place, registers, block);
        let cut = cut.split(&shape, in_place, registers, block, threads);
        let (patches, sizes) = patches(&shape, cut.patches, lanes);
        let largest = |axis: usize| sizes.iter().map(|size| size[axis]).max().unwrap_or(0);
        let (layout, taps) = match in_place {
            true => (Layout::InPlace, in_place_taps(&shape, cut.chunk)?),
            false => {
                let tile = Tile::new(&shape, [largest(0), largest(1)], cut.chunk, lanes, LARGEST_TILE)?;
                let taps = tile.taps(&shape, cut.chunk);
                (Layout::Tile(tile), taps)
            }
        };
        let strips: Vec<_> = sizes
            .iter()
            .map(|&[rows, columns]| match &layout {
                Layout::Tile(tile) if tile.pitch != shape.output[1] => {
                    strips::rows([rows, columns], tile.pitch, shape.output[1], registers)
                }
                _ => strips::run(rows * columns, registers),
            })
            .collect();
        let end = strips.iter().flatten().map(|strip| strip.end(lanes)).max().unwrap_or(0);
        let tile_len = match &layout {
            Layout::InPlace => 0,
            Layout::Tile(tile) => {
                tile.len(cut.chunk).max(end + taps.iter().max().map_or(0, |tap| *tap as usize)) + lanes
            }
        };
        let rows_len = match &layout {
            Layout::Tile(tile) if words != Words::Singles => {
                patches.iter().map(|patch| tile.window(&shape, patch, lanes).words(lanes)).max().unwrap_or(0)
            }
            _ => 0,
        };
        let blocks = match cut.chunk < shape.group_inputs() {
            true => cut.channels / block * strips.iter().map(Vec::len).max().unwrap_or(0),
            false => 1,
        };
        let pieces = (work / HAND_OUT).clamp(1, 4 * threads).next_multiple_of(threads);
        let hand_outs = pieces.min(cut.tasks(&shape));
        let sums_len = blocks * block * strip;
        Some(Self {
            shape,
            words,
            group_inputs,
            block,
            strip,
            layout,
            taps,
            tile_len,
            sums_len,
            rows_len,
            hand_outs,
            cut,
            patches,
            strips,
        })
    }

    /// The tasks of one of the hand-outs.
    pub fn tasks(&self, hand_out: usize) -> Range<usize> {
        let bound = |hand_out: usize| hand_out * self.cut.tasks(&self.shape) / self.hand_outs;
        bound(hand_out)..bound(hand_out + 1)
    }

    /// Neighbouring tasks share their weights.
    pub fn place(&self, index: usize) -> Place<'_> {
        let (index, patch) = (index / self.patches.len(), &self.patches[index % self.patches.len()]);
        let segments = self.shape.group_outputs().div_ceil(self.cut.channels);
        let (index, segment) = (index / segments, index % segments);
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

    /// The width of the register block that starts at a group's output channel `first`.
    pub fn width_of_block(&self, first: usize) -> usize {
        width_of_block(self.shape.group_outputs() - first, self.block)
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
        padded(self.shape.group_outputs(), self.block)
    }
}

impl Patch {
    /// The place of its first pixel in an output plane.
    pub fn origin(&self, shape: &ConvShape) -> usize {
        self.y * shape.output[1] + self.x
    }
}

/// The output channels of a group with those that its last register block leaves over.
pub(super) fn padded(outputs: usize, block: usize) -> usize {
    let full = outputs / block * block;
    if full < outputs { full + width_of_block(outputs - full, block) } else { full }
}

/// The width of the register block for `channels` output channels, where the widest is of `most`. There are
/// few widths, as each is a loop of its own.
pub(super) fn width_of_block(channels: usize, most: usize) -> usize {
    match channels {
        0 | 1 => 1,
        2..=4 => most.min(4),
        _ => most,
    }
}

pub(super) fn is_pointwise(shape: &ConvShape) -> bool {
    let ConvGeometry { stride, padding, .. } = shape.geometry;
    shape.kernel == [1; 2] && stride == [1; 2] && padding == [[0; 2]; 2]
}

fn flattened(shape: &ConvShape) -> ConvShape {
    let pixels = [1, shape.input[0] * shape.input[1]];
    ConvShape { input: pixels, output: pixels, ..*shape }
}

/// Whether it is a pointwise convolution whose planes have a vector's pixels each, so that it can be computed from
/// the input where it lies.
pub(in crate::conv::cpu) fn can_be_in_place(shape: &ConvShape, isa: Isa) -> bool {
    is_pointwise(shape) && shape.output[0] * shape.output[1] >= simd::dispatch_to(isa, Measure).lanes
}

fn in_place_taps(shape: &ConvShape, channels: usize) -> Option<Vec<u32>> {
    let plane = shape.input[0] * shape.input[1];
    (0..channels).map(|channel| u32::try_from(channel.checked_mul(plane)?).ok()).collect()
}

/// All patches of the output, `counts` on each axis, and the sizes that occur. Columns are cut at multiples
/// of `lanes`, and no patch that is cut has fewer.
fn patches(shape: &ConvShape, counts: [usize; 2], lanes: usize) -> (Vec<Patch>, Vec<[usize; 2]>) {
    let pieces = |axis: usize, unit: usize| {
        let (size, count) = (shape.output[axis], counts[axis]);
        let bound = move |i: usize| if i == count { size } else { i * size / count / unit * unit };
        (0..count).map(move |i| bound(i)..bound(i + 1)).filter(|piece| !piece.is_empty())
    };
    let (mut sizes, mut patches): (Vec<[usize; 2]>, _) = (vec![], vec![]);
    for rows in pieces(0, 1) {
        for columns in pieces(1, lanes) {
            let size = [rows.len(), columns.len()];
            let strips = sizes.iter().position(|known| *known == size).unwrap_or(sizes.len());
            if strips == sizes.len() {
                sizes.push(size);
            }
            patches.push(Patch { y: rows.start, x: columns.start, rows: size[0], columns: size[1], strips });
        }
    }
    (patches, sizes)
}
