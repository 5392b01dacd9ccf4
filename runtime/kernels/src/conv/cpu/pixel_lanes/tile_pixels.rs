//! The pixels of the register tiles of a patch: their offsets in the input tile and in the output.

use crate::conv::cpu::partition::Patch;
use crate::conv::cpu::plan::{Plan, RegisterTileShape};

use super::micro::MAX_VECTORS;

/// The pixels of one register tile: a few vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct TilePixels {
    /// The offset of each vector in the input tile, for the first tap. If the input is read in place, the offset is
    /// relative to the patch's first pixel in the input.
    pub input_offsets: [u32; MAX_VECTORS],
    /// The offset of each vector in the output, relative to the patch's first pixel.
    pub output_offsets: [u32; MAX_VECTORS],
    /// The number of lanes of each vector that are pixels.
    pub lanes: [u32; MAX_VECTORS],
    /// The number of vectors.
    pub vectors: usize,
    /// Whether all lanes are pixels.
    pub is_full: bool,
}

/// Returns the pixels of the register tiles of a patch.
pub(super) fn of_patch(plan: &Plan, patch: &Patch, register_tile: RegisterTileShape) -> Vec<TilePixels> {
    let (width, lanes) = (plan.shape.output[1], register_tile.lanes);
    match &plan.input_tile {
        Some(tile) if tile.pitch != width => {
            // Each row starts with a new vector.
            let starts = (0..patch.rows).flat_map(|y| (0..patch.columns).step_by(lanes).map(move |x| (y, x)));
            let vectors =
                starts.map(|(y, x)| [y * tile.pitch + x, y * width + x, lanes.min(patch.columns - x)]);
            divide_vectors(register_tile, vectors)
        }
        _ => divide_consecutive(patch.rows * patch.columns, register_tile),
    }
}

/// Divides `pixels` pixels into register tiles. The pixels must be consecutive in the output, and also in the input
/// tile or, if there is none, in the input. The last vector ends with the last pixel, so it may overlap the vector
/// before it. A vector has unused lanes only if there are fewer pixels than lanes.
fn divide_consecutive(pixels: usize, register_tile: RegisterTileShape) -> Vec<TilePixels> {
    let lanes = register_tile.lanes.min(pixels);
    let starts = (0..pixels).step_by(register_tile.lanes).map(|start| start.min(pixels - lanes));
    divide_vectors(register_tile, starts.map(|start| [start, start, lanes]))
}

/// Divides vectors, each `[offset in the input tile, offset in the output, number of lanes]`, into register tiles with
/// nearly equal numbers of vectors. A tile of a single vector would be slow, because it has too few independent sums to
/// hide the latency of a multiply-add.
fn divide_vectors(
    register_tile: RegisterTileShape,
    vectors: impl Iterator<Item = [usize; 3]>,
) -> Vec<TilePixels> {
    let vectors: Vec<_> = vectors.collect();
    let count = vectors.len().div_ceil(register_tile.pixels / register_tile.lanes);
    let bound = |tile: usize| tile * vectors.len() / count;
    (0..count)
        .map(|tile| TilePixels::of(&vectors[bound(tile)..bound(tile + 1)], register_tile.lanes))
        .collect()
}

impl TilePixels {
    /// Creates the pixels of a tile from each vector's offset in the input tile, offset in the output, and number of
    /// lanes.
    fn of(vectors: &[[usize; 3]], lanes: usize) -> Self {
        let field = |i: usize| std::array::from_fn(|n| vectors.get(n).map_or(0, |vector| vector[i] as u32));
        Self {
            input_offsets: field(0),
            output_offsets: field(1),
            lanes: field(2),
            vectors: vectors.len(),
            is_full: vectors.iter().all(|vector| vector[2] == lanes),
        }
    }

    /// Returns the offset in the input tile at which the last vector ends when it is loaded for the first tap.
    pub fn end(&self, lanes: usize) -> usize {
        self.input_offsets.iter().max().map_or(0, |start| *start as usize + lanes)
    }
}
