//! Convolution + bias + ReLU: fused in one kernel, and as candle's three operations.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sconce::candle::{Device, Result, Tensor, Var};
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, PackedCache, conv2d};
use std::hint::black_box;

struct Layer {
    name: &'static str,
    input: [usize; 4],
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
}

#[rustfmt::skip]
const LAYERS: [Layer; 5] = [
    Layer { name: "introduction", input: [64, 20, 24, 24], outputs: 20, kernel: 5, stride: 1, padding: 0, groups: 1 },
    Layer { name: "stem", input: [1, 3, 224, 224], outputs: 64, kernel: 7, stride: 2, padding: 3, groups: 1 },
    Layer { name: "3x3", input: [1, 128, 28, 28], outputs: 128, kernel: 3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "1x1", input: [1, 64, 56, 56], outputs: 256, kernel: 1, stride: 1, padding: 0, groups: 1 },
    Layer { name: "depthwise", input: [1, 512, 14, 14], outputs: 512, kernel: 3, stride: 1, padding: 1, groups: 512 },
];

impl Layer {
    fn geometry(&self) -> ConvGeometry {
        ConvGeometry {
            stride: [self.stride; 2],
            padding: [[self.padding; 2]; 2],
            groups: self.groups,
            ..Default::default()
        }
    }

    /// Input, weight and bias.
    fn tensors(&self) -> Result<[Tensor; 3]> {
        let weight = [self.outputs, self.input[1] / self.groups, self.kernel, self.kernel];
        Ok([
            Tensor::randn(0f32, 1., &self.input, &Device::Cpu)?,
            Tensor::randn(0f32, 0.1, &weight, &Device::Cpu)?,
            Tensor::randn(0f32, 1., self.outputs, &Device::Cpu)?,
        ])
    }

    fn fused(&self, input: &Tensor, weight: &Tensor, bias: &Tensor, packed: &PackedCache) -> Result<Tensor> {
        let epilogue =
            Epilogue { shift: Some(bias.clone()), activation: Activation::Relu, ..Default::default() };
        conv2d(input, weight, &self.geometry(), &epilogue, Some(packed))
    }

    fn unfused(&self, input: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let sums = input.conv2d(weight, self.padding, self.stride, 1, self.groups)?;
        sums.broadcast_add(&bias.reshape((1, (), 1, 1))?)?.relu()
    }
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    for layer in &LAYERS {
        let [input, weight, bias] = layer.tensors().unwrap();
        let packed = PackedCache::default();
        group.bench_function(BenchmarkId::new("fused", layer.name), |b| {
            b.iter(|| black_box(layer.fused(&input, &weight, &bias, &packed).unwrap()))
        });
        group.bench_function(BenchmarkId::new("candle", layer.name), |b| {
            b.iter(|| black_box(layer.unfused(&input, &weight, &bias).unwrap()))
        });
    }
}

/// A training step's share: forward, and the gradients of input, weight and bias.
fn backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward and backward");
    group.sample_size(10);
    for layer in &LAYERS {
        let [input, weight, bias] = layer.tensors().unwrap().map(|tensor| Var::from_tensor(&tensor).unwrap());
        let packed = PackedCache::default();
        group.bench_function(BenchmarkId::new("fused", layer.name), |b| {
            b.iter(|| layer.fused(&input, &weight, &bias, &packed).unwrap().backward().unwrap())
        });
        group.bench_function(BenchmarkId::new("candle", layer.name), |b| {
            b.iter(|| layer.unfused(&input, &weight, &bias).unwrap().backward().unwrap())
        });
    }
}

criterion_group!(benches, forward, backward);
criterion_main!(benches);
