//! The three networks of the face detector MTCNN (Zhang et al. 2016, <https://arxiv.org/abs/1604.02878>), with the
//! published weights from facenet-pytorch 2.6.0 (MIT).
//!
//! Reads the original `.pt` files, runs each network on a part of a photograph (NASA's astronaut picture, public
//! domain) and compares the outputs with PyTorch's. Then fine-tunes R-Net for 20 steps on crops of the photograph,
//! some of which show the face that P-Net found.

#[path = "../common/arguments.rs"]
pub mod arguments;
pub mod crops;
pub mod fine_tune;

use std::path::{Path, PathBuf};

use sconce::checkpoint;
use sconce::prelude::*;

const HELP: &str = "\
Runs MTCNN's networks with their published weights on a photograph, and fine-tunes R-Net on crops of it.

usage: cargo run --release --example face_detection -- [--short]

--short: no effect; accepted because every example accepts it";

/// The proposal network: predicts a probability and a box for each window of an image.
#[derive(Module)]
#[module(forward = |x| {
    let x = pool1(prelu1(conv1(x)));
    let x = prelu3(conv3(prelu2(conv2(x))));
    (softmax(conv4_1(x), 1), conv4_2(x))
})]
pub struct PNet {
    #[layer(3, 10, 3)]
    conv1: Conv2d,
    #[layer(num_parameters = 10)]
    prelu1: PRelu,
    #[layer(2, ceil_mode = true)]
    pool1: MaxPool2d,
    #[layer(10, 16, 3)]
    conv2: Conv2d,
    #[layer(num_parameters = 16)]
    prelu2: PRelu,
    #[layer(16, 32, 3)]
    conv3: Conv2d,
    #[layer(num_parameters = 32)]
    prelu3: PRelu,
    #[layer(32, 2, 1)]
    conv4_1: Conv2d,
    #[layer(32, 4, 1)]
    conv4_2: Conv2d,
}

/// The refinement network: classifies a proposal of 24×24 pixels.
#[derive(Module)]
#[module(forward = |x| {
    let x = pool1(prelu1(conv1(x)));
    let x = pool2(prelu2(conv2(x)));
    let x = prelu3(conv3(x)).permute((0, 3, 2, 1));
    let x = prelu4(dense4(flatten(x, 1)));
    (softmax(dense5_1(x), 1), dense5_2(x))
})]
pub struct RNet {
    #[layer(3, 28, 3)]
    conv1: Conv2d,
    #[layer(num_parameters = 28)]
    prelu1: PRelu,
    #[layer(3, stride = 2, ceil_mode = true)]
    pool1: MaxPool2d,
    #[layer(28, 48, 3)]
    conv2: Conv2d,
    #[layer(num_parameters = 48)]
    prelu2: PRelu,
    #[layer(3, stride = 2, ceil_mode = true)]
    pool2: MaxPool2d,
    #[layer(48, 64, 2)]
    conv3: Conv2d,
    #[layer(num_parameters = 64)]
    prelu3: PRelu,
    #[layer(576, 128)]
    dense4: Linear,
    #[layer(num_parameters = 128)]
    prelu4: PRelu,
    #[layer(128, 2)]
    dense5_1: Linear,
    #[layer(128, 4)]
    dense5_2: Linear,
}

/// The output network: classifies a candidate of 48×48 pixels and locates eyes, nose and mouth.
#[derive(Module)]
#[module(forward = |x| {
    let x = pool1(prelu1(conv1(x)));
    let x = pool2(prelu2(conv2(x)));
    let x = pool3(prelu3(conv3(x)));
    let x = prelu4(conv4(x)).permute((0, 3, 2, 1));
    let x = prelu5(dense5(flatten(x, 1)));
    (softmax(dense6_1(x), 1), dense6_2(x), dense6_3(x))
})]
pub struct ONet {
    #[layer(3, 32, 3)]
    conv1: Conv2d,
    #[layer(num_parameters = 32)]
    prelu1: PRelu,
    #[layer(3, stride = 2, ceil_mode = true)]
    pool1: MaxPool2d,
    #[layer(32, 64, 3)]
    conv2: Conv2d,
    #[layer(num_parameters = 64)]
    prelu2: PRelu,
    #[layer(3, stride = 2, ceil_mode = true)]
    pool2: MaxPool2d,
    #[layer(64, 64, 3)]
    conv3: Conv2d,
    #[layer(num_parameters = 64)]
    prelu3: PRelu,
    #[layer(2, ceil_mode = true)]
    pool3: MaxPool2d,
    #[layer(64, 128, 2)]
    conv4: Conv2d,
    #[layer(num_parameters = 128)]
    prelu4: PRelu,
    #[layer(1152, 256)]
    dense5: Linear,
    #[layer(num_parameters = 256)]
    prelu5: PRelu,
    #[layer(256, 2)]
    dense6_1: Linear,
    #[layer(256, 4)]
    dense6_2: Linear,
    #[layer(256, 10)]
    dense6_3: Linear,
}

/// Returns the path of a file of `network` in `tests/golden`, the directory of PyTorch's inputs and outputs.
pub fn golden(network: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(network).join(file)
}

/// Returns the largest difference between `ours` and PyTorch's output `head` for the photograph.
fn difference(network: &str, head: &str, ours: &Tensor) -> Result<f32> {
    let outputs = checkpoint::read(golden(network, "output.safetensors"), &Device::Cpu)?;
    let name = format!("image.{head}");
    let theirs = outputs
        .get(&name)
        .ok_or_else(|| Error::msg(format!("{network}: output.safetensors has no tensor `{name}`")))?;
    Ok((ours - theirs)?.abs()?.max_all()?.to_scalar()?)
}

/// Returns the part of the photograph that is a network's input.
pub fn photograph(network: &str) -> Result<Tensor> {
    let inputs = checkpoint::read(golden(network, "input.safetensors"), &Device::Cpu)?;
    inputs
        .get("image")
        .cloned()
        .ok_or_else(|| Error::msg(format!("{network}: input.safetensors has no tensor `image`")))
}

/// Prints the largest difference between each output in `heads` and PyTorch's.
fn report(network: &str, heads: &[(&str, &Tensor)]) -> Result<()> {
    for (head, tensor) in heads {
        let difference = difference(network, head, tensor)?;
        println!("  {head:<9} {:?}, largest difference from PyTorch {difference:.1e}", tensor.dims());
    }
    Ok(())
}

fn main() -> Result<()> {
    arguments::parse(HELP, arguments::only_short);
    let device = Device::Cpu;

    let pnet = PNet::config().load(golden("mtcnn_pnet", "pnet.pt"), &device)?;
    let (probability, boxes) = pnet.forward(photograph("mtcnn_pnet")?)?;
    let faces = probability.narrow(1, 1, 1)?.flatten_all()?.to_vec1::<f32>()?;
    let proposals = faces.iter().filter(|p| **p > 0.7).count();
    println!("P-Net: {proposals} of {} windows propose a face", faces.len());
    report("mtcnn_pnet", &[("prob", &probability), ("reg", &boxes)])?;

    let rnet = RNet::config().load(golden("mtcnn_rnet", "rnet.pt"), &device)?;
    let (probability, boxes) = rnet.forward(photograph("mtcnn_rnet")?)?;
    println!("R-Net: a face with probability {:.4}", probability.to_vec2::<f32>()?[0][1]);
    report("mtcnn_rnet", &[("prob", &probability), ("reg", &boxes)])?;

    let onet = ONet::config().load(golden("mtcnn_onet", "onet.pt"), &device)?;
    let (probability, boxes, landmarks) = onet.forward(photograph("mtcnn_onet")?)?;
    println!("O-Net: a face with probability {:.4}", probability.to_vec2::<f32>()?[0][1]);
    report("mtcnn_onet", &[("prob", &probability), ("reg", &boxes), ("landmarks", &landmarks)])?;

    let photograph = photograph("mtcnn_pnet")?;
    let crops = crops::crops(&photograph, &crops::face(&pnet, &photograph)?)?;
    let faces = crops.is_face.sum_all()?.to_scalar::<u32>()?;
    let losses = fine_tune::fine_tune(&rnet, &crops, 20)?;
    println!("R-Net, fine-tuned on {} crops, {faces} of them with the face:", crops.images.dim(0)?);
    println!("  loss {:.4} before, {:.4} after {} steps", losses[0], losses[19], losses.len());
    Ok(())
}
