//! One task: some output channels of one patch of one image.

use super::micro::{self, MOST_VECTORS, Results, Sums};
use super::plan::{Place, Plan};
use super::scratch::Scratch;
use super::strips::Strip;
use super::tile::Layout;
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
                let pixels = self.pixels(simd, &place, chunk, tile);
                self.multiply(simd, &place, chunk, pixels, sums);
            }
        }
        scratch.put_back();
    }
}

impl Tasks<'_> {
    /// The place that the taps of a chunk's input channels count from: in the tile, to which they are
    /// copied, or in the input.
    #[inline(always)]
    fn pixels<S: Simd>(&self, simd: S, place: &Place<'_>, chunk: usize, tile: &mut [f32]) -> *const f32 {
        let shape = &self.plan.shape;
        let plane = shape.input[0] * shape.input[1];
        let channels = self.plan.chunk(chunk);
        let first = place.image * shape.in_channels + place.group * shape.group_inputs() + channels.start;
        let input = &self.input[first * plane..][..channels.len() * plane];
        match &self.plan.layout {
            Layout::InPlace => input.as_ptr().wrapping_add(place.patch.x),
            Layout::Tile(layout) => {
                for i in 0..channels.len() {
                    let to = tile[layout.len(i)..].as_mut_ptr();
                    // SAFETY: channel `i` is in the input, and the tile has a vector more than its channels.
                    unsafe { layout.fill(simd, shape, place.patch, input.as_ptr().add(i * plane), to) }
                }
                tile.as_ptr()
            }
        }
    }

    /// Adds the products of a chunk's channels to the sums; stores the results after the last one.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        place: &Place<'_>,
        chunk: usize,
        pixels: *const f32,
        sums: &mut [f32],
    ) {
        let plan = self.plan;
        let taps = &plan.taps[..plan.chunk(chunk).len() * plan.kernel_taps()];
        let weights = &self.weights[plan.weights_at(place.group, chunk)..];
        let (block_len, last) = (plan.block * plan.strip, chunk + 1 == plan.chunks());
        let at_once = last && self.finish.is_bounded() && self.finish.residual.is_none();
        let mut next = 0;
        for strip in place.strips {
            let inputs: [_; MOST_VECTORS] =
                std::array::from_fn(|n| pixels.wrapping_add(strip.inputs[n] as usize));
            for channel in place.channels.clone().step_by(plan.block) {
                let width = plan.width_of_block(channel);
                let weights = &weights[channel * taps.len()..][..width * taps.len()];
                let block = &mut sums[next..][..block_len];
                let channels = channel..place.channels.end.min(channel + width);
                let at_once = at_once && strip.whole && channels.len() == width;
                let results = at_once.then(|| self.results(place, channels.start, strip));
                // SAFETY: the slices have just been cut to what the block needs. `Plan` has made the tile
                // long enough for a vector at every tap of every strip, and the input in place has a vector
                // from any of its pixels that a strip starts at. The results are this task's alone.
                unsafe {
                    micro::accumulate(
                        simd,
                        width,
                        &inputs[..strip.vectors],
                        taps,
                        weights.as_ptr(),
                        Sums { at: block.as_mut_ptr(), resume: chunk > 0, results },
                    )
                }
                if last && !at_once {
                    self.finish_block(simd, place, channels, strip, block);
                }
                if plan.chunks() > 1 {
                    next += block_len;
                }
            }
        }
    }

    /// Where a block stores the results of the channels from `channel` on and of the pixels of `strip`.
    #[inline(always)]
    fn results<'a>(&'a self, place: &Place<'_>, channel: usize, strip: &'a Strip) -> Results<'a> {
        let channel = place.group * self.plan.shape.group_outputs() + channel;
        Results {
            affines: self.finish.affines(channel),
            output: self.output.0.wrapping_add(self.plane(place, channel)),
            pixels: &strip.outputs,
            plane: self.plan.shape.output[0] * self.plan.shape.output[1],
        }
    }

    /// Where the pixels of a patch count from in an output channel.
    #[inline(always)]
    fn plane(&self, place: &Place<'_>, channel: usize) -> usize {
        let shape = &self.plan.shape;
        let plane = place.image * shape.out_channels + channel;
        plane * shape.output[0] * shape.output[1] + place.patch.origin(shape)
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
        let mut sums = sums.chunks_exact(S::LANES);
        for channel in channels {
            let channel = place.group * self.plan.shape.group_outputs() + channel;
            let plane = self.plane(place, channel);
            // SAFETY: the channel is one of the output.
            let affine = unsafe { self.finish.affines(channel).get(simd, 0) };
            for (n, sums) in sums.by_ref().take(strip.vectors).enumerate() {
                let [at, lanes] = [strip.outputs[n], strip.lanes[n]].map(|x| x as usize);
                // SAFETY: the chunk is a vector; the strip's pixels lie within the patch, and no other task
                // writes this channel of it.
                unsafe {
                    let sums = simd.load(sums.as_ptr());
                    self.finish.store_activated(simd, sums, affine, [plane + at, lanes], self.output.0);
                }
            }
        }
    }
}
