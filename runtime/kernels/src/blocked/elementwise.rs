//! Batch norm and activation functions on channel-blocked tensors, in one pass each.

use candle_core::Result;

use crate::activation::{Activation, activate, activate_all, stages};
use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Kernel, Simd, dispatch_to};

use super::BlockedTensor;

/// Returns `activation(x · scale + shift)`, with one scale and one shift for each channel.
///
/// # Errors
/// Fails if there is not enough memory.
pub fn affine(
    x: &BlockedTensor,
    scale: &[f32],
    shift: &[f32],
    activation: Activation,
) -> Result<BlockedTensor> {
    let mut y = BlockedTensor::new(x.arena(), x.dims())?;
    let (lanes, blocks_per_sample, isa, pixels) = (x.lanes(), x.channel_blocks(), x.isa(), x.pixels());
    let [scale, shift] = [scale, shift].map(|values| padded(values, lanes * blocks_per_sample));
    let padding = first_padding_lane(x, activation);
    for_each_channel_block(&mut y, |index, y| {
        let first_channel = index % blocks_per_sample * lanes;
        let x = &x.blocks()[index * pixels * lanes..][..y.len()];
        let [scale, shift] = [&scale, &shift].map(|values| &values[first_channel..first_channel + lanes]);
        dispatch_to(isa, Affine { x, y, scale, shift, activation });
        if index % blocks_per_sample + 1 == blocks_per_sample {
            clear(y, lanes, padding);
        }
    });
    Ok(y)
}

/// Returns `activation(x)`.
///
/// # Errors
/// Fails if there is not enough memory.
pub fn activated(x: &BlockedTensor, activation: Activation) -> Result<BlockedTensor> {
    let channels = x.dims()[1];
    affine(x, &vec![1.; channels], &vec![0.; channels], activation)
}

/// Calls `run(index, block)` for every block of channels.
fn for_each_channel_block(y: &mut BlockedTensor, run: impl Fn(usize, &mut [f32]) + Sync) {
    let len = y.pixels() * y.lanes();
    let blocks = (cost::MIN_ELEMENTS / len.max(1)).max(1);
    for_each_chunk(y.blocks_mut(), blocks * len, |task, y| {
        y.chunks_mut(len).enumerate().for_each(|(i, block)| run(task * blocks + i, block));
    });
}

/// Returns the first lane to set to zero in the last block of channels, or the number of lanes if there is none. The
/// lanes after the last channel must be set to zero if the activation does not map zero to zero.
fn first_padding_lane(x: &BlockedTensor, activation: Activation) -> usize {
    let used = x.dims()[1] % x.lanes();
    if used == 0 || activation.value(0f32) == 0. { x.lanes() } else { used }
}

/// Sets the lanes `first..lanes` of every pixel to zero.
pub(super) fn clear(block: &mut [f32], lanes: usize, first: usize) {
    if first < lanes {
        block.chunks_exact_mut(lanes).for_each(|pixel| pixel[first..].fill(0.));
    }
}

/// Returns the values, followed by zeros up to the length `len`.
fn padded(values: &[f32], len: usize) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(len, 0.);
    padded
}

/// Computes [`affine`] for one block of channels.
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
        // SAFETY: `scale` and `shift` have `S::LANES` elements, `x` and `y` have equal lengths (asserted above), and
        // `at + S::LANES` is at most that length.
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
