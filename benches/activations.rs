//! Measures activations in elements per second: alone, with their gradients, and in the epilogues of convolutions and
//! linear layers. Also measures softmax.
//!
//! `cargo bench -p sconce-benches --bench activations -- gelu` runs the benches whose name contains `gelu`.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sconce::candle::{D, Device, Result, Tensor, Var};
use sconce::kernels::{
    Activation, ConvGeometry, Epilogue, PackedCache, activate, conv2d, linear, mish, softmax,
};

/// The names and the numbers of elements of three inputs: one that fits in the L1 cache, one that fits in the L2 cache,
/// and one that fits in neither.
const SIZES: [(&str, usize); 3] = [("l1", 1 << 12), ("l2", 1 << 16), ("memory", 1 << 22)];

/// A function of one tensor, with its name.
type Case = (&'static str, fn(&Tensor) -> Result<Tensor>);

const FUNCTIONS: [Case; 6] = [
    ("relu", |x| activate(Activation::Relu, x)),
    ("silu", |x| activate(Activation::Silu, x)),
    ("gelu", |x| activate(Activation::Gelu, x)),
    ("sigmoid", |x| activate(Activation::Sigmoid, x)),
    ("tanh", |x| activate(Activation::Tanh, x)),
    ("mish", mish),
];

const FUSED: [Activation; 6] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Silu,
    Activation::Gelu,
    Activation::Sigmoid,
    Activation::Tanh,
];

/// The convolutions: name, input and output channels, kernel size, height and width of the image.
const CONVOLUTIONS: [(&str, [usize; 2], usize, usize); 5] = [
    ("1x1_16_96_112", [16, 96], 1, 112),
    ("1x1_112_672_14", [112, 672], 1, 14),
    ("1x1_96_384_56", [96, 384], 1, 56),
    ("3x3_64_64_56", [64, 64], 3, 56),
    ("3x3_64_128_28", [64, 128], 3, 28),
];

/// Times the forward pass of `run` on `x`, and the forward and backward pass together.
fn both_passes(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    x: &Tensor,
    run: fn(&Tensor) -> Result<Tensor>,
) {
    group.throughput(Throughput::Elements(x.elem_count() as u64));
    group.bench_function(BenchmarkId::new("forward", name), |b| b.iter(|| black_box(run(x).unwrap())));
    let x = Var::from_tensor(x).unwrap();
    group.bench_function(BenchmarkId::new("forward and backward", name), |b| {
        b.iter(|| black_box(run(&x).unwrap().backward().unwrap()))
    });
}

fn alone(c: &mut Criterion) {
    for (cache, elements) in SIZES {
        let mut group = c.benchmark_group(format!("alone/{cache}"));
        let x = Tensor::randn(0f32, 2., elements, &Device::Cpu).unwrap();
        for (name, function) in FUNCTIONS {
            both_passes(&mut group, name, &x, function);
        }
    }
    let mut group = c.benchmark_group("alone");
    let x = Tensor::randn(0f32, 1., (512, 3072), &Device::Cpu).unwrap();
    both_passes(&mut group, "gelu_512x3072", &x, |x| activate(Activation::Gelu, x));
    let x = Tensor::randn(0f32, 1., (8, 64, 56, 56), &Device::Cpu).unwrap();
    both_passes(&mut group, "silu_64x56", &x, |x| activate(Activation::Silu, x));
}

fn softmaxes(c: &mut Criterion) {
    let mut group = c.benchmark_group("softmax");
    for (name, rows, columns) in [("512", 12 * 512, 512), ("1000", 128, 1000), ("64", 1024, 64)] {
        let x = Tensor::randn(0f32, 1., (rows, columns), &Device::Cpu).unwrap();
        both_passes(&mut group, name, &x, |x| softmax(x, D::Minus1));
    }
}

fn convolutions(c: &mut Criterion) {
    let mut group = c.benchmark_group("convolution");
    for (name, [inputs, outputs], kernel, size) in CONVOLUTIONS {
        let x = Tensor::randn(0f32, 1., (1, inputs, size, size), &Device::Cpu).unwrap();
        let weight = Tensor::randn(0f32, 0.1, (outputs, inputs, kernel, kernel), &Device::Cpu).unwrap();
        let bias = Tensor::randn(0f32, 1., outputs, &Device::Cpu).unwrap();
        let geometry = ConvGeometry { padding: [[kernel / 2; 2]; 2], ..ConvGeometry::new() };
        let packed = PackedCache::default();
        group.throughput(Throughput::Elements((outputs * size * size) as u64));
        for activation in FUSED {
            let epilogue = Epilogue::new().with_bias(&bias).with_activation(activation);
            group.bench_function(BenchmarkId::new(activation.name(), name), |b| {
                b.iter(|| black_box(conv2d(&x, &weight, &geometry, &epilogue, Some(&packed)).unwrap()))
            });
        }
    }
}

fn linears(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    let weight = Tensor::randn(0f32, 0.1, (3072, 768), &Device::Cpu).unwrap();
    let bias = Tensor::randn(0f32, 1., 3072, &Device::Cpu).unwrap();
    for rows in [1, 16, 512] {
        let x = Tensor::randn(0f32, 1., (rows, 768), &Device::Cpu).unwrap();
        group.throughput(Throughput::Elements((rows * 3072) as u64));
        for activation in [Activation::Identity, Activation::Gelu] {
            group.bench_function(BenchmarkId::new(activation.name(), rows), |b| {
                b.iter(|| black_box(linear(&x, &weight, Some(&bias), activation, None).unwrap()))
            });
        }
    }
}

/// Returns settings for short measurements, because there are many benches.
fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
}

criterion_group! { name = benches; config = short(); targets = alone, softmaxes, convolutions, linears }
criterion_main!(benches);
