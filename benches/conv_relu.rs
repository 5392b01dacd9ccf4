//! Measures the throughput of convolution + bias + ReLU in multiply-adds per second, on layers of well-known networks.
//! Compares one fused kernel, the same kernel with candle's addition and ReLU after it, and three candle operations.
//!
//! `cargo bench -p sconce-benches --bench conv_relu -- rn_3` runs the layers whose name contains `rn_3`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sconce::candle::{Device, Result, Tensor, Var};
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, PackedCache, conv2d};

struct Layer {
    name: &'static str,
    /// `[batch, in_channels, height, width]`
    input: [usize; 4],
    out_channels: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
}

/// Returns a layer. `settings` are kernel size, stride, padding, dilation and groups.
const fn layer(name: &'static str, input: [usize; 4], out_channels: usize, settings: [usize; 5]) -> Layer {
    let [kernel, stride, padding, dilation, groups] = settings;
    Layer { name, input, out_channels, kernel, stride, padding, dilation, groups }
}

/// Layers of the network of `examples/first_network.rs` (`intro`), VGG-16 (`vgg`), ResNet-50 (`rn`) and MobileNet
/// (`mb`), and a dilated layer (`dil2`). In the names, `b64` is a batch size of 64, `s2` a stride of 2, and `dw` a
/// depthwise convolution.
const LAYERS: [Layer; 23] = [
    layer("intro_conv1_b1", [1, 1, 28, 28], 20, [5, 1, 0, 1, 1]),
    layer("intro_conv2_b1", [1, 20, 24, 24], 20, [5, 1, 0, 1, 1]),
    layer("intro_conv1_b64", [64, 1, 28, 28], 20, [5, 1, 0, 1, 1]),
    layer("intro_conv2_b64", [64, 20, 24, 24], 20, [5, 1, 0, 1, 1]),
    layer("vgg_1_1", [1, 3, 224, 224], 64, [3, 1, 1, 1, 1]),
    layer("vgg_1_2", [1, 64, 224, 224], 64, [3, 1, 1, 1, 1]),
    layer("vgg_2_2", [1, 128, 112, 112], 128, [3, 1, 1, 1, 1]),
    layer("vgg_3_3", [1, 256, 56, 56], 256, [3, 1, 1, 1, 1]),
    layer("vgg_4_3", [1, 512, 28, 28], 512, [3, 1, 1, 1, 1]),
    layer("vgg_5_3", [1, 512, 14, 14], 512, [3, 1, 1, 1, 1]),
    layer("rn_stem", [1, 3, 224, 224], 64, [7, 2, 3, 1, 1]),
    layer("rn_2_3x3", [1, 64, 56, 56], 64, [3, 1, 1, 1, 1]),
    layer("rn_2_1x1", [1, 64, 56, 56], 256, [1, 1, 0, 1, 1]),
    layer("rn_3_3x3", [1, 128, 28, 28], 128, [3, 1, 1, 1, 1]),
    layer("rn_3_s2", [1, 128, 56, 56], 128, [3, 2, 1, 1, 1]),
    layer("rn_4_3x3", [1, 256, 14, 14], 256, [3, 1, 1, 1, 1]),
    layer("rn_4_1x1", [1, 1024, 14, 14], 256, [1, 1, 0, 1, 1]),
    layer("rn_5_3x3", [1, 512, 7, 7], 512, [3, 1, 1, 1, 1]),
    layer("rn_2_3x3_b16", [16, 64, 56, 56], 64, [3, 1, 1, 1, 1]),
    layer("mb_dw_112", [1, 32, 112, 112], 32, [3, 1, 1, 1, 32]),
    layer("mb_dw_56_s2", [1, 128, 56, 56], 128, [3, 2, 1, 1, 128]),
    layer("mb_dw_14", [1, 512, 14, 14], 512, [3, 1, 1, 1, 512]),
    layer("dil2", [1, 128, 56, 56], 128, [3, 1, 2, 2, 1]),
];

/// The names of the layers whose gradients are also timed. The layers run different algorithms.
const TRAINED: [&str; 6] = ["intro_conv2_b64", "rn_stem", "rn_3_3x3", "rn_2_1x1", "rn_3_s2", "mb_dw_14"];

impl Layer {
    fn geometry(&self) -> ConvGeometry {
        ConvGeometry {
            stride: [self.stride; 2],
            padding: [[self.padding; 2]; 2],
            dilation: [self.dilation; 2],
            groups: self.groups,
        }
    }

    /// Returns the shape of the weight.
    fn weight_dims(&self) -> [usize; 4] {
        [self.out_channels, self.input[1] / self.groups, self.kernel, self.kernel]
    }

    fn multiply_adds(&self) -> Throughput {
        let [batch, _, height, width] = self.input;
        let output = self.geometry().output_size([height, width], [self.kernel; 2]).unwrap();
        let pixels = batch * output[0] * output[1];
        Throughput::Elements((pixels * self.weight_dims().iter().product::<usize>()) as u64)
    }

    /// Returns input, weight and bias.
    fn tensors(&self) -> Result<[Tensor; 3]> {
        Ok([
            Tensor::randn(0f32, 1., &self.input, &Device::Cpu)?,
            Tensor::randn(0f32, 0.1, &self.weight_dims(), &Device::Cpu)?,
            Tensor::randn(0f32, 1., self.out_channels, &Device::Cpu)?,
        ])
    }

    fn fused(&self, input: &Tensor, weight: &Tensor, bias: &Tensor, packed: &PackedCache) -> Result<Tensor> {
        let epilogue =
            Epilogue { shift: Some(bias.clone()), activation: Activation::Relu, ..Default::default() };
        conv2d(input, weight, &self.geometry(), &epilogue, Some(packed))
    }

    /// Runs the convolution in the kernel without an epilogue. candle then adds the bias and applies the ReLU.
    fn unfused(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        packed: &PackedCache,
    ) -> Result<Tensor> {
        let sums = conv2d(input, weight, &self.geometry(), &Epilogue::default(), Some(packed))?;
        sums.broadcast_add(&bias.reshape((1, (), 1, 1))?)?.relu()
    }

    fn candle(&self, input: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let sums = input.conv2d(weight, self.padding, self.stride, self.dilation, self.groups)?;
        sums.broadcast_add(&bias.reshape((1, (), 1, 1))?)?.relu()
    }
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    for layer in &LAYERS {
        let [input, weight, bias] = layer.tensors().unwrap();
        let packed = PackedCache::default();
        group.throughput(layer.multiply_adds());
        group.bench_function(BenchmarkId::new("fused", layer.name), |b| {
            b.iter(|| black_box(layer.fused(&input, &weight, &bias, &packed).unwrap()))
        });
        group.bench_function(BenchmarkId::new("unfused", layer.name), |b| {
            b.iter(|| black_box(layer.unfused(&input, &weight, &bias, &packed).unwrap()))
        });
        group.bench_function(BenchmarkId::new("candle", layer.name), |b| {
            b.iter(|| black_box(layer.candle(&input, &weight, &bias).unwrap()))
        });
    }
}

/// Times the forward and backward pass together. They need three times the multiply-adds of the forward pass, because
/// the gradient of the input and the gradient of the weight each need as many as the forward pass.
fn backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward and backward");
    group.sample_size(10);
    for layer in LAYERS.iter().filter(|layer| TRAINED.contains(&layer.name)) {
        let [input, weight, bias] = layer.tensors().unwrap().map(|tensor| Var::from_tensor(&tensor).unwrap());
        let packed = PackedCache::default();
        if let Throughput::Elements(forward) = layer.multiply_adds() {
            group.throughput(Throughput::Elements(3 * forward));
        }
        group.bench_function(BenchmarkId::new("fused", layer.name), |b| {
            b.iter(|| layer.fused(&input, &weight, &bias, &packed).unwrap().backward().unwrap())
        });
        group.bench_function(BenchmarkId::new("candle", layer.name), |b| {
            b.iter(|| layer.candle(&input, &weight, &bias).unwrap().backward().unwrap())
        });
    }
}

criterion_group!(benches, forward, backward);
criterion_main!(benches);
