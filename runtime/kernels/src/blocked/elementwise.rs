//! Batch norm, activations and sums of blocked images: a pass each.

use super::Image;
use crate::activation::{Activation, activate, activate_all, stages};
use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Kernel, Simd, dispatch_loops, dispatch_to};
use candle_core::Result;

/// `activation(x · scale + shift)`, a number each a channel.
pub fn affine(x: &Image, scale: &[f32], shift: &[f32], activation: Activation) -> Result<Image> {
    let mut y = Image::new(x.arena(), x.dims())?;
    let (lanes, count, isa, pixels) = (x.lanes(), x.channel_blocks(), x.isa(), x.pixels());
    let [scale, shift] = [scale, shift].map(|numbers| padded(numbers, lanes * count));
    let rest = rest(x, activation);
    for_each_block(&mut y, |index, y| {
        let block = index % count * lanes;
        let x = &x.blocks()[index * pixels * lanes..][..y.len()];
        let [scale, shift] = [&scale, &shift].map(|numbers| &numbers[block..block + lanes]);
        dispatch_to(isa, Affine { x, y, scale, shift, activation });
        if index % count + 1 == count {
            clear(y, lanes, rest);
        }
    });
    Ok(y)
}

/// `activation(x)`
pub fn activated(x: &Image, activation: Activation) -> Result<Image> {
    let channels = x.dims()[1];
    affine(x, &vec![1.; channels], &vec![0.; channels], activation)
}

/// The sum of two images of one shape.
pub fn add(a: &Image, b: &Image) -> Result<Image> {
    let mut y = Image::new(a.arena(), a.dims())?;
    for_each_chunk(y.blocks_mut(), cost::PASS, |index, y| {
        let [a, b] = [a, b].map(|x| &x.blocks()[index * cost::PASS..][..y.len()]);
        dispatch_loops(Sum { a, b, y });
    });
    Ok(y)
}

/// Calls `run` with the pixels of every block of channels and its number.
fn for_each_block(y: &mut Image, run: impl Fn(usize, &mut [f32]) + Sync) {
    let len = y.pixels() * y.lanes();
    let blocks = (cost::PASS / len.max(1)).max(1);
    for_each_chunk(y.blocks_mut(), blocks * len, |task, y| {
        y.chunks_mut(len).enumerate().for_each(|(i, block)| run(task * blocks + i, block));
    });
}

/// From which lane on the last block has to be cleared: an activation may make something else of zero.
fn rest(x: &Image, activation: Activation) -> usize {
    let used = x.dims()[1] % x.lanes();
    if used == 0 || activation.value(0f32) == 0. { x.lanes() } else { used }
}

fn clear(block: &mut [f32], lanes: usize, from: usize) {
    if from < lanes {
        block.chunks_exact_mut(lanes).for_each(|pixel| pixel[from..].fill(0.));
    }
}

/// The numbers, and zeros for the lanes after the last channel.
fn padded(numbers: &[f32], len: usize) -> Vec<f32> {
    let mut padded = numbers.to_vec();
    padded.resize(len, 0.);
    padded
}

struct Affine<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    activation: Activation,
}

impl Kernel for Affine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        assert!(self.scale.len() == S::LANES && self.shift.len() == S::LANES && self.x.len() == self.y.len());
        let [before, after] = stages(self.activation);
        // SAFETY: a vector each, and whole vectors of as many elements in `x` as in `y`.
        unsafe {
            let (scale, shift) = (simd.load(self.scale.as_ptr()), simd.load(self.shift.as_ptr()));
            for at in (0..self.y.len() - self.y.len() % S::LANES).step_by(S::LANES) {
                let x = simd.fma(simd.load(self.x.as_ptr().add(at)), scale, shift);
                simd.store(self.y.as_mut_ptr().add(at), activate(simd, before, x));
            }
        }
        activate_all(simd, after, self.y);
    }
}

struct Sum<'a> {
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((y, a), b) in self.y.iter_mut().zip(self.a).zip(self.b) {
            *y = a + b;
        }
    }
}
