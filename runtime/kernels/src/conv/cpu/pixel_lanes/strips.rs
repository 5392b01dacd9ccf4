//! The pixels of a patch as vectors: the place of each in the tile and in the output.

use super::micro::MOST_VECTORS;
use crate::conv::cpu::partition::Patch;
use crate::conv::cpu::plan::{Plan, TileShape};

/// A few vectors of pixels that are summed together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    /// Where the vectors of the first tap start in the tile.
    pub inputs: [u32; MOST_VECTORS],
    /// Where their results go, from the patch's first pixel on.
    pub outputs: [u32; MOST_VECTORS],
    /// How many of their lanes are pixels.
    pub lanes: [u32; MOST_VECTORS],
    pub vectors: usize,
    /// Whether all lanes are pixels.
    pub whole: bool,
}

/// Returns the strips of a patch.
pub(super) fn of_patch(plan: &Plan, patch: &Patch, registers: TileShape) -> Vec<Strip> {
    let (width, lanes) = (plan.shape.output[1], registers.lanes);
    match &plan.tile {
        Some(tile) if tile.pitch != width => {
            // Each row starts a vector.
            let starts = (0..patch.rows).flat_map(|y| (0..patch.columns).step_by(lanes).map(move |x| (y, x)));
            let vectors =
                starts.map(|(y, x)| [y * tile.pitch + x, y * width + x, lanes.min(patch.columns - x)]);
            collect(registers, vectors)
        }
        _ => run(patch.rows * patch.columns, registers),
    }
}

/// Returns the strips of `pixels` neighbors, in the tile as in the output. The last vector ends with the last pixel:
/// it sums some pixels again, but has no lanes left over.
fn run(pixels: usize, registers: TileShape) -> Vec<Strip> {
    let lanes = registers.lanes.min(pixels);
    let starts = (0..pixels).step_by(registers.lanes).map(|start| start.min(pixels - lanes));
    collect(registers, starts.map(|start| [start, start, lanes]))
}

/// Returns strips of nearly equally many vectors: a vector alone would wait for its own sums.
fn collect(registers: TileShape, vectors: impl Iterator<Item = [usize; 3]>) -> Vec<Strip> {
    let vectors: Vec<_> = vectors.collect();
    let count = vectors.len().div_ceil(registers.pixels / registers.lanes);
    let bound = |strip: usize| strip * vectors.len() / count;
    (0..count).map(|strip| Strip::of(&vectors[bound(strip)..bound(strip + 1)], registers.lanes)).collect()
}

impl Strip {
    /// Takes each vector's place in the tile, its place in the output and its lanes.
    fn of(vectors: &[[usize; 3]], lanes: usize) -> Self {
        let all = |i: usize| std::array::from_fn(|n| vectors.get(n).map_or(0, |vector| vector[i] as u32));
        Self {
            inputs: all(0),
            outputs: all(1),
            lanes: all(2),
            vectors: vectors.len(),
            whole: vectors.iter().all(|vector| vector[2] == lanes),
        }
    }

    /// The end of the last vector in the tile, without its taps.
    pub fn end(&self, lanes: usize) -> usize {
        self.inputs.iter().max().map_or(0, |start| *start as usize + lanes)
    }
}
