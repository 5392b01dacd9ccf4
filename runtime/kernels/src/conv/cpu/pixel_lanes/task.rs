//! The tasks of a task group. Each computes some output channels for a patch of pixels.

use std::ops::Range;

use crate::conv::cpu::elements::OutputPtr;
use crate::conv::cpu::epilogue::EpilogueWriter;
use crate::conv::cpu::partition::TaskRegion;
use crate::conv::cpu::task_input::TaskInput;
use crate::memory::Scratch;
use crate::simd::{Kernel, Simd};

use super::TiledPlan;
use super::micro::{self, Results, Sums};
use super::tile_pixels::TilePixels;

/// The tasks of a task group, which one thread runs one after another. With `PAIRS`, their operands are pairs of bf16.
pub(super) struct Tasks<'a, const PAIRS: bool> {
    pub tiled_plan: &'a TiledPlan,
    pub task_group: usize,
    pub input: TaskInput<'a>,
    pub weights: &'a [f32],
    pub writer: EpilogueWriter<'a>,
    pub output: OutputPtr,
}

impl<const PAIRS: bool> Kernel for Tasks<'_, PAIRS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut scratch = Scratch::new(self.tiled_plan.scratch);
        let [input_tile, sums, converted] = scratch.slices();
        let plan = &self.tiled_plan.plan;
        for region in plan.tasks(self.task_group) {
            for chunk in 0..plan.chunks.count() {
                let pixels = self.input.pixels::<S, PAIRS>(simd, &region, chunk, input_tile, converted);
                self.multiply(simd, &region, chunk, pixels, sums);
            }
        }
    }
}

impl<const PAIRS: bool> Tasks<'_, PAIRS> {
    /// Adds the products of a chunk's channels to the sums. After the last chunk, stores the results.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        region: &TaskRegion<'_>,
        chunk: usize,
        pixels: *const f32,
        sums: &mut [f32],
    ) {
        let plan = &self.tiled_plan.plan;
        let taps = &plan.taps[chunk][..];
        let register_tile = const { micro::register_tile_shape::<S>() };
        let (tile_len, last) =
            (plan.output_blocks.block_channels * register_tile.pixels, chunk + 1 == plan.chunks.count());
        let applies_epilogue_in_registers = last && self.writer.is_affine();
        // The output, if register tiles store results in it directly, without storing sums first.
        let direct_output = match self.output {
            OutputPtr::F32(output) if applies_epilogue_in_registers => Some(output),
            _ => None,
        };
        // With several chunks, the sums of all register tiles are kept until the last chunk.
        let mut sums_start = 0;
        for tile in &self.tiled_plan.tiles[region.patch_index] {
            for channel in region.channels.clone().step_by(plan.output_blocks.block_channels) {
                let width = plan.output_blocks.width(channel);
                let weights = &self.weights[plan.weight_offset(region.group, chunk, channel)..];
                let weights = &weights[..width * taps.len()];
                let sums = &mut sums[sums_start..][..tile_len];
                let channels = plan.output_blocks.unpadded(channel);
                let direct_output = direct_output.filter(|_| tile.is_full && channels.len() == width);
                let results = direct_output.map(|output| self.results(region, channels.start, tile, output));
                // SAFETY: `weights` and `sums` have the lengths that the register tile needs. For every tap, the
                // vectors of the tile lie within `pixels`: an input tile is padded to whole vectors, and no vector
                // extends beyond an input that is read in place. No other task accesses the results.
                unsafe {
                    micro::accumulate::<S, PAIRS>(
                        simd,
                        width,
                        pixels,
                        &tile.input_offsets[..tile.vectors],
                        taps,
                        weights.as_ptr(),
                        Sums { data: sums.as_mut_ptr(), adds_to_sums: chunk > 0, results },
                    )
                }
                if last && direct_output.is_none() {
                    self.store_register_tile(simd, region, channels, tile, sums);
                }
                if plan.chunks.count() > 1 {
                    sums_start += tile_len;
                }
            }
        }
    }

    /// Returns the destination of the results of a register tile whose pixels are `tile` and whose first channel in the
    /// group is `channel`.
    #[inline(always)]
    fn results<'a>(
        &'a self,
        region: &TaskRegion<'_>,
        channel: usize,
        tile: &'a TilePixels,
        output: *mut f32,
    ) -> Results<'a> {
        let shape = &self.tiled_plan.plan.shape;
        let channel = region.group * shape.group_out_channels() + channel;
        Results {
            affines: self.writer.channels(channel),
            output: output.wrapping_add(self.first_pixel(region, channel)),
            pixels: &tile.output_offsets,
            plane: shape.output[0] * shape.output[1],
        }
    }

    /// Returns the index, in the output, of the patch's first pixel in the channel `channel`.
    #[inline(always)]
    fn first_pixel(&self, region: &TaskRegion<'_>, channel: usize) -> usize {
        let (shape, patch) = (&self.tiled_plan.plan.shape, region.patch);
        let plane = region.image * shape.out_channels + channel;
        (plane * shape.output[0] + patch.y) * shape.output[1] + patch.x
    }

    /// Turns the sums of one register tile into results and stores them. An activation of many instructions is applied
    /// to all sums in scratch memory before they are stored in the output.
    #[inline(always)]
    fn store_register_tile<S: Simd>(
        &self,
        simd: S,
        region: &TaskRegion<'_>,
        channels: Range<usize>,
        tile: &TilePixels,
        sums: &mut [f32],
    ) {
        let writer = &self.writer;
        let has_activation_pass = writer.has_activation_pass();
        let sums = &mut sums[..channels.len() * tile.vectors * S::LANES];
        // Returns the channel's index in the output, and the index of the patch's first pixel in this channel.
        let locate = |channel: usize| {
            let channel = region.group * self.tiled_plan.plan.shape.group_out_channels() + channel;
            (channel, self.first_pixel(region, channel))
        };
        let channel_len = tile.vectors * S::LANES;
        for (channel, sums) in channels.clone().zip(sums.chunks_exact_mut(channel_len)) {
            let (channel, first) = locate(channel);
            // SAFETY: the output has this channel.
            let affine = unsafe { writer.channels(channel).get(simd, 0) };
            for (n, sums) in sums.chunks_exact_mut(S::LANES).enumerate() {
                let [at, lanes] = [tile.output_offsets[n], tile.lanes[n]].map(|x| x as usize);
                let target = [first + at, lanes];
                // SAFETY: `sums` has a vector of floats. The tile's pixels lie within the patch, and no other task
                // writes this channel of it.
                unsafe {
                    let [[shifted]] = affine.shifted(simd, [[simd.load(sums.as_ptr())]]);
                    if has_activation_pass {
                        let value = writer.combine::<S, false>(simd, shifted, &affine, target);
                        simd.store(sums.as_mut_ptr(), value);
                    } else {
                        writer.store_pixels::<S, true>(simd, shifted, &affine, target, self.output);
                    }
                }
            }
        }
        if !has_activation_pass {
            return;
        }
        writer.run_activation_pass(simd, sums);
        for (channel, sums) in channels.zip(sums.chunks_exact(channel_len)) {
            let (_, first) = locate(channel);
            for (n, sums) in sums.chunks_exact(S::LANES).enumerate() {
                let [at, lanes] = [tile.output_offsets[n], tile.lanes[n]].map(|x| x as usize);
                // SAFETY: as above.
                unsafe { self.output.at(first + at).store(simd, lanes, simd.load(sums.as_ptr())) }
            }
        }
    }
}
