//! Exports the networks of `examples/networks`.

use sconce::prelude::*;

use crate::cases::{Tensors, write, write_with};
use crate::networks::{
    bert, convnext, deeplab, densenet, efficientnet, googlenet, gpt, mobilenet, mobilenet_v3, r2plus1d,
    resnet, squeezenet, swin, unet, vgg, vit,
};

fn images(side: usize) -> impl Fn(usize) -> Result<Tensor> {
    move |batch| Ok(Tensor::randn(0f32, 1., (batch, 3, side, side), &Device::Cpu)?)
}

/// Exports a network for images of this size.
fn export<C>(name: &str, config: C, side: usize) -> Result<()>
where
    C: Config,
    C::Output: Forward<Signal, Output: sconce::IntoTensors<Tensors: Tensors>> + Network,
{
    sconce::manual_seed(0);
    sconce::set_exact(true);
    write("networks", name, &config.init(&Device::Cpu)?, images(side))
}

#[test]
fn convolution_networks() -> Result<()> {
    export("resnet18", resnet::resnet18(), 64)?;
    export("resnet50", resnet::resnet50(), 64)?;
    export("mobilenet_v2", mobilenet::mobilenet_v2(), 64)?;
    export("mobilenet_v3_large", mobilenet_v3::mobilenet_v3_large(), 64)?;
    export("mobilenet_v3_small", mobilenet_v3::mobilenet_v3_small(), 64)?;
    export("efficientnet_b0", efficientnet::efficientnet_b0(), 64)?;
    export("efficientnet_v2_s", efficientnet::efficientnet_v2_s(), 64)?;
    export("densenet121", densenet::densenet121(), 64)?;
    export("convnext_tiny", convnext::convnext_tiny(), 64)?;
    export("googlenet", googlenet::googlenet(), 64)?;
    export("squeezenet1_1", squeezenet::squeezenet1_1(), 64)?;
    export("unet", unet::unet(3, 2), 64)
}

#[test]
fn large_convolution_networks() -> Result<()> {
    export("vgg16_bn", vgg::vgg16_bn(), 64)?;
    export("deeplabv3_resnet50", deeplab::deeplabv3_resnet50(), 64)?;
    sconce::set_exact(true);
    let video = |batch| Ok(Tensor::randn(0f32, 1., (batch, 3, 4, 32, 32), &Device::Cpu)?);
    write("networks", "r2plus1d_18", &r2plus1d::r2plus1d_18().init(&Device::Cpu)?, video)
}

/// Returns token ids `[batch, length]`.
fn ids(batch: usize, length: usize, vocabulary: i64) -> Result<Tensor> {
    let ids = (0..(batch * length) as i64).map(|i| i * 7919 % vocabulary);
    Ok(Tensor::from_iter(ids, &Device::Cpu)?.reshape((batch, length))?)
}

#[test]
fn transformers() -> Result<()> {
    sconce::set_exact(true);
    export("swin_t", swin::swin_t(), 96)?;
    export("vit_s_16", vit::VisionTransformer::config(64, 16, 12, 6, 384, 1536), 64)?;
    let gpt = gpt::Gpt::config().vocabulary(1000).positions(64).depth(4).init(&Device::Cpu)?;
    write("networks", "gpt2", &gpt, |batch| ids(batch, 20, 1000))?;
    let bert = bert::bert_base_uncased().vocabulary(1000).depth(4).init(&Device::Cpu)?;
    let inputs = |batch| {
        let visible = (0..batch * 20).map(|i| u8::from(i % 20 < 20 - i / 20));
        let mask = Tensor::from_iter(visible, &Device::Cpu)?.reshape((batch, 20))?;
        Ok([ids(batch, 20, 1000)?, mask])
    };
    write_with("networks", "bert", &bert, inputs, |[ids, mask]| (ids, None::<Signal>, Some(mask)))
}
