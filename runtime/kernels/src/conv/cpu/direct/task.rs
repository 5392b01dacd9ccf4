//! One task: some output channels of one patch of one image.

use super::micro::{self, MOST_VECTORS, Results, Sums};
use super::plan::{Place, Plan};
use super::strips::Strip;
use super::tile::{Layout, Tile};
use super::words::{self, Rows, Words};
use crate::conv::cpu::finish::Finish;
use crate::conv::cpu::{Output, Pixels};
use crate::memory::Scratch;
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// Some of a plan's tasks.
pub(super) struct Tasks<'a> {
    pub plan: &'a Plan,
    /// The tasks to run, by their number in the plan.
    pub indices: Range<usize>,
    pub input: Pixels<'a>,
    pub weights: &'a [f32],
    pub finish: Finish<'a>,
    pub output: Output,
}

/// Tasks of a plan whose words are pairs.
pub(super) struct Pairs<'a>(pub Tasks<'a>);

impl Kernel for Tasks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.run_all::<S, false>(simd);
    }
}

impl Kernel for Pairs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run_all::<S, true>(simd);
    }
}

impl Tasks<'_> {
    #[inline(always)]
    fn run_all<S: Simd, const PAIRS: bool>(&self, simd: S) {
        let mut scratch = Scratch::new([self.plan.tile_len, self.plan.sums_len, self.plan.rows_len]);
        let [tile, sums, rows] = scratch.slices();
        for index in self.indices.clone() {
            let place = self.plan.place(index);
            for chunk in 0..self.plan.chunks() {
                let pixels = self.pixels::<S, PAIRS>(simd, &place, chunk, tile, rows);
                self.multiply::<S, PAIRS>(simd, &place, chunk, pixels, sums);
            }
        }
    }

    /// The place that the taps of a chunk's input channels count from: in the tile, to which they are
    /// copied, or in the input.
    #[inline(always)]
    fn pixels<S: Simd, const PAIRS: bool>(
        &self,
        simd: S,
        place: &Place<'_>,
        chunk: usize,
        tile: &mut [f32],
        rows: &mut [f32],
    ) -> *const f32 {
        let channels = self.plan.chunk(chunk);
        match (&self.plan.layout, self.input) {
            (Layout::Tile(layout), _) => {
                for i in 0..channels.len() {
                    let to = tile[layout.len(i)..].as_mut_ptr();
                    let input = self.rows::<S, PAIRS>(simd, place, layout, channels.start + i, rows);
                    // SAFETY: these are the patch's rows, and the tile has a vector more than its channels.
                    unsafe { layout.fill(simd, &self.plan.shape, place.patch, input, to) }
                }
                tile.as_ptr()
            }
            (Layout::InPlace, Pixels::Single(input)) => {
                let plane = self.plan.shape.input[1];
                let first = self.first_channel(place) + channels.start;
                input[first * plane..][..channels.len() * plane].as_ptr().wrapping_add(place.patch.x)
            }
            (Layout::InPlace, Pixels::Half(..)) => unreachable!("halves are never read in place"),
        }
    }

    /// The first input channel of a group.
    #[inline(always)]
    fn first_channel(&self, place: &Place<'_>) -> usize {
        (place.image * self.plan.shape.geometry.groups + place.group) * self.plan.group_inputs
    }

    /// What a patch reads of one of the group's channels of words.
    #[inline(always)]
    fn rows<S: Simd, const PAIRS: bool>(
        &self,
        simd: S,
        place: &Place<'_>,
        layout: &Tile,
        channel: usize,
        rows: &mut [f32],
    ) -> Rows {
        let (shape, first) = (&self.plan.shape, self.first_channel(place));
        let (plane, width) = (shape.input[0] * shape.input[1], shape.input[1]);
        let channel = if PAIRS { 2 * channel } else { channel };
        if let (Words::Singles, Pixels::Single(input)) = (self.plan.words, self.input) {
            let first = input[(first + channel) * plane..][..plane].as_ptr();
            return Rows { first, pitch: width };
        }
        let window = layout.window(shape, place.patch, S::LANES);
        let rows = &mut rows[..window.words(S::LANES)];
        let source = self.input.source();
        let source = |channel: usize| source.at((first + channel) * plane);
        let odd = (PAIRS && channel + 1 < self.plan.group_inputs).then(|| source(channel + 1));
        // SAFETY: the channels are the group's, and the input has the window of each of them.
        unsafe { words::read::<S, PAIRS>(simd, source(channel), odd, &window, width, rows.as_mut_ptr()) }
    }

    /// Adds the products of a chunk's channels to the sums; stores the results after the last one.
    #[inline(always)]
    fn multiply<S: Simd, const PAIRS: bool>(
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
        let singles = match self.output {
            Output::Single(output) if at_once => Some(output),
            _ => None,
        };
        let mut next = 0;
        for strip in place.strips {
            let inputs: [_; MOST_VECTORS] =
                std::array::from_fn(|n| pixels.wrapping_add(strip.inputs[n] as usize));
            for channel in place.channels.clone().step_by(plan.block) {
                let width = plan.width_of_block(channel);
                let weights = &weights[channel * taps.len()..][..width * taps.len()];
                let block = &mut sums[next..][..block_len];
                let channels = channel..place.channels.end.min(channel + width);
                let singles = singles.filter(|_| strip.whole && channels.len() == width);
                let results = singles.map(|output| self.results(place, channels.start, strip, output));
                // SAFETY: the slices have just been cut to what the block needs. `Plan` has made the tile
                // long enough for a vector at every tap of every strip, and the input in place has a vector
                // from any of its pixels that a strip starts at. The results are this task's alone.
                unsafe {
                    micro::accumulate::<S, PAIRS>(
                        simd,
                        width,
                        &inputs[..strip.vectors],
                        taps,
                        weights.as_ptr(),
                        Sums { at: block.as_mut_ptr(), resume: chunk > 0, results },
                    )
                }
                if last && singles.is_none() {
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
    fn results<'a>(
        &'a self,
        place: &Place<'_>,
        channel: usize,
        strip: &'a Strip,
        output: *mut f32,
    ) -> Results<'a> {
        let channel = place.group * self.plan.shape.group_outputs() + channel;
        Results {
            affines: self.finish.affines(channel),
            output: output.wrapping_add(self.plane(place, channel)),
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
                    self.finish.store_activated(simd, sums, affine, [plane + at, lanes], self.output);
                }
            }
        }
    }
}
