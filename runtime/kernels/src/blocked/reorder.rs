//! From rows to blocks and back: `[channels, pixels]` to `[⌈channels / lanes⌉, pixels, lanes]`.

use crate::parallel::{SharedStart, cost, for_each, for_each_chunk};
use crate::simd::{Kernel, Simd, dispatch_loops};

/// Pixels that are moved at once: those of a block stay in the nearest cache meanwhile.
const RUN: usize = 256;

/// Writes planes `[batch, channels, height, width]` as blocks, zeros where a lane has no channel.
pub(super) fn to_blocks(planes: &[f32], blocks: &mut [f32], dims: [usize; 4], lanes: usize) {
    let [_, channels, height, width] = dims;
    let pixels = height * width;
    let count = channels.div_ceil(lanes);
    for_each_chunk(blocks, pixels * lanes, |index, block| {
        let (image, first) = (index / count, index % count * lanes);
        let present = lanes.min(channels - first);
        let planes = &planes[(image * channels + first) * pixels..][..present * pixels];
        dispatch_loops(Gather { planes, block, pixels, present, lanes });
    });
}

/// Calls `run` with every index below `count`, neighbours one after the other: each moves `len` elements.
fn for_each_run(count: usize, len: usize, run: &(dyn Fn(usize) + Sync)) {
    let tasks = cost::task_count(count * len, cost::TWO_PASSES).min(count);
    for_each(tasks, &|task| {
        (task * count / tasks..(task + 1) * count / tasks).for_each(run);
    });
}

/// Writes blocks as planes `[batch, channels, height, width]`.
pub(super) fn to_planes(blocks: &[f32], planes: &mut [f32], dims: [usize; 4], lanes: usize) {
    let [batch, channels, height, width] = dims;
    let pixels = height * width;
    let count = channels.div_ceil(lanes);
    let planes = SharedStart::of(planes);
    for_each_run(batch * count, pixels * lanes, &|index| {
        let (image, first) = (index / count, index % count * lanes);
        let present = lanes.min(channels - first);
        let block = &blocks[index * pixels * lanes..][..pixels * lanes];
        let start = planes.at((image * channels + first) * pixels);
        // SAFETY: the planes of this block's channels, which no other block has.
        let planes = unsafe { std::slice::from_raw_parts_mut(start, present * pixels) };
        dispatch_loops(Scatter { planes, block, pixels, present, lanes });
    });
}

struct Gather<'a> {
    planes: &'a [f32],
    block: &'a mut [f32],
    pixels: usize,
    present: usize,
    lanes: usize,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { planes, block, pixels, present, lanes } = self;
        for (run, block) in block.chunks_mut(RUN * lanes).enumerate() {
            for lane in 0..present {
                let plane = &planes[lane * pixels + run * RUN..][..block.len() / lanes];
                for (place, x) in block[lane..].iter_mut().step_by(lanes).zip(plane) {
                    *place = *x;
                }
            }
            for lane in present..lanes {
                block[lane..].iter_mut().step_by(lanes).for_each(|place| *place = 0.);
            }
        }
    }
}

struct Scatter<'a> {
    planes: &'a mut [f32],
    block: &'a [f32],
    pixels: usize,
    present: usize,
    lanes: usize,
}

impl Kernel for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { planes, block, pixels, present, lanes } = self;
        for (run, block) in block.chunks(RUN * lanes).enumerate() {
            for lane in 0..present {
                let plane = &mut planes[lane * pixels + run * RUN..][..block.len() / lanes];
                for (place, x) in plane.iter_mut().zip(block[lane..].iter().step_by(lanes)) {
                    *place = *x;
                }
            }
        }
    }
}
