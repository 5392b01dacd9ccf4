//! The vectors of pixels of a patch, with their offsets in the tile and in the output.

use crate::conv::cpu::partition::Patch;
use crate::conv::cpu::plan::{Plan, TileShape};

use super::micro::MAX_VECTORS;

/// A few vectors of pixels that are summed together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    /// The offset of each vector in the tile, for the first tap.
    pub input_offsets: [u32; MAX_VECTORS],
    /// The offset of each vector in the output, relative to the patch's first pixel.
    pub output_offsets: [u32; MAX_VECTORS],
    /// The number of lanes of each vector that are pixels.
    pub lanes: [u32; MAX_VECTORS],
    pub vectors: usize,
    /// Whether all lanes are pixels.
    pub whole: bool,
}

/// Returns the strips of a patch.
pub(super) fn of_patch(plan: &Plan, patch: &Patch, registers: TileShape) -> Vec<Strip> {
    let (width, lanes) = (plan.shape.output[1], registers.lanes);
    match &plan.tile {
        Some(tile) if tile.pitch != width => {
            // Each row starts with a new vector.
            let starts = (0..patch.rows).flat_map(|y| (0..patch.columns).step_by(lanes).map(move |x| (y, x)));
            let vectors =
                starts.map(|(y, x)| [y * tile.pitch + x, y * width + x, lanes.min(patch.columns - x)]);
            collect(registers, vectors)
        }
        _ => run(patch.rows * patch.columns, registers),
    }
}

/// Returns the strips of `pixels` pixels that are consecutive both in the tile and in the output. The last vector ends
/// with the last pixel. It may compute some pixels twice, but has no unused lanes.
fn run(pixels: usize, registers: TileShape) -> Vec<Strip> {
    let lanes = registers.lanes.min(pixels);
    let starts = (0..pixels).step_by(registers.lanes).map(|start| start.min(pixels - lanes));
    collect(registers, starts.map(|start| [start, start, lanes]))
}

/// Returns strips with nearly equal numbers of vectors. A strip of a single vector would be slow, because it would wait
/// for the latency of its sums.
fn collect(registers: TileShape, vectors: impl Iterator<Item = [usize; 3]>) -> Vec<Strip> {
    let vectors: Vec<_> = vectors.collect();
    let count = vectors.len().div_ceil(registers.pixels / registers.lanes);
    let bound = |strip: usize| strip * vectors.len() / count;
    (0..count).map(|strip| Strip::of(&vectors[bound(strip)..bound(strip + 1)], registers.lanes)).collect()
}

impl Strip {
    /// Creates a strip from each vector's offset in the tile, offset in the output, and number of lanes.
    fn of(vectors: &[[usize; 3]], lanes: usize) -> Self {
        let all = |i: usize| std::array::from_fn(|n| vectors.get(n).map_or(0, |vector| vector[i] as u32));
        Self {
            input_offsets: all(0),
            output_offsets: all(1),
            lanes: all(2),
            vectors: vectors.len(),
            whole: vectors.iter().all(|vector| vector[2] == lanes),
        }
    }

    /// Returns the end of the last vector in the tile, for the first tap.
    pub fn end(&self, lanes: usize) -> usize {
        self.input_offsets.iter().max().map_or(0, |start| *start as usize + lanes)
    }
}
