//! The tasks of a task group. Each computes some output channels for a patch of pixels.

use std::ops::Range;

use crate::conv::cpu::elements::OutputPtr;
use crate::conv::cpu::epilogue::EpilogueWriter;
use crate::conv::cpu::partition::Place;
use crate::conv::cpu::task_input::TaskInput;
use crate::memory::Scratch;
use crate::simd::{Kernel, Simd};

use super::StripPlan;
use super::micro::{self, Results, Sums};
use super::strips::Strip;

/// The tasks of a task group, which one thread runs one after another. With `PAIRS`, their operands are pairs of bf16.
pub(super) struct Tasks<'a, const PAIRS: bool> {
    pub plan: &'a StripPlan,
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
        let mut scratch = Scratch::new(self.plan.scratch);
        let [input_tile, sums, rows] = scratch.slices();
        let plan = &self.plan.plan;
        for place in plan.tasks(self.task_group) {
            for chunk in 0..plan.chunks.count() {
                let pixels = self.input.pixels::<S, PAIRS>(simd, &place, chunk, input_tile, rows);
                self.multiply(simd, &place, chunk, pixels, sums);
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
        place: &Place<'_>,
        chunk: usize,
        pixels: *const f32,
        sums: &mut [f32],
    ) {
        let plan = &self.plan.plan;
        let taps = &plan.taps[chunk][..];
        let registers = const { micro::tile_shape::<S>() };
        let (tile_len, last) = (plan.blocks.block * registers.pixels, chunk + 1 == plan.chunks.count());
        let in_registers = last && self.writer.is_affine();
        let f32_output = match self.output {
            OutputPtr::F32(output) if in_registers => Some(output),
            _ => None,
        };
        let mut next = 0;
        for strip in &self.plan.strips[place.patch_index] {
            for channel in place.channels.clone().step_by(plan.blocks.block) {
                let width = plan.blocks.width(channel);
                let weights = &self.weights[plan.weights_at(place.group, chunk, channel)..];
                let weights = &weights[..width * taps.len()];
                let sums = &mut sums[next..][..tile_len];
                let channels = plan.blocks.existing(channel);
                let f32_output = f32_output.filter(|_| strip.whole && channels.len() == width);
                let results = f32_output.map(|output| self.results(place, channels.start, strip, output));
                // SAFETY: `weights` and `sums` have the lengths that the register tile needs. For every tap, the
                // vectors of the strip lie within `pixels`: an input tile is padded to whole vectors, and no vector of a strip
                // extends beyond an input that is read in place. No other task accesses the results.
                unsafe {
                    micro::accumulate::<S, PAIRS>(
                        simd,
                        width,
                        pixels,
                        &strip.input_offsets[..strip.vectors],
                        taps,
                        weights.as_ptr(),
                        Sums { at: sums.as_mut_ptr(), resume: chunk > 0, results },
                    )
                }
                if last && f32_output.is_none() {
                    self.store_register_tile(simd, place, channels, strip, sums);
                }
                if plan.chunks.count() > 1 {
                    next += tile_len;
                }
            }
        }
    }

    /// Returns where a register tile stores the results of the pixels of `strip` in the channels from `channel` on.
    #[inline(always)]
    fn results<'a>(
        &'a self,
        place: &Place<'_>,
        channel: usize,
        strip: &'a Strip,
        output: *mut f32,
    ) -> Results<'a> {
        let shape = &self.plan.plan.shape;
        let channel = place.group * shape.group_out_channels() + channel;
        Results {
            affines: self.writer.channels(channel),
            output: output.wrapping_add(self.first_pixel(place, channel)),
            pixels: &strip.output_offsets,
            plane: shape.output[0] * shape.output[1],
        }
    }

    /// Returns the index, in the output, of the patch's first pixel in the channel `channel`.
    #[inline(always)]
    fn first_pixel(&self, place: &Place<'_>, channel: usize) -> usize {
        let (shape, patch) = (&self.plan.plan.shape, place.patch);
        let plane = place.image * shape.out_channels + channel;
        (plane * shape.output[0] + patch.y) * shape.output[1] + patch.x
    }

    /// Turns the sums of one register tile into results and stores them. An activation of many instructions is applied
    /// to all sums in scratch memory before they are stored in the output.
    #[inline(always)]
    fn store_register_tile<S: Simd>(
        &self,
        simd: S,
        place: &Place<'_>,
        channels: Range<usize>,
        strip: &Strip,
        sums: &mut [f32],
    ) {
        let writer = &self.writer;
        let activates_stored = writer.activates_stored();
        let sums = &mut sums[..channels.len() * strip.vectors * S::LANES];
        let first = |channel: usize| {
            let channel = place.group * self.plan.plan.shape.group_out_channels() + channel;
            (channel, self.first_pixel(place, channel))
        };
        let channel_len = strip.vectors * S::LANES;
        for (channel, sums) in channels.clone().zip(sums.chunks_exact_mut(channel_len)) {
            let (channel, first) = first(channel);
            // SAFETY: the output has this channel.
            let affine = unsafe { writer.channels(channel).get(simd, 0) };
            for (n, sums) in sums.chunks_exact_mut(S::LANES).enumerate() {
                let [at, lanes] = [strip.output_offsets[n], strip.lanes[n]].map(|x| x as usize);
                let target = [first + at, lanes];
                // SAFETY: `sums` has a vector of floats. The strip's pixels lie within the patch, and no other task
                // writes this channel of it.
                unsafe {
                    let [[shifted]] = affine.shifted(simd, [[simd.load(sums.as_ptr())]]);
                    if activates_stored {
                        let value = writer.combine::<S, false>(simd, shifted, &affine, target);
                        simd.store(sums.as_mut_ptr(), value);
                    } else {
                        writer.store_pixels::<S, true>(simd, shifted, &affine, target, self.output);
                    }
                }
            }
        }
        if !activates_stored {
            return;
        }
        writer.activate_stored(simd, sums);
        for (channel, sums) in channels.zip(sums.chunks_exact(channel_len)) {
            let (_, first) = first(channel);
            for (n, sums) in sums.chunks_exact(S::LANES).enumerate() {
                let [at, lanes] = [strip.output_offsets[n], strip.lanes[n]].map(|x| x as usize);
                // SAFETY: as above.
                unsafe { self.output.at(first + at).store(simd, lanes, simd.load(sums.as_ptr())) }
            }
        }
    }
}
