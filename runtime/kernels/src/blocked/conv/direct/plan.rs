//! How one convolution is cut into tasks, and where everything lies.

use super::cut::{Cut, Sizes};
use super::micro::{LINE, Tap};
use super::tile::Tile;
use super::weights::PANEL_VECTORS;
use crate::blocked::conv::Windows;
use crate::conv::{ConvGeometry, ConvShape};
use crate::simd::{Isa, Kernel, Simd, dispatch_to};
use std::ops::Range;

/// Floats of the second-level cache that a panel of a chunk's weights may take.
const PANEL_FLOATS: usize = 64 << 10;

/// The decisions for one shape on one instruction set. The sum of an output element is the same whatever
/// the number of threads: only the size of the tasks depends on it, never the order of a sum.
pub(super) struct Plan {
    /// A pointwise convolution is flattened to one row.
    pub shape: ConvShape,
    pub channels: Channels,
    /// `None` where the input is read in place.
    pub tile: Option<Tile>,
    /// The taps of each chunk of input channels.
    pub taps: Vec<Vec<Tap>>,
    /// Whether it is for an input of planes.
    pub planes: bool,
    patches: Vec<Patch>,
    /// The floats of a patch's results in a panel, where somebody else reads them.
    results: usize,
    /// Into how many runs of panels the output channels are cut.
    segments: usize,
}

/// How the channels are grouped.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    pub lanes: usize,
    /// Output channels in whole vectors.
    pub padded_outputs: usize,
    /// Input channels that are summed in one go: whole vectors.
    chunk: usize,
    inputs: usize,
}

/// A block of output pixels.
#[derive(Clone, Debug)]
pub(super) struct Patch {
    pub y: usize,
    pub x: usize,
    pub rows: usize,
    pub columns: usize,
    /// The rows behind the convolution that the patch is for.
    pub behind: Range<usize>,
}

/// What a task computes.
pub(super) struct Place<'a> {
    pub image: usize,
    pub patch: &'a Patch,
    pub panels: Range<usize>,
}

/// The sizes of an instruction set's register tile: pixels, and lanes.
struct Measure;

impl Kernel for Measure {
    type Output = [usize; 2];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [usize; 2] {
        [super::micro::most_pixels::<S>(), S::LANES]
    }
}

impl Plan {
    pub fn new(shape: &ConvShape, planes: bool, windows: Option<Windows>, isa: Isa, threads: usize) -> Self {
        let [pixels, lanes] = dispatch_to(isa, Measure);
        let in_place = is_pointwise(shape) && !planes;
        let shape = if in_place { flattened(shape) } else { *shape };
        let channels = Channels::new(&shape, lanes);
        let block = if planes { 1 } else { lanes };
        let sizes = Sizes { shape: &shape, channels: &channels, block, in_place, pixels, windows };
        let cut = Cut::best(&sizes, threads);
        let patches = match &windows {
            Some(windows) => bands(&shape, windows, cut.patches[0]),
            None => patches(&shape, cut.patches),
        };
        let largest = |size: fn(&Patch) -> usize| patches.iter().map(size).max().unwrap_or(0);
        let tile = (!in_place)
            .then(|| Tile::new(&shape, [largest(|patch| patch.rows), largest(|patch| patch.columns)]));
        let taps = (0..channels.chunks()).map(|chunk| {
            let inputs = channels.chunk(chunk);
            match &tile {
                Some(tile) => tile.taps(&shape, inputs, block),
                None => in_place_taps(&shape, inputs, lanes),
            }
        });
        let taps = taps.collect();
        let results =
            windows.map_or(0, |_| largest(|patch| patch.rows * patch.columns) * PANEL_VECTORS * lanes);
        Self { shape, channels, taps, tile, planes, patches, results, segments: cut.segments }
    }

    pub fn tasks(&self) -> usize {
        self.shape.batch * self.patches.len() * self.segments
    }

    /// The floats of the tile, and of the results that somebody else reads.
    pub fn scratch_len(&self) -> usize {
        self.tile_floats() + self.results
    }

    /// The floats, in whole lines, of the tile with a chunk's blocks.
    pub fn tile_floats(&self) -> usize {
        (self.tile_block() * self.channels.chunk(0).len().div_ceil(self.block())).next_multiple_of(LINE)
    }

    /// The channels of a block of the input.
    pub fn block(&self) -> usize {
        if self.planes { 1 } else { self.channels.lanes }
    }

    /// The floats of the tile with a block of channels.
    pub fn tile_block(&self) -> usize {
        self.tile.as_ref().map_or(0, Tile::pixels) * self.block()
    }

    /// Neighbouring tasks share their weights; where there is one image, their pixels, so that a thread reads what
    /// itself has written.
    pub fn place(&self, index: usize) -> Place<'_> {
        let patches = self.patches.len();
        let (segment, image, patch) = match self.shape.batch {
            1 => (index % self.segments, 0, index / self.segments),
            batch => (index / patches / batch, index / patches % batch, index % patches),
        };
        let patch = &self.patches[patch];
        let bound = |segment: usize| segment * self.channels.panels() / self.segments;
        Place { image, patch, panels: bound(segment)..bound(segment + 1) }
    }
}

impl Channels {
    fn new(shape: &ConvShape, lanes: usize) -> Self {
        let taps = shape.kernel[0] * shape.kernel[1];
        let blocks = shape.in_channels.div_ceil(lanes).max(1);
        let most = (PANEL_FLOATS / (taps * lanes * lanes * PANEL_VECTORS)).max(1);
        let chunk = blocks.div_ceil(blocks.div_ceil(most)) * lanes;
        let padded_outputs = shape.out_channels.next_multiple_of(lanes);
        Self { lanes, padded_outputs, chunk, inputs: shape.in_channels }
    }

    pub fn chunks(&self) -> usize {
        self.inputs.div_ceil(self.chunk).max(1)
    }

    pub fn chunk(&self, index: usize) -> Range<usize> {
        let first = index * self.chunk;
        first..self.inputs.min(first + self.chunk)
    }

    /// The input channels of the largest chunk, in whole vectors.
    pub fn chunk_len(&self) -> usize {
        self.chunk
    }

    pub fn panels(&self) -> usize {
        self.padded_outputs.div_ceil(PANEL_VECTORS * self.lanes)
    }

    /// The vectors of a panel.
    pub fn vectors(&self, panel: usize) -> usize {
        PANEL_VECTORS.min(self.padded_outputs / self.lanes - panel * PANEL_VECTORS)
    }

    pub fn weights_len(&self, shape: &ConvShape) -> usize {
        self.padded_outputs * shape.taps()
    }

    /// Where a panel of a chunk starts in the packed weights.
    pub fn weights_at(&self, shape: &ConvShape, chunk: usize, panel: usize) -> usize {
        let (taps, inputs) = (shape.kernel[0] * shape.kernel[1], self.chunk(chunk));
        let before = inputs.start * self.padded_outputs + panel * PANEL_VECTORS * self.lanes * inputs.len();
        before * taps
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

fn in_place_taps(shape: &ConvShape, channels: Range<usize>, lanes: usize) -> Vec<Tap> {
    let block = shape.input[0] * shape.input[1] * lanes;
    let blocks = channels.clone().step_by(lanes).enumerate();
    blocks
        .map(|(index, first)| Tap { offset: index * block, channels: lanes.min(channels.end - first) })
        .collect()
}

/// All patches of the output, `counts` on each axis.
fn patches(shape: &ConvShape, counts: [usize; 2]) -> Vec<Patch> {
    let pieces = |axis: usize| {
        let (size, count) = (shape.output[axis], counts[axis]);
        (0..count).map(move |i| i * size / count..(i + 1) * size / count)
    };
    let whole = |rows: Range<usize>, columns: Range<usize>| Patch {
        y: rows.start,
        x: columns.start,
        rows: rows.len(),
        columns: columns.len(),
        behind: 0..0,
    };
    pieces(0).flat_map(|rows| pieces(1).map(move |columns| whole(rows.clone(), columns))).collect()
}

/// What each of `count` runs of rows behind the convolution reads: whole rows, which a flattened shape has side
/// by side.
fn bands(shape: &ConvShape, windows: &Windows, count: usize) -> Vec<Patch> {
    let [height, width] = windows.size;
    let band = |i: usize| {
        let behind = i * windows.rows / count..(i + 1) * windows.rows / count;
        let Range { start, end } = windows.reads(behind.clone());
        match shape.output == [height, width] {
            true => Patch { y: start, x: 0, rows: end - start, columns: width, behind },
            false => Patch { y: 0, x: start * width, rows: 1, columns: (end - start) * width, behind },
        }
    };
    (0..count).map(band).collect()
}
