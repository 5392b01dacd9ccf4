//! Compares U-Net with candle's operations.

use sconce::prelude::*;

use crate::networks::unet::unet;
use crate::reference::{Weights, assert_agrees};

fn conv(w: &Weights, name: &str, x: &Tensor, padding: usize) -> Result<Tensor> {
    Ok(x.conv2d(&w.get(&format!("{name}.weight")), padding, 1, 1, 1)?)
}

fn double_conv(w: &Weights, name: &str, x: &Tensor) -> Result<Tensor> {
    let mut x = x.clone();
    for (conv_index, norm_index) in [(0, 1), (3, 4)] {
        x = conv(w, &format!("{name}.double_conv.{conv_index}"), &x, 1)?;
        x = w.batch_norm(&format!("{name}.double_conv.{norm_index}"), &x)?.relu()?;
    }
    Ok(x)
}

/// Computes max pooling with 2×2 windows as a maximum over two of six dimensions, because the gradient of
/// candle's max pooling is a quarter of the correct gradient.
fn max_pool_2x2(x: &Tensor) -> Result<Tensor> {
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
        x = double_conv(w, &format!("down{i}.maxpool_conv.1"), &max_pool_2x2(&x)?)?;
    }
    for i in 1..=4 {
        let skip = skips.pop().expect("every upsampling step should have a skip connection");
        let (_, _, rows, columns) = x.dims4()?;
        x = if bilinear {
            x.upsample_bilinear2d(2 * rows, 2 * columns, true)?
        } else {
            let bias = w.get(&format!("up{i}.up.bias")).reshape((1, (), 1, 1))?;
            let y = x.conv_transpose2d(&w.get(&format!("up{i}.up.weight")), 0, 0, 2, 1)?;
            y.broadcast_add(&bias)?
        };
        for dim in [2, 3] {
            let missing = skip.dim(dim)? - x.dim(dim)?;
            x = x.pad_with_zeros(dim, missing / 2, missing - missing / 2)?;
        }
        x = double_conv(w, &format!("up{i}.conv"), &Tensor::cat(&[skip, x], 1)?)?;
    }
    let bias = w.get("outc.conv.bias").reshape((1, (), 1, 1))?;
    Ok(conv(w, "outc.conv", &x, 0)?.broadcast_add(&bias)?)
}

/// Returns an input whose height is odd before some of the halvings, and whose width is even before all of them.
fn input() -> Result<Tensor> {
    Ok(Tensor::randn(0f32, 1., (2, 3, 37, 48), &Device::Cpu)?)
}

#[test]
fn learned_upsampling_agrees_with_candle() -> Result<()> {
    let network = unet(3, 2).width(4).init(&Device::Cpu)?;
    assert_agrees(network, &input()?, true, |network, x| network.forward(x), |w, x| reference(w, x, false))
}

/// Compares only the outputs, because candle's bilinear upsampling has no gradient.
#[test]
fn bilinear_upsampling_agrees_with_candle() -> Result<()> {
    let network = unet(3, 2).width(4).bilinear(true).init(&Device::Cpu)?;
    assert_agrees(network, &input()?, false, |network, x| network.forward(x), |w, x| reference(w, x, true))
}

#[test]
fn names_and_sizes_agree_with_the_published_checkpoint() -> Result<()> {
    let zeros = || sconce::nn::VarBuilder::zeros(DType::F32, &Device::Cpu);
    // PyTorch counts 31,037,698 parameters for UNet(3, 2) and 17,262,977 for UNet(3, 1, bilinear=True). A second class
    // adds 64 weights and a bias.
    let learned = unet(3, 2).build(zeros())?;
    assert_eq!(learned.num_parameters(), 31_037_698);
    assert_eq!(unet(3, 2).bilinear(true).build(zeros())?.num_parameters(), 17_262_977 + 65);
    let state = learned.state_dict();
    let keys: Vec<&str> = state.keys().collect();
    for key in ["inc.double_conv.0.weight", "down4.maxpool_conv.1.double_conv.4.running_var", "up1.up.weight"]
    {
        assert!(keys.contains(&key), "expected {key} in {keys:?}");
    }
    assert_eq!(keys[keys.len() - 2..], ["outc.conv.weight", "outc.conv.bias"]);
    Ok(())
}
