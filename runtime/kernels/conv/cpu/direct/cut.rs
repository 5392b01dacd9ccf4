//! How large the pieces are: input channels of a chunk, output channels and pixels of a task.

use crate::kernels::conv::ConvShape;

/// Bytes of the first-level cache that the input of one strip may take.
const STRIP_BYTES: usize = 24 << 10;
/// Floats of the second-level cache that a task's tile, and its sums, may take.
const TILE_FLOATS: usize = 32 << 10;
const SUMS_FLOATS: usize = 32 << 10;
/// Output channels of a task, at most; a split into fewer than `FEW_CHANNELS` copies the input too often.
const CHANNELS: usize = 128;
const FEW_CHANNELS: usize = 32;
/// Strips of a patch below which its halo costs too much.
const FEW_STRIPS: usize = 4;

/// The sizes of a task's pieces.
pub(super) struct Cut {
    /// Input channels summed at once. Independent of the number of threads, as is every sum.
    pub chunk: usize,
    /// Output channels of a task.
    pub channels: usize,
    /// Output rows and columns of a task.
    pub patch: [usize; 2],
}

impl Cut {
    pub fn new(shape: &ConvShape, pointwise: bool, strip: usize) -> Self {
        let chunk = even(shape.group_inputs().max(1), STRIP_BYTES / strip_bytes(shape, pointwise, strip), 1);
        let channels = even(shape.group_outputs(), CHANNELS, 1);
        let phases =
            shape.geometry.stride[0].min(shape.kernel[0]) * shape.geometry.stride[1].min(shape.kernel[1]);
        let tile = TILE_FLOATS / (chunk * phases);
        let sums = if chunk < shape.group_inputs() { SUMS_FLOATS / channels } else { TILE_FLOATS };
        let pixels = tile.min(sums).max(strip);
        let [rows, columns] = shape.output;
        let columns = if columns > pixels { even(columns, pixels, strip) } else { columns };
        Self { chunk, channels, patch: [even(rows, pixels / columns, 1), columns] }
    }

    /// Halves tasks until there are `wanted`: by pixels while the patches stay large, then by channels.
    pub fn refine(&mut self, shape: &ConvShape, strip: usize, wanted: usize) {
        while self.tasks(shape) < wanted {
            let [rows, columns] = self.patch;
            if rows * columns >= 2 * FEW_STRIPS * strip && rows > 1 {
                self.patch[0] = rows.div_ceil(2);
            } else if rows * columns >= 2 * FEW_STRIPS * strip {
                self.patch[1] = columns.div_ceil(2).next_multiple_of(strip);
            } else if self.channels >= 2 * FEW_CHANNELS {
                self.channels = self.channels.div_ceil(2);
            } else {
                return;
            }
        }
    }

    fn tasks(&self, shape: &ConvShape) -> usize {
        let [rows, columns] = self.patch;
        let patches = shape.output[0].div_ceil(rows) * shape.output[1].div_ceil(columns);
        shape.batch * shape.geometry.groups * shape.group_outputs().div_ceil(self.channels) * patches
    }
}

/// The cache lines that one input channel's part of a strip touches, in bytes.
fn strip_bytes(shape: &ConvShape, pointwise: bool, strip: usize) -> usize {
    if pointwise {
        return strip * 4;
    }
    let phases = shape.geometry.stride[1].min(shape.kernel[1]);
    let reach = (shape.kernel[1] - 1) * shape.geometry.dilation[1] / shape.geometry.stride[1];
    shape.kernel[0] * phases * ((strip + reach) * 4 + 64)
}

/// The size of pieces of at most `most` (or one), a multiple of `unit`, that cut `total` evenly.
fn even(total: usize, most: usize, unit: usize) -> usize {
    let pieces = total.div_ceil(most.max(1)).max(1);
    total.div_ceil(pieces).next_multiple_of(unit)
}
