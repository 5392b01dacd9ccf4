//! Whole networks on signals without numbers: the shapes of the outputs.

use sconce::prelude::*;

use crate::networks::{
    bert, convnext, deeplab, densenet, efficientnet, googlenet, gpt, mobilenet, mobilenet_v3, r2plus1d,
    resnet, squeezenet, swin, unet, vgg, vit,
};

/// Checks the shape of the output of a network in both modes.
fn check<C>(config: C, input: &[usize], output: &[usize]) -> Result<()>
where
    C: Config<Output: Forward<Signal, Output = Signal>>,
{
    let network = config.meta()?;
    for mode in [Mode::Eval, Mode::Train] {
        let y = network.call(Signal::meta(input, DType::F32), mode);
        assert_eq!((y.dims()?, y.dtype()?), (output, DType::F32));
    }
    Ok(())
}

#[test]
fn networks_compute_the_shapes_of_large_batches() -> Result<()> {
    // Two of these batches would need terabytes of activations.
    let images = [100_000, 3, 224, 224];
    let logits = [100_000, 1000];
    check(resnet::resnet18(), &images, &logits)?;
    check(vgg::vgg16_bn(), &images, &logits)?;
    check(mobilenet::mobilenet_v2(), &images, &logits)?;
    check(mobilenet_v3::mobilenet_v3_small(), &images, &logits)?;
    check(efficientnet::efficientnet_b0(), &images, &logits)?;
    check(efficientnet::efficientnet_v2_s(), &images, &logits)?;
    check(convnext::convnext_tiny(), &images, &logits)?;
    check(densenet::densenet121(), &images, &logits)?;
    check(squeezenet::squeezenet1_1(), &images, &logits)?;
    check(swin::swin_t(), &images, &logits)?;
    check(vit::vit_s_16(), &images, &logits)?;
    check(unet::unet(3, 2), &[8, 3, 512, 768], &[8, 2, 512, 768])?;
    check(r2plus1d::r2plus1d_18(), &[1000, 3, 16, 112, 112], &[1000, 400])
}

#[test]
fn networks_with_several_inputs_or_outputs_compute_shapes() -> Result<()> {
    let images = || Signal::meta((64, 3, 224, 224), DType::F32);
    let (logits, second, first) = googlenet::googlenet().meta()?.call(images(), Mode::Train);
    for logits in [Some(logits), second, first] {
        assert_eq!(logits.expect("training should return every output").dims()?, [64, 1000]);
    }
    let (pixels, auxiliary) =
        deeplab::deeplabv3_resnet50().aux_loss(true).meta()?.call(images(), Mode::Train);
    let auxiliary = auxiliary.expect("the network should have an auxiliary classifier");
    assert_eq!((pixels.dims()?, auxiliary.dims()?), (&[64, 21, 224, 224][..], &[64, 21, 224, 224][..]));

    let ids = || Signal::meta((1000, 500), DType::U32);
    let mask = Signal::meta((1000, 500), DType::U8);
    let bert = bert::bert_base_uncased().meta()?;
    let (hidden, pooled) = bert.call((ids(), None, Some(mask)), Mode::Eval);
    assert_eq!((hidden.dims()?, pooled.dims()?), (&[1000, 500, 768][..], &[1000, 768][..]));
    let gpt = gpt::gpt2().meta()?;
    assert_eq!(gpt.call(ids(), Mode::Eval).dims()?, [1000, 500, 50257]);
    Ok(())
}
