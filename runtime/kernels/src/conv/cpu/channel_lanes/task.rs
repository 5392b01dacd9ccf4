//! The tasks of a task group. Each computes some panels of output channels for a patch of pixels.

use crate::conv::cpu::epilogue::{Affine, Destination, EpilogueWriter};
use crate::conv::cpu::partition::TaskRegion;
use crate::conv::cpu::plan::Plan;
use crate::conv::cpu::task_input::TaskInput;
use crate::memory::CACHE_LINE_FLOATS;
use crate::simd::{Kernel, Simd};

use super::Target;
use super::micro::{self, Factors, PANEL_VECTORS, TileTarget, pixel_step};

/// The tasks of a task group, which one thread runs one after another.
pub(super) struct Tasks<'a> {
    pub plan: &'a Plan,
    pub task_group: usize,
    pub input: TaskInput<'a>,
    pub weights: &'a [f32],
    pub writer: EpilogueWriter<'a>,
    pub target: Target<'a>,
    /// Memory for the input tile and for the results that a consumer reads, with the lengths from `scratch_floats`.
    pub scratch: [&'a mut [f32]; 2],
}

/// One chunk's products for one panel of output channels (one or two vectors).
struct Panel<'a> {
    region: &'a TaskRegion<'a>,
    chunk: usize,
    /// The panel's first output channel.
    output_channel: usize,
    /// The address to which the offsets of the chunk's taps are relative.
    input: *const f32,
    /// The destination of pixel (0, 0) in the panel's first plane. A panel has one plane for each vector of channels.
    to: Destination,
}

impl Kernel for Tasks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let [tile, results] = std::mem::take(&mut self.scratch);
        let plan = self.plan;
        for region in plan.tasks(self.task_group) {
            for chunk in 0..plan.chunks.count() {
                let input = self.input.pixels::<S, false>(simd, &region, chunk, tile, &mut []);
                for output_channel in region.channels.clone().step_by(plan.output_blocks.block_channels) {
                    let to = self.destination::<S>(&region, output_channel, results.as_mut_ptr());
                    let panel = Panel { region: &region, chunk, output_channel, input, to };
                    self.multiply(simd, &panel);
                    self.consume(simd, &panel);
                }
            }
        }
    }
}

impl Tasks<'_> {
    /// Returns the destination of pixel (0, 0) in a panel's first plane. With a consumer, the scratch memory
    /// holds only the patch, so pixel (0, 0) may lie before it and its offset may wrap around.
    #[inline(always)]
    fn destination<S: Simd>(
        &self,
        region: &TaskRegion<'_>,
        output_channel: usize,
        results: *mut f32,
    ) -> Destination {
        let (shape, patch) = (&self.plan.shape, region.patch);
        match self.target {
            Target::Output(to) => {
                let block = shape.output[0] * shape.output[1] * S::LANES;
                let first = region.image * shape.out_channels.div_ceil(S::LANES) + output_channel / S::LANES;
                Destination { output: to.as_f32(), at: first * block, block }
            }
            Target::Consumer(..) => {
                let before = (patch.y * shape.output[1] + patch.x) * S::LANES;
                let block = patch.rows * patch.columns * S::LANES;
                Destination { output: results, at: 0usize.wrapping_sub(before), block }
            }
        }
    }

    /// Adds the products of a chunk's channels to the sums in the destination. The first chunk overwrites the
    /// destination, and the last chunk stores results instead of sums.
    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, panel: &Panel<'_>) {
        match (self.plan.output_blocks.width(panel.output_channel) / S::LANES, self.plan.input_block) {
            (1, 1) => self.register_tiles::<S, 1, true>(simd, panel),
            (1, _) => self.register_tiles::<S, 1, false>(simd, panel),
            (_, 1) => self.register_tiles::<S, PANEL_VECTORS, true>(simd, panel),
            _ => self.register_tiles::<S, PANEL_VECTORS, false>(simd, panel),
        }
    }

    /// Runs the consumer on a panel's results.
    #[inline(always)]
    fn consume<S: Simd>(&self, simd: S, panel: &Panel<'_>) {
        let Target::Consumer(consumer, _) = self.target else { return };
        let blocks = self.plan.shape.out_channels.div_ceil(S::LANES);
        let first = panel.region.image * blocks + panel.output_channel / S::LANES;
        for vector in 0..self.plan.output_blocks.width(panel.output_channel) / S::LANES {
            let plane = panel.to.output.wrapping_add(panel.to.at).wrapping_add(vector * panel.to.block);
            let rows = panel.region.patch.consumer_rows.clone();
            // SAFETY: the patch contains all rows on which the consumer's `rows` depend, and no other task computes
            // `rows` of this block of channels.
            unsafe { consumer.compute_rows(simd, first + vector, plane, rows) }
        }
    }

    /// Computes all register tiles of a panel with `VECTORS` vectors. With `NCHW`, the input is `Nchw`, otherwise
    /// `Nchwc`.
    #[inline(always)]
    fn register_tiles<S: Simd, const VECTORS: usize, const NCHW: bool>(&self, simd: S, panel: &Panel<'_>) {
        let Panel { region, chunk, output_channel, input, to } = *panel;
        let Plan { shape, chunks, taps, .. } = self.plan;
        let affine: Affine<S, VECTORS> = self.writer.vectors(simd, output_channel);
        let weights = &self.weights[self.plan.weight_offset(0, chunk, output_channel)..];
        let len = chunks.range(chunk).len() * shape.kernel[0] * shape.kernel[1] * VECTORS * S::LANES;
        let weights = weights[..len].as_ptr();
        let (last, writer) = (chunk + 1 == chunks.count(), Some(&self.writer));
        let tiles = self.tiles::<S>(region);
        // The number of cache lines to prefetch for each tap: all weights of a tap in a block of input channels. An
        // `Nchw` input usually has few channels, as in a network's first layer. The weights are then few and already in
        // the L1 or L2 cache.
        let lines = if NCHW { 0 } else { VECTORS * S::LANES * S::LANES / CACHE_LINE_FLOATS };
        for index in 0..tiles.count {
            let pixels = tiles.get(index);
            let factors = Factors {
                input: input.wrapping_add(pixels.input * pixel_step::<S>(NCHW)),
                taps: &taps[chunk],
                weights,
                next: weights.wrapping_add(len),
                prefetched_lines: [index * lines / tiles.count, (index + 1) * lines / tiles.count],
            };
            let to = Destination { at: to.at.wrapping_add(pixels.output * S::LANES), ..to };
            let target = TileTarget { adds_to_sums: chunk > 0, writer: writer.filter(|_| last), to };
            // SAFETY: the input tile, or the input if it is read in place, has every tap's pixels. `weights` has the
            // panel's `len` weights. The pixels lie in the patch, and no other task writes these channels of the patch.
            unsafe {
                micro::multiply::<S, VECTORS, NCHW>(simd, pixels.count, factors, &affine, target);
                if last {
                    self.writer.activate_vectors(simd, &affine, to, pixels.count);
                }
            }
        }
    }

    /// Returns the register tiles of a patch.
    #[inline(always)]
    fn tiles<S: Simd>(&self, region: &TaskRegion<'_>) -> Tiles {
        let (patch, width) = (region.patch, self.plan.shape.output[1]);
        let pitch = self.plan.input_tile.as_ref().map_or(width, |tile| tile.pitch);
        let is_one_run = patch.rows == 1 || (pitch == patch.columns && width == patch.columns);
        let (runs, run_pixels) =
            if is_one_run { (1, patch.rows * patch.columns) } else { (patch.rows, patch.columns) };
        let run_tiles = run_pixels.div_ceil(const { micro::register_tile_shape::<S>().pixels });
        let origin = patch.y * width + patch.x;
        Tiles { count: runs * run_tiles, run_pixels, run_tiles, pitch, width, origin }
    }
}

/// The pixels of a register tile.
#[derive(Clone, Copy)]
struct Pixels {
    /// The index of the first pixel in the input tile, or in the patch if the input is read in place.
    input: usize,
    /// The index of the first pixel in the output's plane.
    output: usize,
    /// The number of pixels.
    count: usize,
}

/// The register tiles of a patch. A run is a sequence of pixels that are adjacent both in the input and in the output:
/// a row of the patch, or the whole patch. Each run is divided into tiles of nearly equal size.
struct Tiles {
    /// The number of tiles in all runs.
    count: usize,
    /// The number of pixels in a run.
    run_pixels: usize,
    /// The number of tiles in a run.
    run_tiles: usize,
    /// The distance from one run to the next in the input, in pixels.
    pitch: usize,
    /// The distance from one run to the next in the output, in pixels.
    width: usize,
    /// The index of the patch's first pixel in the output's plane.
    origin: usize,
}

impl Tiles {
    /// Returns the pixels of the register tile `index`.
    #[inline(always)]
    fn get(&self, index: usize) -> Pixels {
        let (run, part) = (index / self.run_tiles, index % self.run_tiles);
        let start = part * self.run_pixels / self.run_tiles;
        Pixels {
            input: run * self.pitch + start,
            output: self.origin + run * self.width + start,
            count: (part + 1) * self.run_pixels / self.run_tiles - start,
        }
    }
}
