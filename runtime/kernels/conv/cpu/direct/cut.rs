//! How large the pieces are: input channels of a chunk, output channels and pixels of a task.

use super::micro::RegisterBlock;
use super::tile::{phases, reach};
use crate::kernels::conv::ConvShape;

/// Bytes of the first-level cache that the input of one strip may take.
const STRIP_BYTES: usize = 32 << 10;
/// Floats of the second-level cache that a task's tile, and its sums, may take.
const TILE_FLOATS: usize = 48 << 10;
const SUMS_FLOATS: usize = 32 << 10;
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
        let strip_bytes = shape.kernel[0] * shape.kernel[1] * strip * 4;
        let inputs = shape.group_inputs().max(1);
        let chunk = inputs.div_ceil(inputs.div_ceil((STRIP_BYTES / strip_bytes).max(1)));
        let outputs = shape.group_outputs();
        let channels = outputs.div_ceil(outputs.div_ceil(CHANNELS)).next_multiple_of(block);
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
        let factors = || (0..).flat_map(|i| [2 << i, 3 << i]).take_while(|n| *n <= 2 * threads);
        let factors = || std::iter::once(1).chain(factors());
        let segments = shape.group_outputs().div_ceil(self.channels);
        let candidates = factors().flat_map(|pixels| factors().map(move |channels| [pixels, channels]));
        let cuts = candidates.map(|[pixels, channels]| {
            let [rows, columns] = self.patches;
            let most_columns = shape.output[1].div_ceil(registers.strip());
            let patches = match shape.output[0] {
                1 => [1, (columns * pixels).min(most_columns.max(columns))],
                height => [(rows * pixels).min(height), columns],
            };
            let channels = shape.group_outputs().div_ceil(segments * channels).next_multiple_of(block);
            Self { channels, patches, ..self }
        });
        let time = |cut: &Self| {
            let tasks = cut.tasks(shape).div_ceil(threads);
            tasks.saturating_mul(cut.cycles(shape, in_place, registers, block))
        };
        cuts.min_by_key(time).unwrap_or(self)
    }

    pub fn tasks(&self, shape: &ConvShape) -> usize {
        let segments = shape.group_outputs().div_ceil(self.channels);
        shape.batch * shape.geometry.groups * segments * self.patches[0] * self.patches[1]
    }

    /// What a task takes.
    fn cycles(&self, shape: &ConvShape, in_place: bool, registers: RegisterBlock, block: usize) -> usize {
        let rows = shape.output[0].div_ceil(self.patches[0]);
        let columns = shape.output[1].div_ceil(self.patches[1]);
        let vectors = (rows * columns).div_ceil(registers.lanes).max(2);
        let channels = self.channels.min(shape.group_outputs()).next_multiple_of(block);
        let products = (vectors * channels).saturating_mul(shape.taps()) / 2;
        let halo = reach(shape, 0);
        let planes = planes(shape, registers.lanes);
        let tile = planes * (rows + halo) * columns.div_ceil(registers.lanes);
        let copies = if in_place { vectors } else { tile.saturating_mul(COPY) };
        products.saturating_add(copies.saturating_mul(shape.group_inputs())).saturating_add(HAND_OUT)
    }
}

/// The planes of a tile for each of its channels.
fn planes(shape: &ConvShape, lanes: usize) -> usize {
    let columns =
        if shape.output[1].is_multiple_of(lanes) { phases(shape, 1).len() } else { shape.kernel[1] };
    phases(shape, 0).len() * columns
}
