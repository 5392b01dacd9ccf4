//! How large the pieces are: input channels of a chunk, output channels and pixels of a task.

use super::micro::RegisterBlock;
use super::plan::is_pointwise;
use super::tile::{phases, reach};
use crate::conv::ConvShape;

/// Bytes of the first-level cache that the input of one strip may take.
const STRIP_BYTES: usize = 32 << 10;
/// Floats of the second-level cache that a task's tile, and its sums, may take.
const TILE_FLOATS: usize = 48 << 10;
const SUMS_FLOATS: usize = 48 << 10;
/// Output channels of a task, at most.
const CHANNELS: usize = 128;
/// What a task costs beside its work, in cycles of a core that finishes two vectors of multiply-adds in
/// each; what it costs to copy a vector into a tile.
const HAND_OUT: usize = 2000;
const COPY: usize = 3;

/// The sizes of a task's pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Input channels summed at once. Independent of the number of threads, as is every sum.
    pub chunk: usize,
    /// Output channels of a task: whole register blocks.
    pub channels: usize,
    /// Into how many patches the output's rows and columns are cut.
    pub patches: [usize; 2],
}

impl Cut {
    /// The largest pieces for the caches. `in_place` where the input is not copied.
    pub fn new(shape: &ConvShape, in_place: bool, registers: RegisterBlock, block: usize) -> Self {
        let strip = registers.strip();
        let inputs = shape.group_inputs().max(1);
        let chunk = inputs.div_ceil(chunks(shape, registers));
        let outputs = shape.group_outputs();
        let channels = outputs.div_ceil(segments(outputs)).next_multiple_of(block);
        let planes = planes(shape, registers.lanes);
        let tile = if in_place { usize::MAX } else { TILE_FLOATS / (chunk * planes) };
        let sums = if chunk < inputs { SUMS_FLOATS / channels } else { usize::MAX };
        let pixels = tile.min(sums).max(strip);
        let [rows, columns] = shape.output;
        let patches = match columns > pixels {
            true => [rows, columns.div_ceil(pixels)],
            false => [rows.div_ceil(pixels / columns), 1],
        };
        Self { chunk, channels, patches }
    }

    /// Cuts on, into patches and runs of output channels, until `threads` threads are done soonest.
    pub fn split(
        self,
        shape: &ConvShape,
        in_place: bool,
        registers: RegisterBlock,
        block: usize,
        threads: usize,
    ) -> Self {
        let segments = shape.group_outputs().div_ceil(self.channels);
        let (patches, factors) = (self.finer_patches(shape, registers, threads), factors(threads));
        let cuts = patches.iter().flat_map(|patches| {
            factors.iter().map(|factor| {
                let channels = shape.group_outputs().div_ceil(segments * factor).next_multiple_of(block);
                Self { channels, patches: *patches, ..self }
            })
        });
        let time = |cut: &Self| {
            let patches = cut.patches[0] * cut.patches[1];
            let tasks = cut.tasks(shape);
            // All patches together take so long, and tasks are dealt out one by one.
            let cycles = cut.cycles(shape, in_place, registers, block).saturating_mul(tasks / patches);
            cycles.saturating_mul(tasks.div_ceil(threads)) / tasks
        };
        cuts.min_by_key(time).unwrap_or(self)
    }

    /// Counts of patches on each axis, from as few as the caches allow on.
    fn finer_patches(&self, shape: &ConvShape, registers: RegisterBlock, threads: usize) -> Vec<[usize; 2]> {
        let [rows, columns] = self.patches;
        let counts = |count: usize, most: usize| {
            let finer =
                factors(threads).into_iter().flat_map(move |factor| (0..4).map(move |i| count * factor + i));
            finer.filter(move |finer| *finer <= most)
        };
        let most_columns = shape.output[1].div_ceil(registers.strip());
        let mut patches = match shape.output[0] {
            1 => counts(columns, most_columns).map(|columns| [1, columns]).collect(),
            height => counts(rows, height).map(|rows| [rows, columns]).collect::<Vec<_>>(),
        };
        patches.push(self.patches);
        patches
    }

    pub fn tasks(&self, shape: &ConvShape) -> usize {
        let segments = shape.group_outputs().div_ceil(self.channels);
        shape.batch * shape.geometry.groups * segments * self.patches[0] * self.patches[1]
    }

    /// What one task for each of the patches of an image takes.
    fn cycles(&self, shape: &ConvShape, in_place: bool, registers: RegisterBlock, block: usize) -> usize {
        let channels = self.channels.min(shape.group_outputs()).next_multiple_of(block);
        let planes = planes(shape, registers.lanes);
        let [patch_rows, patch_columns] = self.patches;
        let columns = shape.output[1].div_ceil(patch_columns);
        let bound = |i: usize| i * shape.output[0] / patch_rows;
        let patches = (0..patch_rows).map(|i| {
            let rows = bound(i + 1) - bound(i);
            let vectors = (rows * columns).div_ceil(registers.lanes).max(2);
            let tile = planes * (rows + reach(shape, 0)) * columns.div_ceil(registers.lanes);
            let copies = if in_place { vectors } else { tile.saturating_mul(COPY) };
            let products = (vectors * channels).saturating_mul(shape.taps()) / 2;
            products.saturating_add(copies.saturating_mul(shape.group_inputs())).saturating_add(HAND_OUT)
        });
        patches.fold(0, usize::saturating_add).saturating_mul(patch_columns)
    }
}

/// Into how many chunks the input channels are cut: the pixels of a strip stay in the first-level cache.
pub(super) fn chunks(shape: &ConvShape, registers: RegisterBlock) -> usize {
    let strip_bytes = shape.kernel[0] * shape.kernel[1] * registers.strip() * 4;
    shape.group_inputs().max(1).div_ceil((STRIP_BYTES / strip_bytes).max(1))
}

/// Into how many runs, at least, the output channels of a group are cut.
fn segments(outputs: usize) -> usize {
    outputs.div_ceil(CHANNELS)
}

/// Floats that are copied for each input channel, where the output is one patch: once for each run of output
/// channels.
pub(super) fn copied(shape: &ConvShape, lanes: usize) -> usize {
    let [rows, columns] = shape.output;
    let floats = if is_pointwise(shape) {
        (rows * columns).next_multiple_of(lanes)
    } else {
        let width = if columns.is_multiple_of(lanes) { columns + reach(shape, 1) } else { columns };
        planes(shape, lanes) * (rows + reach(shape, 0)) * width.next_multiple_of(lanes)
    };
    floats * segments(shape.group_outputs())
}

/// By which numbers it is tried to multiply a count of pieces, to busy so many threads.
fn factors(threads: usize) -> Vec<usize> {
    let factors = (0..usize::BITS - 2).flat_map(|i| [2 << i, 3 << i]);
    std::iter::once(1).chain(factors.take_while(|factor| *factor <= 2 * threads)).collect()
}

/// The planes of a tile for each of its channels.
fn planes(shape: &ConvShape, lanes: usize) -> usize {
    let columns =
        if shape.output[1].is_multiple_of(lanes) { phases(shape, 1).len() } else { shape.kernel[1] };
    phases(shape, 0).len() * columns
}
