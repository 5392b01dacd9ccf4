//! Pixel shuffle: rearranges channels into pixels and back. Channel shuffle: interleaves groups of channels.

use candle_core::Tensor;

use crate::graph::Op;
use crate::signal::{Batch, LeadingOf, Signal};
use crate::{Error, Result};

/// Rearranges `[…, channels · r², height, width]` to `[…, channels, height · r, width · r]` with
/// r = `upscale_factor`: r² channels become a square of r × r pixels. See Shi et al. 2016. The output is a failed
/// signal if r² does not divide the channels.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 2., 3., 4.], &Device::Cpu)?.reshape((4, 1, 1))?;
/// let y = pixel_shuffle(&x, 2).into_tensor()?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[1., 2.], [3., 4.]]]);
/// # Ok(())
/// # }
/// ```
pub fn pixel_shuffle(x: impl Into<Signal>, upscale_factor: usize) -> Signal {
    x.into().apply(("pixel_shuffle", Op::PixelShuffle { factor: upscale_factor }), LeadingOf(3), |x| {
        shuffle(&x, upscale_factor)
    })
}

/// Rearranges `[…, channels, height · r, width · r]` to `[…, channels · r², height, width]` with
/// r = `downscale_factor`. This is the inverse of [`pixel_shuffle`]. The output is a failed signal if r does not divide
/// the height and the width.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 2.], [3., 4.]]], &Device::Cpu)?;
/// let y = pixel_unshuffle(&x, 2).into_tensor()?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[1.]], [[2.]], [[3.]], [[4.]]]);
/// # Ok(())
/// # }
/// ```
pub fn pixel_unshuffle(x: impl Into<Signal>, downscale_factor: usize) -> Signal {
    x.into().apply(("pixel_unshuffle", Op::PixelUnshuffle { factor: downscale_factor }), LeadingOf(3), |x| {
        unshuffle(&x, downscale_factor)
    })
}

/// Divides the channels of `[batch, channels, …]` into `groups` groups and interleaves the groups: channel `j` of group
/// `i` becomes channel `i + j · groups`. See Zhang et al. 2017 (ShuffleNet). The output is a failed signal if `groups`
/// does not divide the channels, or if `x` has fewer than three dimensions.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32], [2.], [3.], [4.]]], &Device::Cpu)?;
/// let y = channel_shuffle(&x, 2).into_tensor()?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[1.], [3.], [2.], [4.]]]);
/// # Ok(())
/// # }
/// ```
pub fn channel_shuffle(x: impl Into<Signal>, groups: usize) -> Signal {
    x.into().apply(("channel_shuffle", Op::ChannelShuffle { groups }), Batch, |x| interleave(&x, groups))
}

fn interleave(x: &Tensor, groups: usize) -> Result<Tensor> {
    let dims = x.dims();
    let [batch, channels, _, ..] = *dims else {
        return Err(Error::msg(format!(
            "channel_shuffle: expected an input [batch, channels, …] with at least three dimensions, found {dims:?}"
        )));
    };
    if groups == 0 || channels % groups != 0 {
        return Err(Error::msg(format!(
            "channel_shuffle: expected channels divisible by groups = {groups}, found {channels} (input {dims:?})"
        )));
    }
    let parts = x.reshape((batch, groups, channels / groups, dims[2..].iter().product::<usize>()))?;
    Ok(parts.transpose(1, 2)?.reshape(dims)?)
}

fn shuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (leading, [channels, height, width]) = split_dims("pixel_shuffle", x)?;
    let out_channels = match factor.checked_mul(factor) {
        Some(square) if square > 0 && channels % square == 0 => channels / square,
        _ => {
            return Err(Error::msg(format!(
                "pixel_shuffle: expected channels divisible by upscale_factor² = {factor}², found {channels} \
                 (input {:?})",
                x.dims()
            )));
        }
    };
    let parts = x.reshape(&[leading.iter().product(), out_channels, factor, factor, height, width])?;
    let shape = [leading, &[out_channels, height * factor, width * factor]].concat();
    Ok(parts.permute([0, 1, 4, 2, 5, 3])?.reshape(shape)?)
}

fn unshuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (leading, [channels, height, width]) = split_dims("pixel_unshuffle", x)?;
    if factor == 0 || height % factor != 0 || width % factor != 0 {
        return Err(Error::msg(format!(
            "pixel_unshuffle: expected a height and width divisible by downscale_factor = {factor}, found \
             {height} and {width} (input {:?})",
            x.dims()
        )));
    }
    let rows = height / factor;
    let columns = width / factor;
    let parts = x.reshape(&[leading.iter().product(), channels, rows, factor, columns, factor])?;
    let shape = [leading, &[channels * factor * factor, rows, columns]].concat();
    Ok(parts.permute([0, 1, 3, 5, 2, 4])?.reshape(shape)?)
}

/// Splits the dimensions into the leading ones and `[channels, height, width]`.
fn split_dims<'a>(name: &str, x: &'a Tensor) -> Result<(&'a [usize], [usize; 3])> {
    match x.dims() {
        [leading @ .., channels, height, width] => Ok((leading, [*channels, *height, *width])),
        dims => {
            Err(Error::msg(format!("{name}: expected an input [channels, height, width], found {dims:?}")))
        }
    }
}
