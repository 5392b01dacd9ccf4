//! One task: some output channels of one patch of one image.

use super::finish::Finish;
use super::micro::{self, MOST_VECTORS, Results, Sums};
use super::plan::{Place, Plan};
use super::scratch::Scratch;
use super::strips::{Run, Strip};
use super::tile::{self, Layout};
use crate::kernels::activation::Activation;
use crate::kernels::simd::{Kernel, Simd};
use std::ops::Range;

/// The output's first element. The tasks of one plan write disjoint elements.
#[derive(Clone, Copy)]
pub(super) struct Output(pub *mut f32);

// SAFETY: the tasks that share it write disjoint elements and read none.
unsafe impl Send for Output {}
unsafe impl Sync for Output {}

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
            let whole = if last { self.whole_run::<S>(place, strip) } else { None };
            for channel in place.channels.clone().step_by(plan.block) {
                let width = plan.width_of_block(channel);
                let weights = &weights[channel * taps.len()..][..width * taps.len()];
                let block = &mut sums[next..][..block_len];
                let channels = channel..place.channels.end.min(channel + width);
                let results = whole.filter(|_| channels.len() == width);
                let results = results.map(|run| self.results(place, channels.clone(), run));
                // SAFETY: the slices have just been cut to what the block needs, and `Plan` has made the
                // tile long enough for a vector at every tap of every strip. A run that is whole has as
                // many pixels as the block in each of its channels, and they are this task's alone.
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
                if last && results.is_none() {
                    self.finish_block(simd, place, channels, strip, block);
                }
                if plan.chunks() > 1 {
                    next += block_len;
                }
            }
        }
    }

    /// The place in the output of a strip whose pixels all follow one another there, where a bias and a
    /// ReLU are all there is to do.
    #[inline(always)]
    fn whole_run<S: Simd>(&self, place: &Place<'_>, strip: &Strip) -> Option<usize> {
        match place.strips.runs[strip.runs.clone()] {
            [Run { from: 0, to, len }] if len as usize == strip.vectors * S::LANES => {
                self.finish.is_bias_and_relu().then_some(to as usize)
            }
            _ => None,
        }
    }

    /// Where a block stores the results of `channels` and the pixels from `run` on.
    #[inline(always)]
    fn results(&self, place: &Place<'_>, channels: Range<usize>, run: usize) -> Results<'_> {
        let shape = &self.plan.shape;
        let channel = place.group * shape.group_outputs() + channels.start;
        let pixels = shape.output[0] * shape.output[1];
        let first = (place.image * shape.out_channels + channel) * pixels + place.patch.origin(shape) + run;
        Results {
            output: self.output.0.wrapping_add(first),
            plane: pixels,
            shift: self.finish.shift.map_or(&[], |shift| &shift[channel..][..channels.len()]),
            relu: self.finish.activation == Activation::Relu,
        }
    }

    /// Turns the sums of one register block into results.
    #[inline(always)]
    fn finish_block<S: Simd>(
        &self,
        simd: S,
        place: &Place<'_>,
        channels: Range<usize>,
        strip: &Strip,
        sums: &[f32],
    ) {
        let shape = &self.plan.shape;
        let pixels = shape.output[0] * shape.output[1];
        let runs = &place.strips.runs[strip.runs.clone()];
        for (m, channel) in channels.enumerate() {
            let channel = place.group * shape.group_outputs() + channel;
            let plane = (place.image * shape.out_channels + channel) * pixels + place.patch.origin(shape);
            let sums = &sums[m * strip.vectors * S::LANES..];
            // SAFETY: the runs of a strip lie within its vectors of sums and within the patch, and no
            // other task writes this channel of this patch.
            unsafe { self.finish.store(simd, sums.as_ptr(), runs, channel, plane, self.output.0) };
        }
    }
}
