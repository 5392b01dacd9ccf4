//! Convolutions that run in one launch with the operations after them.

use sconce::candle;
use sconce::prelude::*;

use crate::common::{check_close, values};

fn operations(launches: Vec<sconce::Launch>) -> Vec<String> {
    launches.into_iter().map(|launch| launch.operations).collect()
}

#[derive(Module)]
#[module(forward = |x| relu(bn(conv(x)) + x))]
struct Block {
    #[layer(4, 4, 3, padding = "same", groups = 2)]
    conv: Conv1d,
    #[layer(4)]
    bn: BatchNorm,
}

#[test]
fn a_residual_block_on_sequences_is_one_launch() -> Result<()> {
    let block = Block::new(&Device::Cpu)?;
    let x = Tensor::randn(0f32, 1., (2, 4, 9), &Device::Cpu)?;
    let (y, launches) = sconce::trace(|| block.forward(&x));
    assert_eq!(operations(launches), ["conv1d + batch_norm + residual + relu"]);
    let unfused = sconce::no_fusion(|| block.forward(&x))?;
    check_close("fused", &y?, &unfused, 1e-5)?;
    Ok(())
}

#[derive(Module)]
#[module(args(kernel: [usize; 3]), forward = |x| relu(bn(conv(x)) + x))]
struct VideoBlock {
    #[layer(4, 4, kernel, padding = "same")]
    conv: Conv3d,
    #[layer(4)]
    bn: BatchNorm3d,
}

#[test]
fn a_residual_block_on_videos_is_one_launch() -> Result<()> {
    let x = Tensor::randn(0f32, 1., (2, 4, 5, 7, 6), &Device::Cpu)?;
    for kernel in [[3, 3, 3], [1, 3, 3], [3, 1, 1]] {
        let block = VideoBlock::config(kernel).init(&Device::Cpu)?;
        let (y, launches) = sconce::trace(|| block.forward(&x));
        assert_eq!(operations(launches), ["conv3d + batch_norm + residual + relu"]);
        let unfused = sconce::no_fusion(|| block.forward(&x))?;
        check_close("fused", &y?, &unfused, 1e-5)?;
        let inference = block.inference()?;
        for _ in 0..2 {
            check_close("packed", &inference.forward(&x)?, &unfused, 1e-5)?;
        }
    }
    Ok(())
}

#[test]
fn functional_convolutions_are_fused_with_the_following_activation() -> Result<()> {
    let random = |shape: &[usize]| Tensor::randn(0f32, 1., shape, &Device::Cpu);
    let (x, weight, bias) = (random(&[2, 3, 8, 8])?, random(&[6, 3, 3, 3])?, random(&[6])?);
    let options = Conv2dOptions::default().stride((2, 1)).padding(1);
    let (y, launches) = sconce::trace(|| relu(conv2d(&x, &weight, Some(&bias), options)).into_tensor());
    assert_eq!(operations(launches), ["conv2d + bias + relu"]);
    assert_eq!(y?.dims(), [2, 6, 4, 8]);
    let (x, weight) = (random(&[2, 4, 8])?, random(&[6, 2, 3])?);
    let options = Conv1dOptions::default().dilation(2).groups(2);
    let (y, launches) = sconce::trace(|| gelu(conv1d(&x, &weight, None, options)).into_tensor());
    assert_eq!(operations(launches), ["conv1d + gelu"]);
    assert_eq!(y?.dims(), [2, 6, 4]);
    Ok(())
}

/// A grouped or depthwise convolution runs as one launch in the forward pass and as one in the backward pass.
#[test]
fn grouped_convolutions_are_one_launch() -> Result<()> {
    for (groups, out_channels) in [(2, 8), (6, 6), (6, 12)] {
        let conv = Conv2d::config(6, out_channels, 3).padding(1).groups(groups).init(&Device::Cpu)?;
        let up = ConvTranspose2d::config(6, out_channels, 3).groups(groups).bias(false).init(&Device::Cpu)?;
        let x = candle::Var::randn(0f32, 1., (2, 6, 7, 7), &Device::Cpu)?;
        let (y, launches) =
            sconce::trace(|| relu(conv.call(x.as_tensor().into(), Mode::Train)).into_tensor());
        assert_eq!(operations(launches), ["conv2d + bias + relu"]);
        let y = y?.sum_all()?;
        let (grads, launches) = sconce::trace(|| y.backward());
        assert!(grads?.get(&x).is_some());
        assert_eq!(operations(launches), ["conv2d backward"]);

        let (y, launches) = sconce::trace(|| up.call(x.as_tensor().into(), Mode::Train).into_tensor());
        assert_eq!(operations(launches), ["conv_transpose2d"]);
        let y = y?.sum_all()?;
        let (grads, launches) = sconce::trace(|| y.backward());
        assert!(grads?.get(&x).is_some());
        assert_eq!(operations(launches), ["conv_transpose2d backward"]);
    }
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let x = relu(down(x));
    let x = relu(up(pad(x)));
    conv2d(x, sharpen, None, Conv2dOptions::default().padding("same"))
})]
struct Autoencoder {
    #[layer(2, 6, 3, stride = 2, padding = 1, padding_mode = "replicate")]
    down: Conv2d,
    #[layer((1, 0, 1, 0))]
    pad: ReflectionPad2d,
    #[layer(6, 2, (3, 2), stride = 2, output_padding = (0, 1), bias = false)]
    up: ConvTranspose2d,
    #[param((2, 2, 4, 4))]
    sharpen: Tensor,
}

#[test]
fn layers_work_as_fields_and_every_parameter_has_a_gradient() -> Result<()> {
    let network = Autoencoder::new(&Device::Cpu)?;
    let x = Tensor::randn(0f32, 1., (2, 2, 8, 8), &Device::Cpu)?;
    let y = network.forward_t(&x, true)?;
    assert_eq!(y.dims(), [2, 2, 11, 11]);
    let grads = y.sqr()?.sum_all()?.backward()?;
    let parameters = network.named_parameters();
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["down.weight", "down.bias", "up.weight", "sharpen"]);
    for (name, parameter) in &parameters {
        let grad = grads.get(parameter).expect(name);
        assert!(values(grad)?.iter().any(|x| *x != 0.), "{name}");
    }
    Ok(())
}

#[test]
fn padding_modes_other_than_zeros_have_their_own_launch() -> Result<()> {
    let conv = Conv2d::config(2, 3, 3).padding(1).padding_mode("circular").init(&Device::Cpu)?;
    let x = Tensor::ones((1, 2, 5, 5), DType::F32, &Device::Cpu)?;
    let (_, launches) = sconce::trace(|| relu(conv.call((&x).into(), Mode::Eval)).into_tensor());
    assert_eq!(operations(launches), ["pad", "conv2d + bias + relu"]);
    Ok(())
}
