//! Trains one network on Fashion-MNIST, on the CPU and on the GPU, and compares the accuracies.

use std::io::Read;

use flate2::read::GzDecoder;
use sconce::prelude::*;

const IMAGES: &[u8] = include_bytes!("../data/t10k-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../data/t10k-labels-idx1-ubyte.gz");

/// The amount by which the accuracy on the GPU may be lower than the accuracy on the CPU. The GPU adds the terms of a
/// sum in a different order. Over hundreds of steps, the different rounding errors change every parameter.
const MARGIN: f64 = 0.015;

#[derive(Module)]
#[module(
    loss = cross_entropy,
    optimizer = AdamW::new(2e-3),
    forward = |x| {
        let x = max_pool2d(relu(bn1(conv1(x))), 2);
        let x = max_pool2d(relu(bn2(conv2(x))), 2);
        fc2(dropout(relu(fc1(flatten(x, 1)))))
    },
)]
struct FashionNet {
    #[layer(1, 16, 5, padding = 2)]
    conv1: Conv2d,
    #[layer(16)]
    bn1: BatchNorm,
    #[layer(16, 32, 3, padding = 1)]
    conv2: Conv2d,
    #[layer(32)]
    bn2: BatchNorm,
    #[layer(32 * 7 * 7, 128)]
    fc1: Linear,
    #[layer(0.25)]
    dropout: Dropout,
    #[layer(128, 10)]
    fc2: Linear,
}

/// Returns `true` if the accuracy on the GPU is at most `MARGIN` lower than on the CPU, or if `short` is set. Also
/// checks that a captured forward pass, which replays recorded launches, gives the output of an ordinary one.
pub fn compare(short: bool, device: &Device) -> Result<bool> {
    let on_cpu = train(short, &Device::Cpu)?;
    let on_gpu = train(short, device)?;
    let passed = short || on_gpu >= on_cpu - MARGIN;
    let verdict = if passed { "ok" } else { "FAILED" };
    println!("fashion_mnist: accuracy {on_cpu:.4} on the CPU, {on_gpu:.4} on the GPU: {verdict}\n");
    Ok(passed)
}

/// Trains the network on `device` and returns the accuracy on the validation data.
fn train(short: bool, device: &Device) -> Result<f64> {
    manual_seed(0);
    let (train, test, epochs) = if short { (512, 256, 1) } else { (8_000, 2_000, 5) };
    let images = read_idx(IMAGES)?.to_device(device)?.unsqueeze(1)?.to_dtype(DType::F32)?;
    let (mean, std) = (0.286, 0.353);
    let images = images.affine(1. / (255. * std), -mean / std)?;
    let labels = read_idx(LABELS)?.to_device(device)?;
    let slice = |start, len| -> Result<TensorDataset> {
        TensorDataset::new(images.narrow(0, start, len)?, labels.narrow(0, start, len)?)
    };
    let (train, test) = (slice(0, train)?.shuffle(true), slice(8_000, test)?);
    let model = FashionNet::new(device)?;
    let history = model.fit(&train, &test, Epochs(epochs))?;
    let last = history.last().ok_or_else(|| Error::msg("expected at least one epoch"))?;
    println!("{:?}: {last}", device.location());
    if device.is_cuda() {
        check_capture(&model, &images.narrow(0, 8_000, 64)?)?;
    }
    last.valid
        .as_ref()
        .and_then(|valid| valid.accuracy)
        .ok_or_else(|| Error::msg("expected an accuracy on the validation data"))
}

/// Fails unless the captured forward pass gives the same output as the network.
fn check_capture(model: &FashionNet, images: &Tensor) -> Result<()> {
    let captured = model.capture(&images.zeros_like()?)?;
    let expected = model.eval_on(images)?;
    let actual = captured.replay(images)?;
    let difference = (expected - actual)?.abs()?.max_all()?.to_scalar::<f32>()?;
    if difference > 0. {
        return Err(Error::msg(format!(
            "expected the captured network to give the network's output, found a difference of {difference:e}"
        )));
    }
    println!("the captured forward pass is bit-identical");
    Ok(())
}

impl FashionNet {
    fn eval_on(&self, images: &Tensor) -> Result<Tensor> {
        self.detached().call(images.into(), Mode::Eval).into_tensor()
    }
}

/// Reads a gzipped IDX file with u8 elements. The file contains two zero bytes, the element type (8 for u8), the
/// number of dimensions, each dimension as a big-endian u32, and the elements.
fn read_idx(file: &[u8]) -> Result<Tensor> {
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes)?;
    let rank = usize::from(bytes[3]);
    let (header, elements) = bytes[4..].split_at(4 * rank);
    let dims: Vec<usize> = header
        .chunks_exact(4)
        .map(|dim| dim.iter().fold(0, |value, &byte| value << 8 | usize::from(byte)))
        .collect();
    Ok(Tensor::from_slice(elements, dims, &Device::Cpu)?)
}
