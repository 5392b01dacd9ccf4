//! One task: some output channels of one patch of one image.

use super::micro::{self, MOST_VECTORS, Results, Sums};
use super::plan::{Place, Plan};
use super::scratch::Scratch;
use super::strips::{Run, Strip};
use super::tile::{self, Layout};
use crate::kernels::conv::cpu::Output;
use crate::kernels::conv::cpu::finish::Finish;
use crate::kernels::simd::{Kernel, Simd};
use std::ops::Range;

/// Some of a plan's tasks.
pub(super) struct Tasks<'a> {
    pub plan: &'a Plan,
    /// The tasks to run, by their number in the plan.
    pub indices: Range<usize>,
    pub input: &'a [f32],
    pub weights: &'a [f32],
    pub finish: Finish<'a>,
    pub output: Output,
}

impl Kernel for Tasks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut scratch = Scratch::take();
        let (tile, sums) = scratch.parts(self.plan.tile_len, self.plan.sums_len);
        for index in self.indices.clone() {
            let place = self.plan.place(index);
            for chunk in 0..self.plan.chunks() {
                self.fill(&place, chunk, tile);
                self.multiply(simd, &place, chunk, tile, sums);
            }
        }
        scratch.put_back();
    }
}

impl Tasks<'_> {
    /// Copies the input channels of a chunk into the tile.
    fn fill(&self, place: &Place<'_>, chunk: usize, tile: &mut [f32]) {
        let shape = &self.plan.shape;
        let plane = shape.input[0] * shape.input[1];
        let first = place.group * shape.group_inputs();
        for (i, channel) in self.plan.chunk(chunk).enumerate() {
            let input = &self.input[(place.image * shape.in_channels + first + channel) * plane..][..plane];
            match &self.plan.layout {
                Layout::Planes(planes) => {
                    let start = self.plan.layout.len(i);
                    planes.fill(shape, place.patch, input, &mut tile[start..]);
                }
                Layout::Panels { strip, channels } => {
                    let pixels = &input[place.patch.x..][..place.patch.columns];
                    tile::fill_panels(*strip, channels * strip, pixels, &mut tile[i * strip..]);
                }
            }
        }
    }

    /// Adds the products of a chunk's channels to the sums; stores the results after the last one.
    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, place: &Place<'_>, chunk: usize, tile: &[f32], sums: &mut [f32]) {
        let plan = self.plan;
        let taps = &plan.taps[..plan.chunk(chunk).len() * plan.kernel_taps()];
        let weights = &self.weights[plan.weights_at(place.group, chunk)..];
        let (block_len, last) = (plan.block * plan.strip, chunk + 1 == plan.chunks());
        let mut next = 0;
        for strip in &place.strips.strips {
            let mut inputs = [tile.as_ptr(); MOST_VECTORS];
            for (input, offset) in inputs.iter_mut().zip(strip.inputs) {
                *input = input.wrapping_add(offset as usize);
            }
            let inputs = &inputs[..strip.vectors];
            let run = if last { place.strips.one_run(strip, S::LANES) } else { None };
            for channel in place.channels.clone().step_by(plan.block) {
                let width = plan.width_of_block(channel);
                let weights = &weights[channel * taps.len()..][..width * taps.len()];
                let block = &mut sums[next..][..block_len];
                let channels = channel..place.channels.end.min(channel + width);
                let results = run.filter(|_| channels.len() == width);
                let results = results.map(|run| self.results::<S>(place, channels.start, run));
                // SAFETY: the slices have just been cut to what the block needs, and `Plan` has made the
                // tile long enough for a vector at every tap of every strip. A block that is one run has
                // as many pixels in each of its channels, and they are this task's alone.
                unsafe {
                    micro::accumulate(
                        simd,
                        width,
                        inputs,
                        taps,
                        weights.as_ptr(),
                        Sums { at: block.as_mut_ptr(), resume: chunk > 0, results },
                    )
                }
                if last {
                    self.finish_block(simd, place, channels, strip, results.is_none().then_some(&*block));
                }
                if plan.chunks() > 1 {
                    next += block_len;
                }
            }
        }
    }

    /// Where a block stores the results of the channels from `channel` on and of the pixels of `run`.
    #[inline(always)]
    fn results<S: Simd>(&self, place: &Place<'_>, channel: usize, run: Run) -> Results<'_> {
        let channel = place.group * self.plan.shape.group_outputs() + channel;
        Results {
            finish: &self.finish,
            output: self.output.0,
            at: self.plane(place, channel) + run.to as usize,
            plane: self.plan.shape.output[0] * self.plan.shape.output[1],
            channel,
            tail: (run.len as usize - 1) % S::LANES + 1,
        }
    }

    /// Where the runs of a patch count from in an output channel.
    fn plane(&self, place: &Place<'_>, channel: usize) -> usize {
        let shape = &self.plan.shape;
        let plane = place.image * shape.out_channels + channel;
        plane * shape.output[0] * shape.output[1] + place.patch.origin(shape)
    }

    /// Turns the sums of one register block into results, where they are not yet, and does what is left to
    /// be done to results.
    #[inline(always)]
    fn finish_block<S: Simd>(
        &self,
        simd: S,
        place: &Place<'_>,
        channels: Range<usize>,
        strip: &Strip,
        sums: Option<&[f32]>,
    ) {
        for (m, channel) in channels.enumerate() {
            let channel = place.group * self.plan.shape.group_outputs() + channel;
            let (plane, affine) = (self.plane(place, channel), self.finish.affine(simd, channel));
            let sums = sums.map(|sums| &sums[m * strip.vectors * S::LANES..]);
            for run in &place.strips.runs[strip.runs.clone()] {
                let (to, len) = (plane + run.to as usize, run.len as usize);
                // SAFETY: a strip's runs lie within its vectors of sums and within the patch, and no other
                // task writes this channel of this patch.
                unsafe {
                    for done in (0..len).step_by(S::LANES) {
                        let Some(sums) = sums else { break };
                        let lanes = S::LANES.min(len - done);
                        let sums = simd.load_partial(sums.as_ptr().add(run.from as usize + done), lanes);
                        self.finish.store(simd, sums, affine, [to + done, lanes], self.output.0);
                    }
                    self.finish.activate(simd, [to, len], self.output.0);
                }
            }
        }
    }
}
