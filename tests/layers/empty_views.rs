//! Views of empty batches. Such a view may start past the end of the storage.

use candle_core::{DType, Device, Tensor, Var};
use sconce::functional::cat;
use sconce::prelude::*;

/// Returns an empty variable, and a view of it with shape `[0, features…]` that starts past the end of the storage.
fn view(features: &[usize], dtype: DType) -> Result<(Var, Tensor)> {
    let whole = Var::zeros([&[0, 2], features].concat(), dtype, &Device::Cpu)?;
    let view = whole.narrow(1, 1, 1)?.squeeze(1)?;
    assert!(view.layout().start_offset() > 0 && view.is_contiguous());
    Ok((whole, view))
}

/// Runs the forward and backward passes of a layer on such a view, in training and in evaluation.
fn check<C>(name: &str, config: impl Fn() -> C, features: &[usize]) -> Result<()>
where
    C: Config<Output: Forward<Signal, Output = Signal>>,
{
    for (dtype, mode) in [(DType::F32, Mode::Train), (DType::F32, Mode::Eval), (DType::F64, Mode::Train)] {
        let mut layer = config().init(&Device::Cpu)?;
        layer.to_dtype(dtype)?;
        let (whole, view) = view(features, dtype)?;
        let y = layer.call((&view).into(), mode).into_tensor()?;
        assert_eq!(y.dim(0)?, 0, "{name}");
        let grads = y.sum_all()?.backward()?;
        let grad = grads.get(&whole).unwrap_or_else(|| panic!("{name}: expected a gradient"));
        assert_eq!(grad.dims(), whole.dims(), "{name}");
    }
    Ok(())
}

#[test]
fn every_kind_of_layer_supports_empty_views() -> Result<()> {
    let image = &[4, 6, 6];
    let video = &[4, 5, 6, 6];
    check("Conv2d", || Conv2d::config(4, 3, 3), image)?;
    check("Conv2d 1×1", || Conv2d::config(4, 3, 1), image)?;
    check("ConvTranspose2d", || ConvTranspose2d::config(4, 3, 3), image)?;
    check("Conv1d", || Conv1d::config(4, 3, 3), &[4, 6])?;
    check("Linear", || Linear::config(6, 3), &[6])?;
    check("BatchNorm", || BatchNorm::config(4), image)?;
    check("GroupNorm", || GroupNorm::config(2, 4), image)?;
    check("LayerNorm", || LayerNorm::config(6), image)?;
    check("BatchNorm2d", || BatchNorm2d::config(4), image)?;
    check("LayerNorm2d", || LayerNorm2d::config(4), image)?;
    check("ChannelShuffle", || ChannelShuffle::config(2), image)?;
    check("Permute", || Permute::config([0, 2, 3, 1]), image)?;
    check("StochasticDepth", || StochasticDepth::config(0.5, "row"), image)?;
    check("Softshrink", Softshrink::config, image)?;
    check("MaxPool2d", || MaxPool2d::config(2), image)?;
    check("AvgPool2d", || AvgPool2d::config(2), image)?;
    check("AdaptiveAvgPool2d", || AdaptiveAvgPool2d::config(1), image)?;
    check("Upsample", || Upsample::config().scale_factor(2.), image)?;
    check("Relu", Relu::config, image)?;
    check("Gelu", Gelu::config, image)?;
    check("Softmax", || Softmax::config(1), image)?;
    check("Conv3d", || Conv3d::config(4, 3, 3), video)?;
    check("Conv3d 1×1×1", || Conv3d::config(4, 3, 1), video)?;
    check("Conv3d 3×1×1", || Conv3d::config(4, 3, [3, 1, 1]), video)?;
    check("ConvTranspose3d", || ConvTranspose3d::config(4, 3, 3), video)?;
    check("ConvTranspose3d 3×1×1", || ConvTranspose3d::config(4, 3, [3, 1, 1]), video)?;
    check("MaxPool3d", || MaxPool3d::config(2), video)?;
    check("AvgPool3d", || AvgPool3d::config(2), video)?;
    check("AdaptiveMaxPool3d", || AdaptiveMaxPool3d::config(2), video)?;
    check("AdaptiveAvgPool3d", || AdaptiveAvgPool3d::config(1), video)?;
    check("Dropout3d", || Dropout3d::config(0.5), video)?;
    check("AlphaDropout", || AlphaDropout::config(0.5), image)?;
    check("RRelu", RRelu::config, image)?;
    check("Softmax2d", || Softmax2d, image)?;
    check("RotaryEmbedding", || RotaryEmbedding::config(4), image)?;
    Ok(())
}

/// If the channels of an empty batch are split in half, the second half starts past the end of the storage.
#[test]
fn chunks_of_an_empty_batch_are_supported() -> Result<()> {
    let conv = Conv2d::config(2, 2, 3).padding(1).init(&Device::Cpu)?;
    let x = Var::zeros((0, 4, 6, 6), DType::F32, &Device::Cpu)?;
    let halves: Vec<Signal> = Signal::from(x.as_tensor()).chunk(2, 1);
    let halves = halves.into_iter().map(|half| conv.call(half, Mode::Train) + 1.);
    let y = cat(halves, 1).into_tensor()?;
    assert_eq!(y.dims(), [0, 4, 6, 6]);
    assert!(y.sum_all()?.backward()?.get(&x).is_some());
    Ok(())
}
