//! The work of one task: a patch of output pixels × a run of panels.

use super::Target;
use super::micro::{self, Ends, Factors, LINE, most_pixels, pixel_step};
use super::plan::{Place, Plan};
use super::tile::Tile;
use super::weights::PANEL_VECTORS;
use crate::blocked::conv::Input;
use crate::blocked::conv::finish::{Affine, Finish, Spot};
use crate::simd::{Kernel, Simd};

/// One of a plan's tasks.
pub(super) struct Task<'a> {
    pub plan: &'a Plan,
    pub index: usize,
    pub input: Input<'a>,
    pub weights: &'a [f32],
    pub finish: Finish<'a>,
    pub target: Target<'a>,
    /// As long as the plan says.
    pub scratch: &'a mut [f32],
}

/// A register tile: its first pixel in what the taps count from, its first pixel in the output's plane, and
/// how many there are.
#[derive(Clone, Copy)]
struct Pixels {
    input: usize,
    output: usize,
    count: usize,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let place = self.plan.place(self.index);
        let scratch = std::mem::take(&mut self.scratch);
        let (floats, results) = scratch.split_at_mut(self.plan.tile_floats());
        let results = results.as_mut_ptr();
        for chunk in 0..self.plan.channels.chunks() {
            let input = match &self.plan.tile {
                None => self.in_place::<S>(&place, chunk),
                Some(tile) => {
                    self.fill(simd, &place, tile, chunk, floats);
                    floats.as_ptr()
                }
            };
            self.multiply(simd, &place, chunk, input, results);
        }
    }
}

impl Task<'_> {
    /// Where a chunk of a patch begins in the input.
    #[inline(always)]
    fn in_place<S: Simd>(&self, place: &Place<'_>, chunk: usize) -> *const f32 {
        let shape = &self.plan.shape;
        let (Input::Blocked(input) | Input::Planes(input)) = self.input;
        let blocks = shape.in_channels.div_ceil(S::LANES);
        let block = place.image * blocks + self.plan.channels.chunk(chunk).start / S::LANES;
        input.as_ptr().wrapping_add((block * shape.input[1] + place.patch.x) * S::LANES)
    }

    /// Copies a chunk's blocks to the tile.
    #[inline(always)]
    fn fill<S: Simd>(&self, simd: S, place: &Place<'_>, tile: &Tile, chunk: usize, floats: &mut [f32]) {
        let blocks = floats.chunks_exact_mut(self.plan.tile_block());
        for (block, channel) in blocks.zip(self.plan.channels.chunk(chunk).step_by(self.plan.block())) {
            // SAFETY: the image and the channel are those of a task; the block is as long as one.
            unsafe {
                let (shape, to) = (&self.plan.shape, block.as_mut_ptr());
                tile.fill(simd, shape, place.patch, self.input, [place.image, channel], to)
            }
        }
    }

    /// Adds the products of a chunk's channels to the sums in the output; makes results of them after the
    /// last one.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        place: &Place<'_>,
        chunk: usize,
        input: *const f32,
        results: *mut f32,
    ) {
        for panel in place.panels.clone() {
            let spot = self.spot::<S>(place, panel, results);
            match (self.plan.channels.vectors(panel), self.plan.planes) {
                (1, false) => self.panel::<S, 1, false>(simd, place, chunk, panel, input, spot),
                (1, true) => self.panel::<S, 1, true>(simd, place, chunk, panel, input, spot),
                (_, false) => self.panel::<S, PANEL_VECTORS, false>(simd, place, chunk, panel, input, spot),
                (_, true) => self.panel::<S, PANEL_VECTORS, true>(simd, place, chunk, panel, input, spot),
            }
            self.follow(simd, place, panel, spot);
        }
    }

    /// Where the first pixel of a panel's plane is, or would be: of what somebody else reads there is the patch
    /// alone.
    #[inline(always)]
    fn spot<S: Simd>(&self, place: &Place<'_>, panel: usize, results: *mut f32) -> Spot {
        let (shape, patch) = (&self.plan.shape, place.patch);
        let block = shape.output[0] * shape.output[1] * S::LANES;
        match self.target {
            Target::Output(output) => {
                let first = place.image * shape.out_channels.div_ceil(S::LANES) + panel * PANEL_VECTORS;
                Spot { output: output.0, at: first * block, block }
            }
            Target::Behind { .. } => {
                let before = (patch.y * shape.output[1] + patch.x) * S::LANES;
                let block = patch.rows * patch.columns * S::LANES;
                Spot { output: results, at: 0usize.wrapping_sub(before), block }
            }
        }
    }

    /// Hands a panel's results, which are whole, to whom they are for.
    #[inline(always)]
    fn follow<S: Simd>(&self, simd: S, place: &Place<'_>, panel: usize, spot: Spot) {
        let Target::Behind { follower, .. } = self.target else { return };
        let blocks = self.plan.shape.out_channels.div_ceil(S::LANES);
        for vector in 0..self.plan.channels.vectors(panel) {
            let index = place.image * blocks + panel * PANEL_VECTORS + vector;
            let plane = spot.output.wrapping_add(spot.at).wrapping_add(vector * spot.block);
            // SAFETY: the patch is what these rows read, and no other task has them in these channels.
            unsafe { follower.rows(simd, index, plane, place.patch.behind.clone()) }
        }
    }

    #[inline(always)]
    fn panel<S: Simd, const VECTORS: usize, const PLANES: bool>(
        &self,
        simd: S,
        place: &Place<'_>,
        chunk: usize,
        panel: usize,
        input: *const f32,
        plane: Spot,
    ) {
        let Plan { shape, channels, taps, .. } = self.plan;
        let affine: Affine<S, VECTORS> = self.finish.affine(simd, panel * PANEL_VECTORS * S::LANES);
        let weights = &self.weights[channels.weights_at(shape, chunk, panel)..];
        let len = channels.chunk(chunk).len() * shape.kernel[0] * shape.kernel[1] * VECTORS * S::LANES;
        let weights = weights[..len].as_ptr();
        let (last, finish) = (chunk + 1 == channels.chunks(), Some(&self.finish));
        let tiles = self.tiles::<S>(place);
        // The weights of a tile of planes are few, and near.
        let lines = if PLANES { 0 } else { VECTORS * S::LANES * S::LANES / LINE };
        for index in 0..tiles.count {
            let pixels = tiles.get(index);
            let factors = Factors {
                input: input.wrapping_add(pixels.input * pixel_step::<S>(PLANES)),
                taps: &taps[chunk],
                weights,
                next: weights.wrapping_add(len),
                fetch: [index * lines / tiles.count, (index + 1) * lines / tiles.count],
            };
            let spot = Spot { at: plane.at.wrapping_add(pixels.output * S::LANES), ..plane };
            let ends = Ends { resume: chunk > 0, finish: finish.filter(|_| last), spot };
            // SAFETY: the tile, or the input, has the pixels at every tap, and the panel all their weights.
            // The pixels lie in the patch, and no other task writes these channels of it.
            unsafe {
                micro::multiply::<S, VECTORS, PLANES>(simd, pixels.count, factors, &affine, ends);
                if last {
                    self.finish.activate(simd, &affine, spot, pixels.count);
                }
            }
        }
    }

    /// The register tiles of a patch.
    #[inline(always)]
    fn tiles<S: Simd>(&self, place: &Place<'_>) -> Tiles {
        let (patch, width) = (place.patch, self.plan.shape.output[1]);
        let pitch = self.plan.tile.as_ref().map_or(width, |tile| tile.pitch);
        let whole = patch.rows == 1 || (pitch == patch.columns && width == patch.columns);
        let (runs, run) = if whole { (1, patch.rows * patch.columns) } else { (patch.rows, patch.columns) };
        let per_run = run.div_ceil(most_pixels::<S>());
        let origin = patch.y * width + patch.x;
        Tiles { count: runs * per_run, run, per_run, pitch, width, origin }
    }
}

/// Runs of neighbouring pixels, each cut into nearly equal parts: a small one would wait for its own sums.
struct Tiles {
    count: usize,
    /// The pixels of a run, and its parts.
    run: usize,
    per_run: usize,
    /// From a run to the next, in what the taps count from and in the output.
    pitch: usize,
    width: usize,
    origin: usize,
}

impl Tiles {
    #[inline(always)]
    fn get(&self, index: usize) -> Pixels {
        let (run, part) = (index / self.per_run, index % self.per_run);
        let start = part * self.run / self.per_run;
        Pixels {
            input: run * self.pitch + start,
            output: self.origin + run * self.width + start,
            count: (part + 1) * self.run / self.per_run - start,
        }
    }
}
