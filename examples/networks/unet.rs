//! U-Net (Ronneberger et al. 2015, <https://arxiv.org/abs/1505.04597>), with the parameter names of the checkpoints
//! of <https://github.com/milesial/Pytorch-UNet>.

use sconce::prelude::*;

/// Two 3×3 convolutions, each with batch norm and ReLU.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, mid: usize = out_channels))]
pub struct DoubleConv(
    #[layer(in_channels, mid, 3, padding = 1, bias = false)] Conv2d,
    #[layer(mid)] BatchNorm,
    Relu,
    #[layer(mid, out_channels, 3, padding = 1, bias = false)] Conv2d,
    #[layer(out_channels)] BatchNorm,
    Relu,
);

/// Doubles height and width, then concatenates the skip connection. One of `upsample` and `up` is `None`, and a call to
/// it returns the input.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, bilinear: bool), forward = |x, skip| {
    let x = up(upsample(x));
    let (rows, columns) = (size_difference(&x, &skip, 2)?, size_difference(&x, &skip, 3)?);
    let x = pad(x, [columns / 2, columns - columns / 2, rows / 2, rows - rows / 2], "zeros");
    conv(cat([skip, x], 1))
})]
pub struct Up {
    #[layer(scale_factor = 2, mode = "bilinear", align_corners = true; if bilinear)]
    upsample: Option<Upsample>,
    #[layer(in_channels, in_channels / 2, 2, stride = 2; if !bilinear)]
    up: Option<ConvTranspose2d>,
    #[layer(in_channels, out_channels, mid = if bilinear { in_channels / 2 } else { out_channels })]
    #[module(rename = "conv.double_conv")]
    conv: DoubleConv,
}

/// Returns how much larger `skip` is than `x` on one axis. The sizes differ if the size of `skip` is odd, because max
/// pooling rounds half of it down.
fn size_difference(x: &Signal, skip: &Signal, dim: usize) -> Result<isize> {
    Ok(skip.dim(dim)? as isize - x.dim(dim)? as isize)
}

/// Maps images `[batch, channels, height, width]` to logits `[batch, classes, height, width]`.
#[derive(Module)]
#[module(
    args(channels: usize, classes: usize, bilinear: bool = false, width: usize = 64),
    forward = |x| {
        let mut x = inc(x);
        let mut skips = Vec::new();
        for down in downs {
            skips.push(x);
            x = down(max_pool2d(x, 2));
        }
        for (up, skip) in ups.iter().zip(skips.into_iter().rev()) {
            x = up(x, skip);
        }
        outc(x)
    },
)]
pub struct UNet {
    #[layer(channels, width)]
    #[module(rename = "inc.double_conv")]
    inc: DoubleConv,
    #[layer(width << i, if bilinear && i == 3 { width << i } else { width << (i + 1) }; for i in 0..4)]
    #[module(rename = "down{1..}.maxpool_conv.1.double_conv")]
    downs: Vec<DoubleConv>,
    #[layer(width << (i + 1), if bilinear && i > 0 { width << (i - 1) } else { width << i }, bilinear;
        for i in (0..4).rev())]
    #[module(rename = "up{1..}")]
    ups: Vec<Up>,
    #[layer(width, classes, 1)]
    #[module(rename = "outc.conv")]
    outc: Conv2d,
}

/// Returns the config of a U-Net that upsamples with transposed convolutions, for images with `channels` channels.
pub fn unet(channels: usize, classes: usize) -> UNetConfig {
    UNet::config(channels, classes)
}
