//! Blocked images one behind the other along their channels.

use super::Image;
use crate::parallel::for_each_chunk;
use candle_core::{Result, bail};
use std::sync::Arc;

/// The channels of all images, which are alike in everything else.
///
/// # Errors
/// There is none, or there is no memory.
pub fn cat_channels(images: &[Arc<Image>]) -> Result<Image> {
    let Some(first) = images.first() else { bail!("cat of no images") };
    let [batch, _, height, width] = first.dims();
    let channels = images.iter().map(|image| image.dims()[1]).sum();
    let mut y = Image::new(first.arena(), [batch, channels, height, width])?;
    let (lanes, count, len) = (y.lanes(), y.channel_blocks(), y.pixels() * y.lanes());
    for_each_chunk(y.blocks_mut(), len, |index, block| {
        let (of, wanted) = (index / count, index % count * lanes..channels.min((index % count + 1) * lanes));
        if wanted.len() < lanes {
            block.fill(0.);
        }
        let mut start = 0;
        for image in images {
            let end = start + image.dims()[1];
            let some = wanted.start.max(start)..wanted.end.min(end);
            if !some.is_empty() {
                copy(image, of, some.start - start, some.len(), &mut block[some.start - wanted.start..]);
            }
            start = end;
        }
    });
    Ok(y)
}

/// Copies `count` channels from `channel` on of one image of a batch to the same lanes of every pixel.
fn copy(image: &Image, of: usize, channel: usize, count: usize, block: &mut [f32]) {
    let (lanes, len) = (image.lanes(), image.pixels() * image.lanes());
    let mut done = 0;
    while done < count {
        let (from, lane) = ((channel + done) / lanes, (channel + done) % lanes);
        let some = (lanes - lane).min(count - done);
        let x = &image.blocks()[(of * image.channel_blocks() + from) * len..][..len];
        if some == lanes && block.len() == len {
            block.copy_from_slice(x);
        } else {
            for (y, x) in block[done..].chunks_mut(lanes).zip(x[lane..].chunks(lanes)) {
                y[..some].copy_from_slice(&x[..some]);
            }
        }
        done += some;
    }
}
