//! The tiles of a batch of outputs, in the order of images, rows and columns.

use std::ops::Range;

/// The tiles of a batch of outputs, numbered image by image and row by row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// `[height, width]` of the output.
    pub output: [usize; 2],
    /// The numbers of rows and columns of tiles of an image.
    tiles: [usize; 2],
    batch: usize,
}

/// A run of tiles: neighboring tiles in one row of tiles of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    /// The index of the first tile.
    pub first: usize,
    pub image: usize,
    /// The row of tiles.
    pub row: usize,
    /// The column of the first tile, counted in tiles.
    pub col: usize,
    /// The number of tiles.
    pub count: usize,
}

impl Grid {
    /// Divides outputs of the size `output` into tiles of `tile_outputs × tile_outputs` pixels.
    pub(super) fn new(batch: usize, output: [usize; 2], tile_outputs: usize) -> Self {
        Self { output, tiles: output.map(|n| n.div_ceil(tile_outputs)), batch }
    }

    /// Returns the number of tiles.
    pub(super) fn count(&self) -> usize {
        self.batch * self.tiles[0] * self.tiles[1]
    }

    /// Splits a range of tiles into runs of at most `longest` tiles.
    #[inline(always)]
    pub(super) fn runs(self, tiles: Range<usize>, longest: usize) -> impl Iterator<Item = Run> {
        let mut next = tiles.start;
        std::iter::from_fn(move || {
            if next >= tiles.end {
                return None;
            }
            let (first, [rows, cols]) = (next, self.tiles);
            let col = first % cols;
            let count = longest.min(cols - col).min(tiles.end - first);
            next += count;
            Some(Run { first, image: first / (rows * cols), row: first / cols % rows, col, count })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stay_in_a_row() {
        let grid = Grid::new(2, [5, 9], 4);
        assert_eq!(grid.count(), 12);
        let runs: Vec<_> = grid.runs(1..11, 2).map(|r| (r.first, r.image, r.row, r.col, r.count)).collect();
        let expected = [
            (1, 0, 0, 1, 2),
            (3, 0, 1, 0, 2),
            (5, 0, 1, 2, 1),
            (6, 1, 0, 0, 2),
            (8, 1, 0, 2, 1),
            (9, 1, 1, 0, 2),
        ];
        assert_eq!(runs, expected);
    }
}
