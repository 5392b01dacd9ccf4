//! Concatenation of channel-blocked activations along the channels.

use std::sync::Arc;

use candle_core::{Result, bail};

use crate::parallel::for_each_chunk;

use super::BlockedTensor;

/// Concatenates activations along the channels. Their other dimensions must be equal.
///
/// # Errors
/// Fails if `activations` is empty, or there is not enough memory.
pub fn cat_channels(activations: &[Arc<BlockedTensor>]) -> Result<BlockedTensor> {
    let Some(first) = activations.first() else { bail!("expected at least one activation to concatenate") };
    let [batch, _, height, width] = first.dims();
    let channels = activations.iter().map(|activation| activation.dims()[1]).sum();
    let mut y = BlockedTensor::new(first.arena(), [batch, channels, height, width])?;
    let (lanes, blocks_per_sample, len) = (y.lanes(), y.channel_blocks(), y.pixels() * y.lanes());
    for_each_chunk(y.blocks_mut(), len, |index, block| {
        let sample = index / blocks_per_sample;
        let block_channels =
            index % blocks_per_sample * lanes..channels.min((index % blocks_per_sample + 1) * lanes);
        if block_channels.len() < lanes {
            block.fill(0.);
        }
        let mut start = 0;
        for activation in activations {
            let end = start + activation.dims()[1];
            let overlap = block_channels.start.max(start)..block_channels.end.min(end);
            if !overlap.is_empty() {
                let destination = &mut block[overlap.start - block_channels.start..];
                copy(activation, sample, overlap.start - start, overlap.len(), destination);
            }
            start = end;
        }
    });
    Ok(y)
}

/// Copies the channels `channel..channel + count` of one sample to a block of channels, in consecutive lanes of every
/// pixel. `destination` is the part of the block that begins at the first of these lanes in the first pixel.
fn copy(activation: &BlockedTensor, sample: usize, channel: usize, count: usize, destination: &mut [f32]) {
    let (lanes, len) = (activation.lanes(), activation.pixels() * activation.lanes());
    let mut done = 0;
    while done < count {
        let (block, lane) = ((channel + done) / lanes, (channel + done) % lanes);
        let copied = (lanes - lane).min(count - done);
        let x = &activation.blocks()[(sample * activation.channel_blocks() + block) * len..][..len];
        if copied == lanes && destination.len() == len {
            destination.copy_from_slice(x);
        } else {
            for (y, x) in destination[done..].chunks_mut(lanes).zip(x[lane..].chunks(lanes)) {
                y[..copied].copy_from_slice(&x[..copied]);
            }
        }
        done += copied;
    }
}
