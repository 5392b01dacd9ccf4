//! The convolution's gradients against plain loops, finite differences and candle's own backward pass.

use crate::common::conv_case::{Case, cases};
use crate::common::lists::ACTIVATIONS_BY_OUTPUT;
use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::ConvGeometry;
use sconce::kernels::conv::backward::{Gradients, Needs, conv2d_backward};
use sconce::kernels::testing::{available, backward_on};

const ALL: Needs = Needs { input: true, weight: true, bias: true, residual: true };

impl Case {
    /// Calls `f` with the offsets of the input, weight and output elements of every product.
    fn each_product(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [input, weight, output] = self.shapes().unwrap();
        let ConvGeometry { stride, padding, dilation, groups } = self.geometry;
        let at =
            |shape: [usize; 4], i: [usize; 4]| ((i[0] * shape[1] + i[1]) * shape[2] + i[2]) * shape[3] + i[3];
        for n in 0..self.batch {
            for (o, c) in (0..weight[0]).flat_map(|o| (0..weight[1]).map(move |c| (o, c))) {
                let channel = o / (weight[0] / groups) * weight[1] + c;
                for (y, x) in (0..output[2]).flat_map(|y| (0..output[3]).map(move |x| (y, x))) {
                    for (i, j) in (0..weight[2]).flat_map(|i| (0..weight[3]).map(move |j| (i, j))) {
                        let v = (y * stride[0] + i * dilation[0]).wrapping_sub(padding[0][0]);
                        let u = (x * stride[1] + j * dilation[1]).wrapping_sub(padding[1][0]);
                        if v < input[2] && u < input[3] {
                            f(
                                at(input, [n, channel, v, u]),
                                at(weight, [o, c, i, j]),
                                at(output, [n, o, y, x]),
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Numbers in [-1, 1) that look random.
fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.
    };
    (0..count).map(|_| next()).collect()
}

fn tensor(shape: [usize; 4], seed: u64, dtype: DType) -> Result<Tensor> {
    let values = noise(shape.iter().product(), seed);
    Tensor::from_vec(values, &shape[..], &Device::Cpu)?.to_dtype(dtype)
}

/// `[input, weight, output, grad]` for a case.
fn tensors(case: &Case, dtype: DType) -> Result<[Tensor; 4]> {
    let [input, weight, output] = case.shapes().unwrap();
    Ok([
        tensor(input, 1, dtype)?,
        tensor(weight, 2, dtype)?,
        tensor(output, 3, dtype)?,
        tensor(output, 4, dtype)?,
    ])
}

fn run(tensors: &[Tensor; 4], geometry: &ConvGeometry, activation: Activation) -> Result<Gradients> {
    let [input, weight, output, grad] = tensors;
    conv2d_backward(input, weight, output, grad, geometry, activation, ALL)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn all(gradients: &Gradients) -> [Vec<f64>; 4] {
    let Gradients { input, weight, bias, residual } = gradients;
    [input, weight, bias, residual].map(|tensor| values(tensor.as_ref().unwrap()))
}

/// PyTorch's slopes, from the output.
fn slope(activation: Activation, y: f64) -> f64 {
    match activation {
        Activation::Identity => 1.,
        Activation::Relu => {
            if y <= 0. {
                0.
            } else {
                1.
            }
        }
        Activation::Relu6 => {
            if y <= 0. || y >= 6. {
                0.
            } else {
                1.
            }
        }
        Activation::LeakyRelu { negative_slope } => {
            if y > 0. {
                1.
            } else {
                negative_slope
            }
        }
        Activation::Sigmoid => y * (1. - y),
        Activation::Tanh => (1. - y) * (1. + y),
        _ => unreachable!(),
    }
}

/// The gradients by plain loops in f64, and for each the sum of its terms' magnitudes.
fn reference(case: &Case, tensors: &[Tensor; 4], activation: Activation) -> [[Vec<f64>; 4]; 2] {
    let [input, weight, output, grad] = [0, 1, 2, 3].map(|i| values(&tensors[i]));
    let masked =
        |(y, g): (&f64, &f64)| if slope(activation, *y) == 0. { 0. } else { g * slope(activation, *y) };
    let grad: Vec<f64> = output.iter().zip(&grad).map(masked).collect();
    let channels = tensors[1].dims()[0];
    let plane = tensors[2].dims()[2] * tensors[2].dims()[3];
    let result = |magnitude: bool| {
        let term = |x: f64| if magnitude { x.abs() } else { x };
        let (mut to_input, mut to_weight) = (vec![0.; input.len()], vec![0.; weight.len()]);
        case.each_product(|i, w, o| {
            to_input[i] += term(weight[w] * grad[o]);
            to_weight[w] += term(input[i] * grad[o]);
        });
        let mut bias = vec![0.; channels];
        grad.iter().enumerate().for_each(|(i, &g)| bias[i / plane % channels] += term(g));
        [to_input, to_weight, bias, grad.iter().map(|&g| term(g)).collect()]
    };
    [result(false), result(true)]
}

/// Of some dozens of roundings in f32.
const SINGLE: f64 = 2e-6;

/// Every number within `epsilon` of the sum of its terms' magnitudes, or f16's smallest number. Of halves most of that
/// is the last rounding, by at most 2⁻¹¹ or 2⁻⁸ of a number; in f32 the gradient of the input may go through Winograd's
/// transforms, which multiply numbers by up to 21/4 before these cancel.
fn assert_close(given: &Gradients, [expected, magnitude]: &[[Vec<f64>; 4]; 2], epsilon: f64, what: &str) {
    let names = ["input", "weight", "bias", "residual"];
    for (i, given) in all(given).iter().enumerate() {
        assert_eq!(given.len(), expected[i].len(), "{}", names[i]);
        for (j, (x, y)) in given.iter().zip(&expected[i]).enumerate() {
            let transformed = if i == 0 && epsilon == SINGLE { 21. / 4. } else { 1. };
            let bound = transformed * epsilon * magnitude[i][j] + 6e-8 * f64::from(epsilon > 1e-4);
            assert!((x - y).abs() <= bound, "{} of {what} at {j}: {x}, expected {y}", names[i]);
        }
    }
}

fn check(case: &Case, activation: Activation) {
    for (dtype, epsilon) in
        [(DType::F64, 1e-14), (DType::F32, SINGLE), (DType::F16, 6e-4), (DType::BF16, 5e-3)]
    {
        let tensors = tensors(case, dtype).unwrap();
        let expected = reference(case, &tensors, activation);
        let what = format!("{case:?} {activation:?} {dtype:?}");
        assert_close(&run(&tensors, &case.geometry, activation).unwrap(), &expected, epsilon, &what);
        if dtype != DType::F32 {
            continue;
        }
        for isa in available() {
            let [a, b, c, d] = &tensors;
            let given = backward_on(isa, [a, b, c, d], &case.geometry, activation, ALL).unwrap();
            assert_close(&given, &expected, epsilon, &format!("{what} {isa:?}"));
        }
    }
}

proptest! {
    #![proptest_config(crate::common::config(192))]

    #[test]
    fn agrees_with_plain_loops(case in cases(9, 20), activation in proptest::sample::select(&ACTIVATIONS_BY_OUTPUT[..])) {
        check(&case, activation);
    }

    #[test]
    fn agrees_with_plain_loops_depthwise(case in cases(9, 20), multiplier in 1usize..=3, groups in 1usize..=24) {
        let geometry = ConvGeometry { groups, ..case.geometry };
        check(&Case { channels: [1, multiplier], geometry, ..case }, Activation::Relu);
    }

    /// So many output channels that the weight's gradient takes vectors of them, in blocks of every width.
    #[test]
    fn agrees_with_plain_loops_with_many_channels(case in cases(9, 20), inputs in 1usize..=3, outputs in 8usize..=140) {
        let geometry = ConvGeometry { groups: if outputs < 24 { case.geometry.groups } else { 1 }, ..case.geometry };
        check(&Case { channels: [inputs, outputs], geometry, ..case }, Activation::Relu);
    }

    /// So many channels on both sides that the input's gradient is scattered: strides, and large kernels on small
    /// images.
    #[test]
    fn agrees_with_plain_loops_with_vectors_of_inputs(case in cases(9, 20), inputs in 12usize..=34,
                                                      outputs in 16usize..=70, kernel in 3usize..=5) {
        let batch = case.batch.min(2);
        let case = Case { batch, channels: [inputs, outputs], kernel: [kernel; 2], ..case };
        let geometry = ConvGeometry { groups: 1, ..case.geometry };
        if case.shapes().is_some() {
            check(&Case { geometry, ..case }, Activation::Relu);
        }
    }

    #[test]
    fn agrees_with_candle(batch in 1usize..=3, channels in [1usize..=8, 1usize..=8], size in 3usize..=20,
                          kernel in 1usize..=3, stride in 1usize..=3, padding in 0usize..=2) {
        candle_agrees(&Case::square(batch, channels, size, kernel, stride, padding.min(kernel / 2))).unwrap();
    }
}

/// candle's backward pass of its own `conv2d`; exact for square sizes and symmetric padding, where the
/// stride leaves no input unread.
fn candle_agrees(case: &Case) -> Result<()> {
    let ConvGeometry { stride, padding, .. } = case.geometry;
    if !(case.size[0] + 2 * padding[0][0] - case.kernel[0]).is_multiple_of(stride[0]) {
        return Ok(());
    }
    let [input, weight, _, grad] = tensors(case, DType::F64)?;
    let (input, weight) = (Var::from_tensor(&input)?, Var::from_tensor(&weight)?);
    let output = input.conv2d(&weight, padding[0][0], stride[0], 1, 1)?.relu()?;
    let grads = (&output * &grad)?.sum_all()?.backward()?;
    let tensors = [input.as_tensor().clone(), weight.as_tensor().clone(), output, grad];
    let given = run(&tensors, &case.geometry, Activation::Relu)?;
    for (given, var) in [(given.input, &input), (given.weight, &weight)] {
        let (given, expected) = (values(&given.unwrap()), values(grads.get(var).unwrap()));
        for (x, y) in given.iter().zip(&expected) {
            assert!((x - y).abs() < 1e-11, "{case:?}: {x}, candle has {y}");
        }
    }
    Ok(())
}

/// The forward pass by plain loops, weighted by `grad` and summed.
fn loss(case: &Case, activation: Activation, parts: &[Vec<f64>; 4], grad: &[f64]) -> (f64, Vec<f64>) {
    let [input, weight, bias, residual] = parts;
    let plane = case.shapes().unwrap()[2][2..].iter().product::<usize>();
    let mut sums: Vec<f64> =
        residual.iter().enumerate().map(|(i, r)| r + bias[i / plane % bias.len()]).collect();
    case.each_product(|i, w, o| sums[o] += input[i] * weight[w]);
    let output: Vec<f64> = sums.into_iter().map(|x| forward(activation, x)).collect();
    (output.iter().zip(grad).map(|(y, g)| y * g).sum(), output)
}

fn forward(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.),
        Activation::Relu6 => x.clamp(0., 6.),
        Activation::LeakyRelu { negative_slope } => {
            if x > 0. {
                x
            } else {
                negative_slope * x
            }
        }
        Activation::Sigmoid => 1. / (1. + (-x).exp()),
        Activation::Tanh => x.tanh(),
        _ => x,
    }
}

#[test]
fn agrees_with_finite_differences() -> Result<()> {
    let geometry = ConvGeometry { stride: [2, 1], padding: [[1, 0], [2, 1]], dilation: [1, 2], groups: 2 };
    let case = Case { batch: 2, channels: [2, 3], size: [6, 7], kernel: [3, 2], geometry };
    let shapes = case.shapes().unwrap();
    for activation in ACTIVATIONS_BY_OUTPUT {
        let sizes = [shapes[0], shapes[1], [shapes[1][0], 1, 1, 1], shapes[2]];
        let parts = [0, 1, 2, 3].map(|i| noise(sizes[i].iter().product(), 10 + i as u64));
        let grad = noise(parts[3].len(), 20);
        let (_, output) = loss(&case, activation, &parts, &grad);
        let dense = |values: &[f64], shape: [usize; 4]| Tensor::from_slice(values, &shape[..], &Device::Cpu);
        let tensors = [
            dense(&parts[0], shapes[0])?,
            dense(&parts[1], shapes[1])?,
            dense(&output, shapes[2])?,
            dense(&grad, shapes[2])?,
        ];
        let given = all(&run(&tensors, &geometry, activation)?);
        for (part, given) in given.iter().enumerate() {
            for (i, given) in given.iter().enumerate() {
                let moved = |by: f64| {
                    let mut parts = parts.clone();
                    parts[part][i] += by;
                    loss(&case, activation, &parts, &grad).0
                };
                let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((given - expected).abs() < 1e-7, "{activation:?} {part} {i}: {given}, {expected}");
            }
        }
    }
    Ok(())
}

/// Sizes that take several chunks, segments and threads.
#[test]
fn agrees_with_plain_loops_at_size() {
    let depthwise = Case {
        geometry: ConvGeometry { groups: 40, padding: [[1; 2]; 2], ..Default::default() },
        ..Case::square(2, [1, 1], 40, 3, 1, 1)
    };
    for case in [
        Case::square(7, [1, 6], 28, 5, 1, 0),
        Case::square(3, [20, 20], 24, 5, 1, 0),
        Case::square(2, [33, 18], 14, 3, 2, 1),
        Case::square(2, [3, 16], 40, 7, 2, 3),
        Case::square(2, [30, 70], 13, 1, 1, 0),
        Case::square(2, [30, 70], 13, 1, 2, 0),
        Case::square(1, [2, 5], 70, 1, 1, 0),
        Case::square(5, [70, 64], 7, 3, 1, 1),
        Case::square(2, [32, 64], 12, 5, 1, 0),
        Case::square(2, [64, 130], 15, 3, 2, 1),
        Case {
            geometry: ConvGeometry { groups: 2, stride: [2; 2], ..Default::default() },
            ..Case::square(2, [70, 20], 12, 2, 2, 0)
        },
        depthwise,
    ] {
        check(&case, Activation::Relu);
    }
}

#[test]
fn is_bit_equal_for_any_number_of_threads() -> Result<()> {
    for case in [
        Case::square(16, [1, 6], 28, 5, 1, 0),
        Case::square(16, [1, 8], 28, 5, 1, 0),
        Case::square(5, [20, 20], 24, 5, 2, 2),
        Case::square(5, [32, 70], 12, 5, 1, 0),
        Case::square(3, [40, 130], 14, 3, 1, 1),
    ] {
        let tensors = tensors(&case, DType::F32)?;
        let with = |threads| {
            let run = || run(&tensors, &case.geometry, Activation::Relu);
            all(&crate::common::on_threads(threads, run).unwrap())
        };
        let one = with(1);
        for threads in crate::common::lists::THREADS {
            assert!(one == with(threads), "{threads} threads differ from one");
        }
    }
    Ok(())
}

/// Transposed, broadcast and narrowed tensors give what their contiguous copies give; so does a view of nothing
/// that begins behind the end of its storage.
#[test]
fn takes_any_strides() -> Result<()> {
    for case in [Case::square(2, [3, 4], 9, 3, 1, 1), Case::square(0, [1, 1], 1, 1, 1, 0)] {
        let dense = tensors(&case, DType::F32)?;
        let strided = |t: &Tensor| -> Result<Tensor> {
            let wide = Tensor::cat(&[t, t], 3)?.transpose(2, 3)?.contiguous()?.transpose(2, 3)?;
            wide.narrow(3, t.dim(3)?, t.dim(3)?)
        };
        let [a, b, c, _] = &dense;
        let ones = Tensor::ones((), DType::F32, &Device::Cpu)?.broadcast_as(c.shape())?;
        let given =
            run(&[strided(a)?, strided(b)?, strided(c)?, ones.clone()], &case.geometry, Activation::Tanh)?;
        let expected =
            run(&[a.clone(), b.clone(), c.clone(), ones.contiguous()?], &case.geometry, Activation::Tanh)?;
        assert!(all(&given) == all(&expected));
    }
    Ok(())
}

/// `threshold_backward` and its kin, as PyTorch computes them for the outputs -1, 0, 6, 7 and NaN.
#[test]
fn masks_as_pytorch_does() -> Result<()> {
    let nan = f32::NAN;
    let expected: [(Activation, [f32; 5]); 6] = [
        (Activation::Identity, [2., 2., 2., 2., 2.]),
        (Activation::Relu, [0., 0., 2., 2., 2.]),
        (Activation::Relu6, [0., 0., 0., 0., 2.]),
        (Activation::LeakyRelu { negative_slope: 0.5 }, [1., 1., 2., 2., 1.]),
        (Activation::Sigmoid, [-4., 0., -60., -84., nan]),
        (Activation::Tanh, [0., 2., -70., -96., nan]),
    ];
    let row = |values: [f32; 5]| Tensor::from_slice(&values, (1, 1, 1, 5), &Device::Cpu);
    let tensors = [
        row([1.; 5])?,
        Tensor::ones((1, 1, 1, 1), DType::F32, &Device::Cpu)?,
        row([-1., 0., 6., 7., nan])?,
        row([2.; 5])?,
    ];
    for (activation, expected) in expected {
        let given = run(&tensors, &ConvGeometry::default(), activation)?;
        for given in [given.residual.unwrap(), given.input.unwrap()] {
            for (x, y) in given.flatten_all()?.to_vec1::<f32>()?.into_iter().zip(expected) {
                assert!(x == y || x.is_nan() && y.is_nan(), "{activation:?}: {x}, expected {y}");
            }
        }
    }
    // A masked gradient is zero even where it was infinite.
    let infinite = [tensors[0].clone(), tensors[1].clone(), row([0.; 5])?, row([f32::INFINITY; 5])?];
    assert!(all(&run(&infinite, &ConvGeometry::default(), Activation::Relu)?)[3].iter().all(|&x| x == 0.));
    Ok(())
}

/// An infinite pixel reaches the taps that meet it and no others.
#[test]
fn infinity_stays_where_it_is() -> Result<()> {
    let case = Case::square(1, [1, 1], 9, 3, 1, 0);
    let [input, weight, output, grad] = tensors(&case, DType::F32)?;
    let mut pixels = input.flatten_all()?.to_vec1::<f32>()?;
    pixels[80] = f32::INFINITY;
    let input = Tensor::from_vec(pixels, (1, 1, 9, 9), &Device::Cpu)?;
    let given = all(&run(&[input, weight, output, grad], &case.geometry, Activation::Identity)?);
    let finite: Vec<bool> = given[1].iter().map(|x| x.is_finite()).collect();
    assert_eq!(finite, [true, true, true, true, true, true, true, true, false]);
    Ok(())
}

#[test]
fn computes_what_is_needed() -> Result<()> {
    let case = Case::square(2, [3, 4], 9, 3, 1, 1);
    let [a, b, c, d] = tensors(&case, DType::F32)?;
    let whole = run(&[a.clone(), b.clone(), c.clone(), d.clone()], &case.geometry, Activation::Relu)?;
    let part = |needs| conv2d_backward(&a, &b, &c, &d, &case.geometry, Activation::Relu, needs);
    let none = part(Needs::default())?;
    assert!(none.input.is_none() && none.weight.is_none() && none.bias.is_none() && none.residual.is_none());
    let weight = part(Needs { weight: true, ..Needs::default() })?;
    assert!(weight.input.is_none());
    assert_eq!(values(&weight.weight.unwrap()), values(&whole.weight.unwrap()));
    Ok(())
}

#[test]
fn bad_arguments_are_errors() -> Result<()> {
    let case = Case::square(2, [4, 4], 9, 3, 1, 1);
    let [a, b, c, d] = &tensors(&case, DType::F32)?;
    let fails = |tensors: [&Tensor; 4], geometry: ConvGeometry, activation| {
        let [a, b, c, d] = tensors;
        let error = conv2d_backward(a, b, c, d, &geometry, activation, ALL).expect_err("should fail");
        assert!(error.to_string().contains("expected") || error.to_string().contains("conv2d backward"));
    };
    let good = case.geometry;
    fails([a, b, c, d], good, Activation::Gelu);
    fails([a, b, c, d], good, Activation::LeakyRelu { negative_slope: -0.5 });
    fails([a, b, c, d], ConvGeometry { stride: [0, 1], ..good }, Activation::Relu);
    fails([a, b, c, d], ConvGeometry { dilation: [1, 0], ..good }, Activation::Relu);
    fails([a, b, c, d], ConvGeometry { dilation: [usize::MAX, 1], ..good }, Activation::Relu);
    fails([a, b, c, d], ConvGeometry { groups: 0, ..good }, Activation::Relu);
    fails([a, b, c, d], ConvGeometry { groups: 3, ..good }, Activation::Relu);
    fails([a, b, a, &a.narrow(2, 0, 3)?], good, Activation::Relu);
    fails([a, b, &c.narrow(2, 0, 3)?, d], good, Activation::Relu);
    fails([&a.to_dtype(DType::F64)?, b, c, d], good, Activation::Relu);
    fails([&a.narrow(1, 0, 2)?, b, c, d], good, Activation::Relu);
    fails([&a.flatten_from(2)?, b, c, d], good, Activation::Relu);
    let ints = [a, b, c, d].map(|tensor| tensor.to_dtype(DType::U32).unwrap());
    fails([&ints[0], &ints[1], &ints[2], &ints[3]], good, Activation::Relu);
    Ok(())
}
