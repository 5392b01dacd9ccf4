//! Conversion between the layouts `Nchw` (each sample `[channels, pixels]`) and `Nchwc` (each sample
//! `[⌈channels / lanes⌉, pixels, lanes]`).

use crate::parallel::{SharedStart, cost, for_each, for_each_chunk};
use crate::simd::{Kernel, Simd, dispatch_loops};

/// The number of pixels that are copied together. All lanes of this many pixels fit in the L1 cache.
const PIXELS_AT_ONCE: usize = 256;

/// Converts `Nchw` to `Nchwc`. Lanes without a channel are set to zero.
pub(super) fn to_nchwc(nchw: &[f32], nchwc: &mut [f32], dims: [usize; 4], lanes: usize) {
    let [_, channels, height, width] = dims;
    let pixels = height * width;
    let blocks_per_sample = channels.div_ceil(lanes);
    for_each_chunk(nchwc, pixels * lanes, |index, block| {
        let (sample, first) = (index / blocks_per_sample, index % blocks_per_sample * lanes);
        let used_lanes = lanes.min(channels - first);
        let planes = &nchw[(sample * channels + first) * pixels..][..used_lanes * pixels];
        dispatch_loops(Gather { planes, block, pixels, used_lanes, lanes });
    });
}

/// Calls `run` with every index below `count`, in tasks of consecutive indices. The number of tasks follows from `len`,
/// the number of elements that one call of `run` copies.
fn for_each_channel_block(count: usize, len: usize, run: &(dyn Fn(usize) + Sync)) {
    // A copy with strides takes about as long as two copies without strides.
    let tasks = cost::task_count(count * len, cost::MIN_REREAD_ELEMENTS).min(count);
    for_each(tasks, &|task| {
        (task * count / tasks..(task + 1) * count / tasks).for_each(run);
    });
}

/// Converts `Nchwc` to `Nchw`.
pub(super) fn to_nchw(nchwc: &[f32], nchw: &mut [f32], dims: [usize; 4], lanes: usize) {
    let [batch, channels, height, width] = dims;
    let pixels = height * width;
    let blocks_per_sample = channels.div_ceil(lanes);
    let nchw = SharedStart::of(nchw);
    for_each_channel_block(batch * blocks_per_sample, pixels * lanes, &|index| {
        let (sample, first) = (index / blocks_per_sample, index % blocks_per_sample * lanes);
        let used_lanes = lanes.min(channels - first);
        let block = &nchwc[index * pixels * lanes..][..pixels * lanes];
        let start = nchw.at((sample * channels + first) * pixels);
        // SAFETY: `nchw` has `batch * channels` planes of `pixels` elements. The slice consists of the planes of this
        // block's `used_lanes` channels, which no other block accesses.
        let planes = unsafe { std::slice::from_raw_parts_mut(start, used_lanes * pixels) };
        dispatch_loops(Scatter { planes, block, pixels, used_lanes, lanes });
    });
}

/// Copies the planes of up to `lanes` channels to a block.
struct Gather<'a> {
    planes: &'a [f32],
    block: &'a mut [f32],
    pixels: usize,
    used_lanes: usize,
    lanes: usize,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { planes, block, pixels, used_lanes, lanes } = self;
        for (index, block) in block.chunks_mut(PIXELS_AT_ONCE * lanes).enumerate() {
            for lane in 0..used_lanes {
                let plane = &planes[lane * pixels + index * PIXELS_AT_ONCE..][..block.len() / lanes];
                for (element, x) in block[lane..].iter_mut().step_by(lanes).zip(plane) {
                    *element = *x;
                }
            }
            for lane in used_lanes..lanes {
                block[lane..].iter_mut().step_by(lanes).for_each(|element| *element = 0.);
            }
        }
    }
}

/// Copies a block to the planes of its channels.
struct Scatter<'a> {
    planes: &'a mut [f32],
    block: &'a [f32],
    pixels: usize,
    used_lanes: usize,
    lanes: usize,
}

impl Kernel for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { planes, block, pixels, used_lanes, lanes } = self;
        for (index, block) in block.chunks(PIXELS_AT_ONCE * lanes).enumerate() {
            for lane in 0..used_lanes {
                let plane = &mut planes[lane * pixels + index * PIXELS_AT_ONCE..][..block.len() / lanes];
                for (element, x) in plane.iter_mut().zip(block[lane..].iter().step_by(lanes)) {
                    *element = *x;
                }
            }
        }
    }
}
