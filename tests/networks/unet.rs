//! U-Net against candle's convolutions, pooling and upsampling.

use sconce::prelude::*;

use crate::networks::unet::unet;
use crate::reference::{Weights, agree};

fn conv(w: &Weights, name: &str, x: &Tensor, padding: usize) -> Result<Tensor> {
    Ok(x.conv2d(&w.get(&format!("{name}.weight")), padding, 1, 1, 1)?)
}

fn double_conv(w: &Weights, name: &str, x: &Tensor) -> Result<Tensor> {
    let mut x = x.clone();
    for (conv_at, norm_at) in [(0, 1), (3, 4)] {
        x = conv(w, &format!("{name}.double_conv.{conv_at}"), &x, 1)?;
        x = w.batch_norm(&format!("{name}.double_conv.{norm_at}"), &x)?.relu()?;
    }
    Ok(x)
}

/// The largest of each 2×2, as a maximum over two dimensions of six: candle's own pooling has a quarter of
/// the gradient.
fn halved(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, rows, columns) = x.dims4()?;
    let x = x.narrow(2, 0, rows / 2 * 2)?.narrow(3, 0, columns / 2 * 2)?;
    let x = x.contiguous()?.reshape((batch, channels, rows / 2, 2, columns / 2, 2))?;
    Ok(x.max(5)?.max(3)?)
}

fn reference(w: &Weights, x: &Tensor, bilinear: bool) -> Result<Tensor> {
    let mut x = double_conv(w, "inc", x)?;
    let mut skips = Vec::new();
    for i in 1..=4 {
        skips.push(x.clone());
        x = double_conv(w, &format!("down{i}.maxpool_conv.1"), &halved(&x)?)?;
    }
    for i in 1..=4 {
        let skip = skips.pop().expect("as many up as down");
        let (_, _, rows, columns) = x.dims4()?;
        x = match bilinear {
            true => x.upsample_bilinear2d(2 * rows, 2 * columns, true)?,
            false => {
                let bias = w.get(&format!("up{i}.up.bias")).reshape((1, (), 1, 1))?;
                let y = x.conv_transpose2d(&w.get(&format!("up{i}.up.weight")), 0, 0, 2, 1)?;
                y.broadcast_add(&bias)?
            }
        };
        for dim in [2, 3] {
            let lack = skip.dim(dim)? - x.dim(dim)?;
            x = x.pad_with_zeros(dim, lack / 2, lack - lack / 2)?;
        }
        x = double_conv(w, &format!("up{i}.conv"), &Tensor::cat(&[skip, x], 1)?)?;
    }
    let bias = w.get("outc.conv.bias").reshape((1, (), 1, 1))?;
    Ok(conv(w, "outc.conv", &x, 0)?.broadcast_add(&bias)?)
}

/// Rows that halve to an odd number four times, columns that halve evenly.
fn input() -> Result<Tensor> {
    Ok(Tensor::randn(0f32, 1., (2, 3, 37, 48), &Device::Cpu)?)
}

#[test]
fn learned_upsampling_as_candle() -> Result<()> {
    let network = unet(3, 2).width(4).init(&Device::Cpu)?;
    agree(network, &input()?, true, |network, x| network.forward(x), |w, x| reference(w, x, false))
}

/// candle's bilinear upsampling has no gradient to compare with.
#[test]
fn bilinear_upsampling_as_candle() -> Result<()> {
    let network = unet(3, 2).width(4).bilinear(true).init(&Device::Cpu)?;
    agree(network, &input()?, false, |network, x| network.forward(x), |w, x| reference(w, x, true))
}

#[test]
fn the_published_names_and_sizes() -> Result<()> {
    let zeros = || sconce::nn::VarBuilder::zeros(DType::F32, &Device::Cpu);
    // As counted by PyTorch for UNet(3, 2) and UNet(3, 2, bilinear=True).
    let learned = unet(3, 2).build(zeros())?;
    assert_eq!(learned.num_parameters(), 31_037_698);
    assert_eq!(unet(3, 2).bilinear(true).build(zeros())?.num_parameters(), 17_262_977 + 65);
    let state = learned.state_dict();
    let keys: Vec<&str> = state.keys().collect();
    for key in ["inc.double_conv.0.weight", "down4.maxpool_conv.1.double_conv.4.running_var", "up1.up.weight"]
    {
        assert!(keys.contains(&key), "no {key} in {keys:?}");
    }
    assert_eq!(keys[keys.len() - 2..], ["outc.conv.weight", "outc.conv.bias"]);
    Ok(())
}
