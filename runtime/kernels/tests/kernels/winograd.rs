//! Compares Winograd's convolution with the definition, computed in double precision.

use candle_core::{Device, Result, Tensor};
use proptest::prelude::*;
use sconce_kernels::activation::Activation;
use sconce_kernels::conv::{ConvGeometry, Epilogue, PackedCache};
use sconce_kernels::testing::{Algorithm, Isa, WinogradTile, available, conv2d_with_algorithm};

use crate::common::lists::ACTIVATIONS;
use crate::relative_error::relative_error;

const TILES: [WinogradTile; 5] = WinogradTile::ALL;

/// Returns normally distributed numbers, computed by the Box–Muller transform.
fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let mut sample = || (-2. * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..count).map(|_| sample() as f32).collect()
}

/// The sizes of a convolution with a 3×3 kernel.
#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    in_channels: usize,
    out_channels: usize,
    input: [usize; 2],
    padding: [[usize; 2]; 2],
}

impl Shape {
    fn output(&self, stride: usize) -> [usize; 2] {
        std::array::from_fn(|i| (self.input[i] + self.padding[i][0] + self.padding[i][1] - 3) / stride + 1)
    }

    /// Returns the number of output elements.
    fn outputs(&self, stride: usize) -> usize {
        self.batch * self.out_channels * self.output(stride).iter().product::<usize>()
    }
}

/// The values of an epilogue. An empty vector means that the epilogue does not have this part.
#[derive(Clone, Debug)]
struct EpilogueValues {
    scale: Vec<f32>,
    shift: Vec<f32>,
    residual: Vec<f32>,
    activation: Activation,
}

/// Convolves with plain loops in f64. Returns the outputs before the activation.
fn reference(
    shape: &Shape,
    stride: usize,
    input: &[f32],
    weight: &[f32],
    epilogue: &EpilogueValues,
) -> Vec<f64> {
    let ([height, width], [out_height, out_width]) = (shape.input, shape.output(stride));
    let get_or = |values: &[f32], i: usize, default: f64| values.get(i).map_or(default, |x| f64::from(*x));
    let mut output = Vec::new();
    for (n, o) in (0..shape.batch).flat_map(|n| (0..shape.out_channels).map(move |o| (n, o))) {
        for (y, x) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
            let mut sum = 0.;
            for (c, tap) in (0..shape.in_channels).flat_map(|c| (0..9).map(move |tap| (c, tap))) {
                let row = (y * stride + tap / 3).wrapping_sub(shape.padding[0][0]);
                let col = (x * stride + tap % 3).wrapping_sub(shape.padding[1][0]);
                if row < height && col < width {
                    let pixel = input[((n * shape.in_channels + c) * height + row) * width + col];
                    sum += f64::from(pixel) * f64::from(weight[(o * shape.in_channels + c) * 9 + tap]);
                }
            }
            let sum = sum * get_or(&epilogue.scale, o, 1.) + get_or(&epilogue.shift, o, 0.);
            output.push(sum + get_or(&epilogue.residual, output.len(), 0.));
        }
    }
    output
}

fn convolve(
    isa: Isa,
    tile: WinogradTile,
    shape: &Shape,
    input: &[f32],
    weight: &[f32],
    epilogue: &EpilogueValues,
) -> Result<Vec<f32>> {
    let Shape { batch, in_channels, out_channels, input: [height, width], padding } = *shape;
    let [out_height, out_width] = shape.output(tile.stride());
    let tensor = |values: &[f32], dims: &[usize]| Tensor::from_slice(values, dims, &Device::Cpu);
    let part = |values: &[f32], dims: &[usize]| {
        if values.is_empty() { Ok(None) } else { tensor(values, dims).map(Some) }
    };
    let epilogue = Epilogue {
        scale: part(&epilogue.scale, &[out_channels])?,
        shift: part(&epilogue.shift, &[out_channels])?,
        residual: part(&epilogue.residual, &[batch, out_channels, out_height, out_width])?,
        activation: epilogue.activation,
    };
    let geometry = ConvGeometry { stride: [tile.stride(); 2], padding, ..ConvGeometry::default() };
    let input = tensor(input, &[batch, in_channels, height, width])?;
    let weight = tensor(weight, &[out_channels, in_channels, 3, 3])?;
    let (algorithm, cache) = (Algorithm::Winograd(tile), PackedCache::default());
    conv2d_with_algorithm(algorithm, &input, &weight, &geometry, &epilogue, &cache, isa)?
        .flatten_all()?
        .to_vec1()
}

struct Problem {
    shape: Shape,
    input: Vec<f32>,
    weight: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    residual: Vec<f32>,
}

impl Problem {
    fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            input: normal(seed, shape.batch * shape.in_channels * shape.input[0] * shape.input[1]),
            weight: normal(seed + 1, shape.out_channels * shape.in_channels * 9),
            scale: normal(seed + 2, shape.out_channels),
            shift: normal(seed + 3, shape.out_channels),
            residual: normal(seed + 4, shape.outputs(1)),
        }
    }

    /// Returns an epilogue with the chosen parts (scale, shift, residual) for the output size at this stride.
    fn epilogue(&self, parts: [bool; 3], activation: Activation, stride: usize) -> EpilogueValues {
        let part = |index: usize, values: &[f32]| if parts[index] { values.to_vec() } else { vec![] };
        EpilogueValues {
            scale: part(0, &self.scale),
            shift: part(1, &self.shift),
            residual: part(2, &self.residual[..self.shape.outputs(stride)]),
            activation,
        }
    }

    fn check(&self, parts: [bool; 3], activation: Activation) -> Result<()> {
        for stride in [1, 2] {
            let epilogue = self.epilogue(parts, activation, stride);
            let sums = reference(&self.shape, stride, &self.input, &self.weight, &epilogue);
            let tiles = TILES.into_iter().filter(|tile| tile.stride() == stride);
            for (tile, isa) in tiles.flat_map(|tile| available().into_iter().map(move |isa| (tile, isa))) {
                let output = convolve(isa, tile, &self.shape, &self.input, &self.weight, &epilogue)?;
                let error = relative_error(&output, &sums, activation);
                assert!(
                    error <= 2e-5,
                    "{isa:?} {tile:?} {:?} {parts:?} {activation:?}: {error:e}",
                    self.shape
                );
            }
        }
        Ok(())
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let channels = (1..=40usize, 1..=40usize);
    let paddings = prop::array::uniform2(prop::array::uniform2(0..=2usize));
    let shapes = (0..=3usize, channels, prop::array::uniform2(1..=40usize), paddings).prop_map(
        |(batch, (in_channels, out_channels), input, padding)| Shape {
            batch,
            in_channels,
            out_channels,
            input,
            padding,
        },
    );
    shapes.prop_filter("the kernel must fit in the padded input", |shape| {
        (0..2).all(|axis| shape.input[axis] + shape.padding[axis].iter().sum::<usize>() >= 3)
    })
}

proptest! {
    #![proptest_config(crate::common::config(48))]

    #[test]
    fn random_shapes_agree_with_the_definition(
        shape in shapes(),
        activation in prop::sample::select(&ACTIVATIONS[..]),
        parts in prop::array::uniform3(any::<bool>()),
        seed in 0..1u64 << 32,
    ) {
        let problem = Problem::new(shape, seed);
        problem.check(parts, activation).unwrap();
    }
}

#[test]
fn every_activation_and_epilogue_agrees_with_the_definition() -> Result<()> {
    let shape =
        Shape { batch: 2, in_channels: 5, out_channels: 19, input: [9, 13], padding: [[1, 0], [2, 1]] };
    let problem = Problem::new(shape, 7);
    for activation in ACTIVATIONS {
        for parts in 0..8 {
            problem.check([parts & 1 != 0, parts & 2 != 0, parts & 4 != 0], activation)?;
        }
    }
    Ok(())
}

/// On normally distributed data, the error is at most 2·10⁻⁵, as `set_exact` documents, up to the largest number of
/// channels for which a tile may be selected.
#[test]
fn the_error_bound_holds_for_many_channels() -> Result<()> {
    for (seed, tile) in TILES.into_iter().enumerate() {
        let max_channels = tile.max_channels();
        for in_channels in [1, 16, 64, 256, max_channels / 2, max_channels] {
            let shape = Shape { batch: 1, in_channels, out_channels: 8, input: [7; 2], padding: [[1; 2]; 2] };
            let problem = Problem::new(shape, 3 + seed as u64);
            let epilogue = problem.epilogue([false; 3], Activation::Identity, tile.stride());
            let sums = reference(&shape, tile.stride(), &problem.input, &problem.weight, &epilogue);
            for isa in available() {
                let output = convolve(isa, tile, &shape, &problem.input, &problem.weight, &epilogue)?;
                let error = relative_error(&output, &sums, Activation::Identity);
                println!("{tile:?} {isa:?} {in_channels}: {error:e}");
                assert!(error <= 2e-5, "{isa:?} {tile:?} {in_channels} channels: {error:e}");
            }
        }
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for (channels, size) in [(48, 18), (20, 90)] {
        let shape = Shape {
            batch: 2,
            in_channels: channels,
            out_channels: channels + 3,
            input: [size, size + 3],
            padding: [[1; 2]; 2],
        };
        let problem = Problem::new(shape, 11);
        for (isa, tile) in available().into_iter().flat_map(|isa| TILES.map(|tile| (isa, tile))) {
            let epilogue = problem.epilogue([true; 3], Activation::Relu, tile.stride());
            let run = || convolve(isa, tile, &shape, &problem.input, &problem.weight, &epilogue);
            let on_threads = |threads| crate::common::on_threads(threads, run);
            let single: Vec<u32> = on_threads(1)?.into_iter().map(f32::to_bits).collect();
            for threads in crate::common::lists::THREADS {
                assert!(
                    on_threads(threads)?.into_iter().map(f32::to_bits).eq(single.iter().copied()),
                    "{isa:?} {tile:?}"
                );
            }
        }
    }
    Ok(())
}

/// Vectors of 4 lanes (NEON, emulated on x86-64), 8 lanes (AVX2) and 16 lanes (AVX-512) compute each element with the
/// same operations. On machines without AVX2, this test checks only the accuracy.
#[cfg(any(target_arch = "aarch64", debug_assertions))] // Only debug builds emulate NEON.
#[test]
fn results_do_not_depend_on_the_width_of_vectors() -> Result<()> {
    let shapes = [
        ([1, 3, 1, 1], 5),
        ([2, 16, 13, 30], 33),
        ([1, 21, 40, 37], 16),
        ([3, 37, 7, 7], 20),
        // More input channels than the matrix product adds in one pass, and three panels of output channels, which can
        // form a group of two and a group of one.
        ([1, 131, 7, 7], 40),
    ];
    for ([batch, in_channels, height, width], out_channels) in shapes {
        let padding = [[1, 2], [2, 1]];
        let shape = Shape { batch, in_channels, out_channels, input: [height, width], padding };
        let problem = Problem::new(shape, 17);
        for tile in TILES {
            let epilogue = problem.epilogue([false, true, true], Activation::Silu, tile.stride());
            let on = |isa| convolve(isa, tile, &shape, &problem.input, &problem.weight, &epilogue);
            let expected = on(Isa::Neon)?;
            for isa in [Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| available().contains(isa)) {
                assert_eq!(on(isa)?, expected, "{isa:?} {tile:?} {shape:?}");
            }
            // The portable vectors round products and sums separately.
            let sums = reference(&shape, tile.stride(), &problem.input, &problem.weight, &epilogue);
            for output in [expected, on(Isa::Portable)?] {
                assert!(relative_error(&output, &sums, Activation::Silu) <= 2e-5, "{tile:?} {shape:?}");
            }
        }
    }
    Ok(())
}

/// Winograd's transforms would spread a NaN over whole tiles, so another kernel handles operands that are not finite.
#[test]
fn a_nan_reaches_exactly_the_outputs_that_read_it() -> Result<()> {
    let shape = Shape { batch: 1, in_channels: 3, out_channels: 4, input: [24, 24], padding: [[1; 2]; 2] };
    let mut problem = Problem::new(shape, 5);
    problem.input[24 * 10 + 11] = f32::NAN;
    for activation in ACTIVATIONS {
        let epilogue = problem.epilogue([true, true, false], activation, 1);
        let tiles = [WinogradTile::Two, WinogradTile::Four, WinogradTile::Six];
        for (isa, tile) in available().into_iter().flat_map(|isa| tiles.map(|tile| (isa, tile))) {
            let output = convolve(isa, tile, &shape, &problem.input, &problem.weight, &epilogue)?;
            for (index, value) in output.iter().enumerate() {
                let [y, x] = [index / 24 % 24, index % 24];
                let expected = (9..=11).contains(&y) && (10..=12).contains(&x);
                assert_eq!(value.is_nan(), expected, "{isa:?} {tile:?} {activation:?} at {y}, {x}");
            }
        }
    }
    Ok(())
}
