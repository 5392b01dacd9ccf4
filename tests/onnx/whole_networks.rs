//! Exports the networks of `examples/networks`.

use sconce::IntoTensors;
use sconce::prelude::*;

use crate::models::{Tensors, uniform, write, write_with};
use crate::networks::{
    bert, convnext, deeplab, densenet, efficientnet, googlenet, gpt, mobilenet, mobilenet_v3, r2plus1d,
    resnet, squeezenet, swin, unet, vgg, vit,
};

/// Changes the running statistics of batch norms. With the initial variances, the activations of a deep network vanish.
fn change_running_statistics(network: &impl Network, variances: [f32; 2]) -> Result<()> {
    for (name, buffer) in network.buffers() {
        let range = match name.rsplit('.').next() {
            Some("running_var") => variances,
            Some("running_mean") => [-0.1, 0.1],
            _ => continue,
        };
        buffer.slice_set(&uniform(buffer.shape(), range)?, 0, 0)?;
    }
    Ok(())
}

/// A network for images or videos, and the images to which it is applied.
struct Case {
    name: &'static str,
    /// The shape of an image.
    shape: &'static [usize],
    /// The largest absolute value of the pixels.
    scale: f32,
    /// The range of the running variances of batch norms.
    variances: [f32; 2],
}

impl Case {
    fn new(name: &'static str) -> Self {
        Self { name, shape: &[3, 64, 64], scale: 2., variances: [0.1, 0.3] }
    }

    fn export<C>(self, config: C) -> Result<()>
    where
        C: Config,
        C::Output: Forward<Signal, Output: IntoTensors<Tensors: Tensors>> + Network,
    {
        sconce::manual_seed(0);
        sconce::set_exact(true);
        let network = config.init(&Device::Cpu)?;
        change_running_statistics(&network, self.variances)?;
        let images = |batch: usize| uniform([&[batch], self.shape].concat(), [-self.scale, self.scale]);
        let output = network.call(images(2)?.into(), Mode::Eval).into_tensors()?.tensors().remove(0);
        let difference = (output.get(0)? - output.get(1)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
        let largest = output.abs()?.max_all()?.to_scalar::<f32>()?;
        // Otherwise, a comparison of the outputs would not check the layers.
        assert!(difference > 1e-3 * largest, "{}: {difference} of {largest}", self.name);
        write("networks", self.name, &network, images)
    }
}

#[test]
fn convolution_networks() -> Result<()> {
    Case::new("resnet18").export(resnet::resnet18())?;
    Case::new("resnet50").export(resnet::resnet50())?;
    Case::new("mobilenet_v2").export(mobilenet::mobilenet_v2())?;
    Case::new("mobilenet_v3_large").export(mobilenet_v3::mobilenet_v3_large())?;
    Case::new("mobilenet_v3_small").export(mobilenet_v3::mobilenet_v3_small())?;
    Case { variances: [0.08, 0.25], ..Case::new("efficientnet_b0") }
        .export(efficientnet::efficientnet_b0())?;
    Case { variances: [0.2, 0.4], ..Case::new("efficientnet_v2_s") }
        .export(efficientnet::efficientnet_v2_s())?;
    Case::new("densenet121").export(densenet::densenet121())?;
    Case::new("convnext_tiny").export(convnext::convnext_tiny())?;
    Case::new("googlenet").export(googlenet::googlenet())?;
    Case { scale: 1e6, ..Case::new("squeezenet1_1") }.export(squeezenet::squeezenet1_1())?;
    Case::new("unet").export(unet::unet(3, 2))
}

#[test]
fn large_convolution_networks() -> Result<()> {
    Case::new("vgg16_bn").export(vgg::vgg16_bn())?;
    Case::new("deeplabv3_resnet50").export(deeplab::deeplabv3_resnet50())?;
    Case { shape: &[3, 4, 32, 32], ..Case::new("r2plus1d_18") }.export(r2plus1d::r2plus1d_18())
}

/// Returns token ids `[batch, length]`.
fn ids(batch: usize, length: usize, vocabulary: i64) -> Result<Tensor> {
    let ids = (0..(batch * length) as i64).map(|i| i * 7919 % vocabulary);
    Ok(Tensor::from_iter(ids, &Device::Cpu)?.reshape((batch, length))?)
}

#[test]
fn transformers() -> Result<()> {
    sconce::set_exact(true);
    Case { shape: &[3, 96, 96], ..Case::new("swin_t") }.export(swin::swin_t())?;
    Case::new("vit_s_16").export(vit::VisionTransformer::config(64, 16, 12, 6, 384, 1536))?;
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
