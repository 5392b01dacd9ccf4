//! The pixels of a patch as vectors: where each lies in the tile, and where its results go.

use super::micro::{MOST_VECTORS, RegisterBlock};
use std::ops::Range;

/// All strips of a patch.
#[derive(Debug, Default)]
pub(super) struct Strips {
    pub strips: Vec<Strip>,
    pub runs: Vec<Run>,
}

/// A few vectors of pixels that are summed together.
#[derive(Debug)]
pub(super) struct Strip {
    /// Where the vectors of the first tap start in the tile.
    pub inputs: [u32; MOST_VECTORS],
    pub vectors: usize,
    /// Its runs in [`Strips::runs`].
    pub runs: Range<usize>,
}

/// Pixels of a strip that are neighbours in the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The first one's lane in the strip.
    pub from: u32,
    /// Its place in the output, from the patch's first pixel on.
    pub to: u32,
    pub len: u32,
}

/// The rows and columns of a patch, and the distances between rows.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub rows: usize,
    pub columns: usize,
    /// In the tile.
    pub pitch: usize,
    /// In the output.
    pub width: usize,
    pub block: RegisterBlock,
}

impl Strips {
    /// Every row starts a vector.
    pub fn by_rows(grid: Grid) -> Self {
        let Grid { rows, columns, pitch, width, block } = grid;
        let lanes = block.lanes;
        let starts = (0..rows).flat_map(|y| (0..columns).step_by(lanes).map(move |x| (y, x)));
        Self::collect(
            block,
            starts.map(|(y, x)| {
                let run = Run { from: 0, to: (y * width + x) as u32, len: lanes.min(columns - x) as u32 };
                (y * pitch + x, vec![run])
            }),
        )
    }

    /// Vectors run on over the ends of rows; what they hold of the padding there is dropped.
    pub fn flat(grid: Grid) -> Self {
        let Grid { rows, columns, pitch, width, block } = grid;
        let lanes = block.lanes;
        let end = rows.saturating_sub(1) * pitch + columns;
        Self::collect(
            block,
            (0..end).step_by(lanes).map(|start| {
                let rows = start / pitch..((start + lanes).div_ceil(pitch)).min(rows);
                let run = |y: usize| {
                    let (from, to) = (start.max(y * pitch), (start + lanes).min(y * pitch + columns));
                    let to_output = y * width + from - y * pitch;
                    (from < to).then(|| Run {
                        from: (from - start) as u32,
                        to: to_output as u32,
                        len: (to - from) as u32,
                    })
                };
                (start, rows.filter_map(run).collect())
            }),
        )
    }

    /// A run of pixels in panels, each a strip of `channels` channels.
    pub fn panels(pixels: usize, channels: usize, block: RegisterBlock) -> Self {
        let RegisterBlock { vectors, lanes, .. } = block;
        Self::collect(
            block,
            (0..pixels).step_by(lanes).enumerate().map(|(i, start)| {
                let run = Run { from: 0, to: start as u32, len: lanes.min(pixels - start) as u32 };
                ((i / vectors * channels * vectors + i % vectors) * lanes, vec![run])
            }),
        )
    }

    /// The vectors of a patch for the count alone: by rows, and flat.
    pub fn counts(grid: Grid) -> (usize, usize) {
        let Grid { rows, columns, pitch, block: RegisterBlock { lanes, .. }, .. } = grid;
        (rows * columns.div_ceil(lanes), (rows.saturating_sub(1) * pitch + columns).div_ceil(lanes))
    }

    /// The end of the last vector in the tile, without its taps.
    pub fn end(&self, lanes: usize) -> usize {
        let starts = self.strips.iter().flat_map(|strip| &strip.inputs[..strip.vectors]);
        starts.max().map_or(0, |start| *start as usize + lanes)
    }

    /// The run that is all of a strip, beginning at its first lane and ending in its last vector.
    pub fn one_run(&self, strip: &Strip, lanes: usize) -> Option<Run> {
        match self.runs[strip.runs.clone()] {
            [run] if run.from == 0 && run.len as usize > (strip.vectors - 1) * lanes => Some(run),
            _ => None,
        }
    }

    fn collect(block: RegisterBlock, vectors: impl Iterator<Item = (usize, Vec<Run>)>) -> Self {
        let vectors: Vec<_> = vectors.collect();
        let mut result = Self::default();
        let mut rest = &vectors[..];
        while !rest.is_empty() {
            // A strip of one vector waits for its own sums; two of two are faster than three and one.
            let vectors = if rest.len() == 4 { 2 } else { rest.len().min(block.vectors) };
            let (strip, after) = rest.split_at(vectors);
            result.push(strip, block.lanes);
            rest = after;
        }
        result
    }

    fn push(&mut self, vectors: &[(usize, Vec<Run>)], lanes: usize) {
        let first = self.runs.len();
        let mut inputs = [0; MOST_VECTORS];
        for (n, (input, runs)) in vectors.iter().enumerate() {
            inputs[n] = *input as u32;
            for run in runs {
                let run = Run { from: run.from + (n * lanes) as u32, ..*run };
                match self.runs[first..].last_mut() {
                    Some(before)
                        if before.from + before.len == run.from && before.to + before.len == run.to =>
                    {
                        before.len += run.len
                    }
                    _ => self.runs.push(run),
                }
            }
        }
        self.strips.push(Strip { inputs, vectors: vectors.len(), runs: first..self.runs.len() });
    }
}
