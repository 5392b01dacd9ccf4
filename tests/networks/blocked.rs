//! Compares inference copies of networks, which use channel-blocked activations, with the same networks in `Nchw`.

use sconce::prelude::*;

use crate::common::Rng;
use crate::common::magnitude::largest_magnitude;
use crate::common::process::assert_passes_with_narrower_vectors;
use crate::networks::{
    deeplab, densenet, efficientnet, googlenet, mobilenet, mobilenet_v3, resnet, squeezenet, swin, unet, vgg,
    vit,
};

/// Randomizes the statistics and parameters of norms. With the default values, a batch norm changes almost
/// nothing.
fn randomize_norms<M: Module>(network: &mut M, seed: u64) -> Result<()> {
    let mut numbers = Rng::new(seed);
    let initial = network.state_dict();
    let mut state = initial.clone();
    for (name, tensor) in &initial {
        let range = match name.rsplit('.').next() {
            Some("running_var") => [0.7, 1.4],
            Some("running_mean") => [-0.1, 0.1],
            Some("weight") if tensor.rank() == 1 => [0.8, 1.2],
            Some("bias") if tensor.rank() == 1 => [-0.1, 0.1],
            _ => continue,
        };
        let [low, high] = range;
        let noise = numbers.tensor(tensor.dims(), 1.).affine((high - low) / 2., (high + low) / 2.)?;
        state.insert(name, noise.to_dtype(tensor.dtype())?);
    }
    network.load_state_dict(&state)
}

/// Returns the largest difference, divided by the largest magnitude in `expected`.
fn difference(actual: &Tensor, expected: &Tensor) -> Result<f64> {
    assert_eq!(actual.dims(), expected.dims());
    let scale = largest_magnitude(expected)?;
    let worst = largest_magnitude(&(actual - expected)?)?;
    assert!(scale > 0. && worst.is_finite());
    Ok(worst / scale)
}

/// Checks a network at each image size, and with at least two batch sizes. Returns the number of layout changes in the
/// last forward pass.
fn check<C: Config>(
    name: &str,
    config: C,
    sizes: &[[usize; 2]],
    forward: impl Fn(&C::Output, &Tensor) -> Result<Tensor>,
) -> Result<usize> {
    let mut network = config.init(&Device::Cpu)?;
    randomize_norms(&mut network, 3)?;
    // A channel-blocked convolution needs a weight that cannot change. The detached network shares its weights with
    // `network`, whose training may change them, so the detached network runs in `Nchw`.
    let (inference, detached) = (network.inference()?, network.detached());
    let mut changes = 0;
    for (batch, [height, width]) in (1..=sizes.len().max(2)).zip(sizes.iter().cycle()) {
        let x = Tensor::randn(0f32, 1., (batch, 3, *height, *width), &Device::Cpu)?;
        let (actual, launches) = sconce::trace(|| forward(&inference, &x));
        let (expected, nchw_launches) = sconce::trace(|| forward(&detached, &x));
        let (actual, expected) = (actual?, expected?);
        let worst = difference(&actual, &expected)?;
        assert!(worst < 1e-5, "{name}, {:?}: largest difference {worst}", x.dims());
        changes = launches.iter().filter(|launch| launch.changes_layout()).count();
        assert!(nchw_launches.iter().all(|launch| !launch.changes_layout()));
        // A fused pair is one launch instead of two.
        assert!(launches.len() - changes <= nchw_launches.len(), "{name}");
        if batch == 1 {
            let unfused = sconce::no_fusion(|| forward(&inference, &x))?;
            assert!(difference(&unfused, &expected)? < 1e-5);
        }
    }
    Ok(changes)
}

/// Sizes of images. The sides of the last two are odd.
const IMAGE_SIZES: [[usize; 2]; 3] = [[64, 64], [67, 75], [97, 65]];

#[test]
fn networks_agree_with_nchw() -> Result<()> {
    let changes = [
        check("resnet18", resnet::resnet18(), &IMAGE_SIZES, |network, x| network.forward(x))?,
        check("mobilenet_v2", mobilenet::mobilenet_v2(), &IMAGE_SIZES, |network, x| network.forward(x))?,
        check("mobilenet_v3_small", mobilenet_v3::mobilenet_v3_small(), &IMAGE_SIZES, |network, x| {
            network.forward(x)
        })?,
        check("densenet121", densenet::densenet121(), &[[64, 64], [51, 33]], |network, x| {
            network.forward(x)
        })?,
        check("squeezenet1_1", squeezenet::squeezenet1_1(), &IMAGE_SIZES, |network, x| network.forward(x))?,
    ];
    assert_eq!(changes, [0; 5]);
    Ok(())
}

#[test]
fn large_networks_agree_with_nchw() -> Result<()> {
    // VGG-16's own classifier has 120 million parameters. Initializing them would take most of this test's time, so a
    // small classifier replaces it.
    let vgg = vgg::features().push(AdaptiveAvgPool2d::config(7)).push(Flatten::config());
    let vgg = vgg.push(Linear::config(512 * 7 * 7, 10));
    let changes = [
        check("resnet50", resnet::resnet50(), &[[64, 64], [67, 35]], |network, x| network.forward(x))?,
        check("googlenet", googlenet::googlenet(), &[[64, 64], [67, 75]], |network, x| {
            Ok(network.forward(x)?.0)
        })?,
        // The last channel-blocked activation is changed to `Nchw` for the first linear layer.
        check("vgg16_bn", vgg, &[[65, 33]], |network, x| network.forward(x))?,
        // ViT-S/16 for images of 96×96, with only 3 of its 12 blocks, so that the test is quick.
        check("vit", vit::VisionTransformer::config(96, 16, 3, 6, 384, 1536), &[[96, 96]], |network, x| {
            network.forward(x)
        })?,
    ];
    assert_eq!(changes, [0, 0, 1, 0]);
    let changes = [
        check(
            "efficientnet_v2_s",
            efficientnet::efficientnet_v2_s(),
            &[[64, 64], [35, 67]],
            |network, x| network.forward(x),
        )?,
        check("swin_t", swin::swin_t(), &[[64, 36]], |network, x| network.forward(x))?,
        check("deeplabv3_resnet50", deeplab::deeplabv3_resnet50(), &[[64, 64], [67, 35]], |network, x| {
            Ok(network.forward(x)?.0)
        })?,
    ];
    // The resized means of the image are `Nchw`, so the other four branches are changed to `Nchw` for the
    // concatenation, and so are the logits for the last interpolation.
    assert_eq!(changes, [0, 0, 5]);
    // Each of the four transposed convolutions reads and writes `Nchw`, which causes at most two layout changes. The
    // output is changed to `Nchw` at the end.
    assert!(check("unet", unet::unet(3, 2), &[[32, 43]], |network, x| network.forward(x))? <= 9);
    Ok(())
}

#[test]
fn networks_agree_with_nchw_with_narrower_vectors() {
    assert_passes_with_narrower_vectors(module_path!(), "networks_agree_with_nchw");
}
