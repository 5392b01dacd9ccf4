//! The pixels of a patch as vectors: where each lies in the tile, and where its results go.

use super::micro::{MOST_VECTORS, RegisterBlock};

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
    /// Whether all lanes are.
    pub whole: bool,
}

/// One run of `pixels` neighbours, in the tile as in the output. The last vector ends with the last of them:
/// it sums some pixels again, but has no lanes left over.
pub(super) fn run(pixels: usize, block: RegisterBlock) -> Vec<Strip> {
    let lanes = block.lanes.min(pixels);
    let starts = (0..pixels).step_by(block.lanes).map(|start| start.min(pixels - lanes));
    collect(block, starts.map(|start| [start, start, lanes]))
}

/// `rows` rows of `columns` pixels, each of which starts a vector, `pitch` from row to row in the tile and
/// `width` in the output.
pub(super) fn rows(
    [rows, columns]: [usize; 2],
    pitch: usize,
    width: usize,
    block: RegisterBlock,
) -> Vec<Strip> {
    let starts = (0..rows).flat_map(|y| (0..columns).step_by(block.lanes).map(move |x| (y, x)));
    let vectors = starts.map(|(y, x)| [y * pitch + x, y * width + x, block.lanes.min(columns - x)]);
    collect(block, vectors)
}

/// Strips of nearly equally many vectors: one alone would wait for its own sums.
fn collect(block: RegisterBlock, vectors: impl Iterator<Item = [usize; 3]>) -> Vec<Strip> {
    let vectors: Vec<_> = vectors.collect();
    let count = vectors.len().div_ceil(block.vectors);
    let bound = |strip: usize| strip * vectors.len() / count;
    (0..count).map(|strip| Strip::of(&vectors[bound(strip)..bound(strip + 1)], block.lanes)).collect()
}

impl Strip {
    /// From each vector's place in the tile, its place in the output and its lanes.
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
