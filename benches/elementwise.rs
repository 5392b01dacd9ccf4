//! Measures arithmetic with broadcasting, elementwise functions and sums, and compares them with candle's operations.
//! The throughput is in bytes per second: each operand is read once, and the result is written once. The benches of the
//! group `chain` run convolutions and products, each alone and alternately.
//!
//! `cargo bench -p sconce-benches --bench elementwise -- channels` runs the cases whose name contains `channels`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sconce::candle::{Result, Var};
use sconce::kernels::arithmetic::{Binary, Unary, binary, mean, sum, unary};
use sconce::prelude::*;

type Run = fn(&[Tensor; 2]) -> Result<Tensor>;

/// An operation to measure: its name, the shapes of the operands, and the implementations of sconce and of candle.
struct Case {
    name: &'static str,
    shapes: [&'static [usize]; 2],
    ours: Run,
    candle: Run,
}

const MULTIPLY: Run = |x| binary(Binary::Mul, &x[0], &x[1]);
const MULTIPLY_WITH_CANDLE: Run = |x| x[0].broadcast_mul(&x[1]);

/// Returns a case for the elementwise product of tensors with the shapes `a` and `b`.
const fn product(name: &'static str, a: &'static [usize], b: &'static [usize]) -> Case {
    Case { name, shapes: [a, b], ours: MULTIPLY, candle: MULTIPLY_WITH_CANDLE }
}

/// The shape of the second operand of an operation that reads only the first.
const UNUSED: &[usize] = &[1];

const CASES: [Case; 15] = [
    product("same shape, 7²", &[1, 1152, 7, 7], &[1, 1152, 7, 7]),
    product("same shape, 56²", &[1, 64, 56, 56], &[1, 64, 56, 56]),
    product("same shape, 16 × 56²", &[16, 64, 56, 56], &[16, 64, 56, 56]),
    product("channels, 7²", &[1, 1152, 7, 7], &[1, 1152, 1, 1]),
    product("channels, 56²", &[1, 64, 56, 56], &[1, 64, 1, 1]),
    product("channels, 16 × 56²", &[16, 64, 56, 56], &[16, 64, 1, 1]),
    product("columns, 197 × 768", &[197, 768], &[768]),
    product("columns, 50176 × 16", &[50_176, 16], &[16]),
    product("rows, 197 × 768", &[197, 768], &[197, 1]),
    product("scalar, 56²", &[1, 64, 56, 56], &[1]),
    product("small, 64", &[64], &[64]),
    Case {
        name: "affine, 56²",
        shapes: [&[1, 64, 56, 56], UNUSED],
        ours: |x| unary(Unary::Affine { factor: 0.5, offset: 1. }, &x[0]),
        candle: |x| x[0].affine(0.5, 1.),
    },
    Case {
        name: "exp, 56²",
        shapes: [&[1, 64, 56, 56], UNUSED],
        ours: |x| unary(Unary::Exp, &x[0]),
        candle: |x| x[0].exp(),
    },
    Case {
        name: "mean of pixels, 56²",
        shapes: [&[1, 64, 56, 56], UNUSED],
        ours: |x| mean(&x[0], (2, 3)),
        candle: |x| x[0].mean((2, 3)),
    },
    Case {
        name: "sum of rows, 3136 × 64",
        shapes: [&[3136, 64], UNUSED],
        ours: |x| sum(&x[0], 0),
        candle: |x| x[0].sum(0),
    },
];

impl Case {
    fn operands(&self) -> Result<[Tensor; 2]> {
        let [a, b] = self.shapes.map(|shape| Tensor::randn(1f32, 0.1, shape, &Device::Cpu));
        Ok([a?, b?])
    }
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    for case in &CASES {
        let operands = case.operands().unwrap();
        let result = (case.ours)(&operands).unwrap();
        let elements: usize = operands.iter().chain([&result]).map(Tensor::elem_count).sum();
        group.throughput(Throughput::Bytes(4 * elements as u64));
        for (library, run) in [("sconce", case.ours), ("candle", case.candle)] {
            group.bench_function(BenchmarkId::new(library, case.name), |b| {
                b.iter(|| black_box(run(&operands).unwrap()))
            });
        }
    }
}

fn backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward and backward");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    for case in CASES.iter().filter(|case| case.shapes[1] != UNUSED) {
        let operands = case.operands().unwrap().map(|x| Var::from_tensor(&x).unwrap().into_inner());
        for (library, run) in [("sconce", case.ours), ("candle", case.candle)] {
            group.bench_function(BenchmarkId::new(library, case.name), |b| {
                b.iter(|| run(&operands).unwrap().backward().unwrap())
            });
        }
    }
}

/// Times 16 convolutions, 16 products with one number for each channel, and both alternately, in `Nchw` and `Nchwc`.
/// The alternating chain should take no longer than the convolutions and the products together.
fn chain(c: &mut Criterion) {
    let mut group = c.benchmark_group("chain");
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    let conv = Conv2d::config(64, 64, 3).padding(1).init(&Device::Cpu).unwrap();
    let blocked = conv.inference().unwrap();
    let x = Tensor::randn(0f32, 1., (1, 64, 56, 56), &Device::Cpu).unwrap();
    let gate = Tensor::randn(1f32, 0.1, (1, 64, 1, 1), &Device::Cpu).unwrap();
    // A detached layer shares its weight with a layer that may be trained, so it runs in `Nchw`. An inference layer may
    // run in `Nchwc`.
    for (layout, conv) in [("Nchw", &conv.detached()), ("Nchwc", &blocked)] {
        let convolve = |x: Signal| conv.call(x, Mode::Eval);
        let repeat = |run: &dyn Fn(Signal) -> Signal| {
            let mut x = Signal::from(&x);
            for _ in 0..16 {
                x = run(x);
            }
            x.into_tensor().unwrap()
        };
        group.bench_function(BenchmarkId::new("convolutions", layout), |b| b.iter(|| repeat(&convolve)));
        group.bench_function(BenchmarkId::new("products", layout), |b| b.iter(|| repeat(&|x| x * &gate)));
        group.bench_function(BenchmarkId::new("in turns", layout), |b| {
            b.iter(|| repeat(&|x| convolve(x) * &gate))
        });
    }
}

criterion_group!(benches, forward, backward, chain);
criterion_main!(benches);
