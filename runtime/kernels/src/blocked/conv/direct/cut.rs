//! Into how many pieces the output is cut: patches of pixels, and runs of output channels.

use super::plan::Channels;
use super::tile::Tile;
use super::weights::PANEL_VECTORS;
use crate::blocked::conv::Windows;
use crate::conv::ConvShape;
use crate::parallel;

/// Floats of the second-level cache that what a task reads of the input may take.
const INPUT_FLOATS: usize = 96 << 10;
/// Floats of the same cache that a patch's results in a panel may take, where somebody else reads them.
const RESULT_FLOATS: usize = 64 << 10;
/// In cycles of a core that finishes two vectors of multiply-adds in each: what a task costs beside its work,
/// what a vector that is copied or stored does, and what a line of weights does to a task.
const HAND_OUT: usize = 2000;
const COPY: usize = 3;
const LINE: usize = 2;
/// In the same cycles, what a vector does that another core has written, or will read.
const FOREIGN: usize = 25;
/// The sums that a core needs at once in order not to wait for the last one.
const SUMS: usize = 8;

/// The counts of pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Of rows and of columns; of what is behind the convolution, where there is something.
    pub patches: [usize; 2],
    /// Of output channels.
    pub segments: usize,
}

/// What the choice depends on.
pub(super) struct Sizes<'a> {
    pub shape: &'a ConvShape,
    pub channels: &'a Channels,
    /// The channels of a block of the input.
    pub block: usize,
    pub in_place: bool,
    /// Of a register tile.
    pub pixels: usize,
    /// Through which the results are read.
    pub windows: Option<Windows>,
}

impl Cut {
    /// The cut with which `threads` threads are done soonest.
    pub fn best(sizes: &Sizes<'_>, threads: usize) -> Self {
        let Sizes { shape, channels, .. } = *sizes;
        let work = shape.output_elements().saturating_mul(shape.taps());
        let threads = parallel::worthwhile(threads, work);
        let fewest = sizes.fewest_patches();
        let (axis, most) = sizes.finest();
        let finer = (0..4 * threads).map(|more| {
            let mut patches = fewest;
            patches[axis] = (patches[axis] + more).min(most);
            patches
        });
        let segments = 1..=channels.panels().min(4 * threads);
        let cuts = finer.flat_map(|patches| segments.clone().map(move |segments| Self { patches, segments }));
        cuts.min_by_key(|cut| sizes.time(cut, threads)).unwrap_or(Self { patches: fewest, segments: 1 })
    }

    fn tasks(&self, shape: &ConvShape) -> usize {
        shape.batch.max(1) * self.patches[0] * self.patches[1] * self.segments
    }
}

impl Sizes<'_> {
    /// The axis along which there may be more patches, and the most of them.
    fn finest(&self) -> (usize, usize) {
        match (&self.windows, self.shape.output) {
            (Some(windows), _) => (0, windows.rows),
            (None, [1, width]) => (1, width),
            (None, [height, _]) => (0, height),
        }
    }

    /// As few patches as the caches allow.
    fn fewest_patches(&self) -> [usize; 2] {
        let [height, width] = self.shape.output;
        let fits = |patches: &[usize; 2]| self.input_floats(patches) <= INPUT_FLOATS;
        if let Some(windows) = &self.windows {
            let near = |bands: &[usize; 2]| fits(bands) && self.result_floats(bands) <= RESULT_FLOATS;
            return (1..windows.rows).map(|bands| [bands, 1]).find(near).unwrap_or([windows.rows, 1]);
        }
        let rows = (1..=height).map(|rows| [rows, 1]).find(fits);
        let columns = || (1..=width).map(|columns| [height, columns]).find(fits);
        rows.or_else(columns).unwrap_or([height, width])
    }

    /// The largest patch's rows and columns.
    fn patch(&self, patches: &[usize; 2]) -> [usize; 2] {
        if let Some(windows) = &self.windows {
            let (rows, width) = (windows.most(windows.rows.div_ceil(patches[0])), windows.size[1]);
            return if self.shape.output == windows.size { [rows, width] } else { [1, rows * width] };
        }
        [0, 1].map(|axis| self.shape.output[axis].div_ceil(patches[axis]))
    }

    /// The floats that a task reads of the input in one go.
    fn input_floats(&self, patches: &[usize; 2]) -> usize {
        let [rows, columns] = self.patch(patches);
        let pixels = match self.in_place {
            true => rows * columns,
            false => Tile::new(self.shape, [rows, columns]).pixels(),
        };
        pixels.saturating_mul(self.channels.chunk(0).len().next_multiple_of(self.block))
    }

    /// The floats of a patch's results in a panel.
    fn result_floats(&self, patches: &[usize; 2]) -> usize {
        let [rows, columns] = self.patch(patches);
        rows * columns * PANEL_VECTORS * self.channels.lanes
    }

    /// The cycles that `threads` threads take for all tasks.
    fn time(&self, cut: &Cut, threads: usize) -> usize {
        let rounds = cut.tasks(self.shape).div_ceil(threads);
        rounds.saturating_mul(self.cycles(cut).saturating_add(self.foreign(cut, threads) * FOREIGN))
    }

    /// The vectors of the largest task that are another core's in the layers before and behind, if each thread has
    /// its own pixels there; none where that is so here.
    fn foreign(&self, cut: &Cut, threads: usize) -> usize {
        if (self.shape.batch * cut.patches[0] * cut.patches[1]).is_multiple_of(threads) {
            return 0;
        }
        let [rows, columns] = self.patch(&cut.patches);
        let outputs = rows * columns * self.channels.panels().div_ceil(cut.segments) * PANEL_VECTORS;
        let inputs = self.input_floats(&cut.patches) / self.channels.lanes * self.channels.chunks();
        (inputs + outputs) * (threads - 1) / threads
    }

    /// The cycles of the largest task.
    fn cycles(&self, cut: &Cut) -> usize {
        let [rows, columns] = self.patch(&cut.patches);
        let panels = self.channels.panels().div_ceil(cut.segments);
        let (runs, run) = match self.in_place {
            true => (1, rows * columns),
            false if Tile::new(self.shape, [rows, columns]).pitch == columns => (1, rows * columns),
            false => (rows, columns),
        };
        let sums = (run * PANEL_VECTORS).max(run.div_ceil(self.pixels) * SUMS) * runs;
        let products = (sums * panels).saturating_mul(self.shape.taps()) / 2;
        let copies = if self.in_place {
            0
        } else {
            self.input_floats(&cut.patches) / self.channels.lanes * self.channels.chunks()
        };
        let outputs = rows * columns * panels * PANEL_VECTORS * self.channels.chunks();
        let lines = (panels * PANEL_VECTORS).saturating_mul(self.shape.taps());
        let moved = copies.saturating_add(outputs).saturating_mul(COPY);
        products.saturating_add(moved).saturating_add(lines.saturating_mul(LINE)).saturating_add(HAND_OUT)
    }
}
