//! Compares the gradients of convolutions with plain loops, finite differences and candle's backward pass.

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use sconce_kernels::activation::Activation;
use sconce_kernels::conv::ConvGeometry;
use sconce_kernels::conv::backward::{Gradients, Needs, conv2d_backward};
use sconce_kernels::testing::{available, backward_with};

use crate::common::conv_case::{Case, cases};
use crate::common::lists::activations_that_save_output;

const ALL: Needs = Needs { input: true, weight: true, bias: true, residual: true };

impl Case {
    /// Calls `f` once for each product of the convolution, with three indices: of the input element, of the weight, and
    /// of the output element to which the product is added.
    fn for_each_product(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [input, weight, output] = self.shapes().unwrap();
        let ConvGeometry { stride, padding, dilation, groups } = self.geometry;
        let index =
            |shape: [usize; 4], i: [usize; 4]| ((i[0] * shape[1] + i[1]) * shape[2] + i[2]) * shape[3] + i[3];
        for n in 0..self.batch {
            for (o, c) in (0..weight[0]).flat_map(|o| (0..weight[1]).map(move |c| (o, c))) {
                let channel = o / (weight[0] / groups) * weight[1] + c;
                for (y, x) in (0..output[2]).flat_map(|y| (0..output[3]).map(move |x| (y, x))) {
                    for (i, j) in (0..weight[2]).flat_map(|i| (0..weight[3]).map(move |j| (i, j))) {
                        let row = (y * stride[0] + i * dilation[0]).wrapping_sub(padding[0][0]);
                        let column = (x * stride[1] + j * dilation[1]).wrapping_sub(padding[1][0]);
                        if row < input[2] && column < input[3] {
                            f(
                                index(input, [n, channel, row, column]),
                                index(weight, [o, c, i, j]),
                                index(output, [n, o, y, x]),
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Returns pseudorandom numbers in [-1, 1).
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

/// Returns `[input, weight, output, grad]` for a case.
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

/// Returns the elements of the gradients of input, weight, bias and residual.
fn all(gradients: &Gradients) -> [Vec<f64>; 4] {
    let Gradients { input, weight, bias, residual } = gradients;
    [input, weight, bias, residual].map(|tensor| values(tensor.as_ref().unwrap()))
}

/// Returns the slope of an activation at the output `y`, as PyTorch computes it.
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

/// Computes the gradients of input, weight, bias and residual with plain loops in f64. Returns the gradients and, for
/// each element of a gradient, the sum of the magnitudes of its terms.
fn reference(case: &Case, tensors: &[Tensor; 4], activation: Activation) -> [[Vec<f64>; 4]; 2] {
    let [input, weight, output, grad] = [0, 1, 2, 3].map(|i| values(&tensors[i]));
    let masked =
        |(y, g): (&f64, &f64)| if slope(activation, *y) == 0. { 0. } else { g * slope(activation, *y) };
    let grad: Vec<f64> = output.iter().zip(&grad).map(masked).collect();
    let channels = tensors[1].dims()[0];
    let plane = tensors[2].dims()[2] * tensors[2].dims()[3];
    // Each element holds the sum of its terms, and the sum of their magnitudes.
    let mut grad_input = vec![[0.; 2]; input.len()];
    let mut grad_weight = vec![[0.; 2]; weight.len()];
    let mut bias = vec![[0.; 2]; channels];
    let add = |[sum, magnitude]: &mut [f64; 2], term: f64| {
        *sum += term;
        *magnitude += term.abs();
    };
    case.for_each_product(|i, w, o| {
        add(&mut grad_input[i], weight[w] * grad[o]);
        add(&mut grad_weight[w], input[i] * grad[o]);
    });
    grad.iter().enumerate().for_each(|(i, &g)| add(&mut bias[i / plane % channels], g));
    let residual: Vec<[f64; 2]> = grad.iter().map(|&g| [g, g.abs()]).collect();
    let all = [grad_input, grad_weight, bias, residual];
    [0, 1].map(|part| all.each_ref().map(|sums| sums.iter().map(|sum| sum[part]).collect()))
}

/// The bound on the relative error of a few dozen roundings in f32.
const F32_ERROR: f64 = 2e-6;

/// Asserts that the error of every number is at most `epsilon` times the sum of the magnitudes of its terms.
///
/// In f16 and bf16, the final rounding dominates: its error is at most 2⁻¹¹ (f16) or 2⁻⁸ (bf16) of the number. For
/// both dtypes, the bound is increased by f16's smallest positive number. In f32, the input gradient may use Winograd's
/// transforms, which subtract numbers multiplied by up to 21/4. The rounding errors are therefore up to 21/4 times as
/// large, and so is the bound of the input gradient.
fn assert_close(actual: &Gradients, [expected, magnitude]: &[[Vec<f64>; 4]; 2], epsilon: f64, label: &str) {
    let names = ["input", "weight", "bias", "residual"];
    for (i, actual) in all(actual).iter().enumerate() {
        assert_eq!(actual.len(), expected[i].len(), "{}", names[i]);
        for (j, (x, y)) in actual.iter().zip(&expected[i]).enumerate() {
            let winograd_factor = if i == 0 && epsilon == F32_ERROR { 21. / 4. } else { 1. };
            let bound = winograd_factor * epsilon * magnitude[i][j] + 6e-8 * f64::from(epsilon > 1e-4);
            assert!(
                (x - y).abs() <= bound,
                "{} gradient of {label} at {j}: expected {y}, found {x}",
                names[i]
            );
        }
    }
}

fn check(case: &Case, activation: Activation) {
    for (dtype, epsilon) in
        [(DType::F64, 1e-14), (DType::F32, F32_ERROR), (DType::F16, 6e-4), (DType::BF16, 5e-3)]
    {
        let tensors = tensors(case, dtype).unwrap();
        let expected = reference(case, &tensors, activation);
        let label = format!("{case:?} {activation:?} {dtype:?}");
        assert_close(&run(&tensors, &case.geometry, activation).unwrap(), &expected, epsilon, &label);
        if dtype != DType::F32 {
            continue;
        }
        for isa in available() {
            let actual = backward_with(isa, tensors.each_ref(), &case.geometry, activation, ALL).unwrap();
            assert_close(&actual, &expected, epsilon, &format!("{label} {isa:?}"));
        }
    }
}

proptest! {
    #![proptest_config(crate::common::config(192))]

    #[test]
    fn agrees_with_plain_loops(
        case in cases(9, 20),
        activation in proptest::sample::select(activations_that_save_output()),
    ) {
        check(&case, activation);
    }

    #[test]
    fn depthwise_agrees_with_plain_loops(case in cases(9, 20), multiplier in 1usize..=3, groups in 1usize..=24) {
        let geometry = ConvGeometry { groups, ..case.geometry };
        check(&Case { channels: [1, multiplier], geometry, ..case }, Activation::Relu);
    }

    /// Uses enough output channels for the weight-gradient kernels that are vectorized over output channels, and for
    /// each of their block widths.
    #[test]
    fn many_output_channels_agree_with_plain_loops(
        case in cases(9, 20),
        group_in_channels in 1usize..=3,
        group_out_channels in 8usize..=140,
    ) {
        let groups = if group_out_channels < 24 { case.geometry.groups } else { 1 };
        let geometry = ConvGeometry { groups, ..case.geometry };
        check(&Case { channels: [group_in_channels, group_out_channels], geometry, ..case }, Activation::Relu);
    }

    #[test]
    fn agrees_with_candle(batch in 1usize..=3, channels in [1usize..=8, 1usize..=8], size in 3usize..=20,
                          kernel in 1usize..=3, stride in 1usize..=3, padding in 0usize..=2) {
        check_against_candle(&Case::square(batch, channels, size, kernel, stride, padding.min(kernel / 2))).unwrap();
    }
}

proptest! {
    // These cases are large and need fewer repetitions.
    #![proptest_config(crate::common::config(48))]

    /// Uses enough input and output channels for the scattering kernel of the input gradient. Some cases have
    /// strides above 1, and some have kernels that are large relative to the image.
    #[test]
    fn many_input_and_output_channels_agree_with_plain_loops(case in cases(9, 20), group_in_channels in 12usize..=34,
                                                      group_out_channels in 16usize..=70, kernel in 3usize..=5) {
        let batch = case.batch.min(2);
        let case = Case { batch, channels: [group_in_channels, group_out_channels], kernel: [kernel; 2], ..case };
        let geometry = ConvGeometry { groups: 1, ..case.geometry };
        if case.shapes().is_some() {
            check(&Case { geometry, ..case }, Activation::Relu);
        }
    }

    /// Uses sequences with one channel in each group, and enough taps, outputs and output channels for products of
    /// windows.
    #[test]
    fn sequences_agree_with_plain_loops(
        batch in 1usize..=2, groups in 1usize..=2, group_out_channels in 32usize..=36, kernel in 32usize..=70,
        outputs in 32usize..=36, stride in 1usize..=40, unread in 0usize..40, padding in [0usize..=30, 0..=30],
        vertical in any::<bool>(),
    ) {
        let padded = (outputs - 1) * stride + kernel + unread % stride;
        let axes = |pair: [usize; 2]| if vertical { [pair[1], pair[0]] } else { pair };
        let padding = if vertical { [padding, [0; 2]] } else { [[0; 2], padding] };
        let geometry = ConvGeometry { groups, padding, stride: axes([1, stride]), ..Default::default() };
        let size = axes([1, padded.saturating_sub(padding.as_flattened().iter().sum()).max(1)]);
        let kernel = axes([1, kernel]);
        check(&Case { batch, channels: [1, group_out_channels], size, kernel, geometry }, Activation::Relu);
    }
}

/// The only window along one axis reads the padding, so all gradients are 0.
#[test]
fn windows_in_the_padding_have_no_gradient() {
    for vertical in [false, true] {
        let axes = |pair: [usize; 2]| if vertical { [pair[1], pair[0]] } else { pair };
        let geometry = ConvGeometry { padding: [[1; 2]; 2], stride: [4; 2], ..Default::default() };
        let case =
            Case { batch: 2, channels: [1, 64], size: axes([1, 300]), kernel: axes([1, 64]), geometry };
        check(&case, Activation::Relu);
    }
}

/// Compares with the gradients of candle's `conv2d`. For square sizes and symmetric padding, candle's gradients are
/// correct if the windows cover every row and column of the padded input. Other cases are skipped.
fn check_against_candle(case: &Case) -> Result<()> {
    let ConvGeometry { stride, padding, .. } = case.geometry;
    if !(case.size[0] + 2 * padding[0][0] - case.kernel[0]).is_multiple_of(stride[0]) {
        return Ok(());
    }
    let [input, weight, _, grad] = tensors(case, DType::F64)?;
    let (input, weight) = (Var::from_tensor(&input)?, Var::from_tensor(&weight)?);
    let output = input.conv2d(&weight, padding[0][0], stride[0], 1, 1)?.relu()?;
    let grads = (&output * &grad)?.sum_all()?.backward()?;
    let tensors = [input.as_tensor().clone(), weight.as_tensor().clone(), output, grad];
    let actual = run(&tensors, &case.geometry, Activation::Relu)?;
    for (actual, var) in [(actual.input, &input), (actual.weight, &weight)] {
        let (actual, expected) = (values(&actual.unwrap()), values(grads.get(var).unwrap()));
        for (x, y) in actual.iter().zip(&expected) {
            assert!((x - y).abs() < 1e-11, "{case:?}: expected {y} as in candle, found {x}");
        }
    }
    Ok(())
}

/// Runs the forward pass with plain loops. Returns the sum of `grad · output` over all elements, and the outputs.
fn loss(case: &Case, activation: Activation, parts: &[Vec<f64>; 4], grad: &[f64]) -> (f64, Vec<f64>) {
    let [input, weight, bias, residual] = parts;
    let plane = case.shapes().unwrap()[2][2..].iter().product::<usize>();
    let mut sums: Vec<f64> =
        residual.iter().enumerate().map(|(i, r)| r + bias[i / plane % bias.len()]).collect();
    case.for_each_product(|i, w, o| sums[o] += input[i] * weight[w]);
    let output: Vec<f64> = sums.into_iter().map(|x| activate(activation, x)).collect();
    (output.iter().zip(grad).map(|(y, g)| y * g).sum(), output)
}

fn activate(activation: Activation, x: f64) -> f64 {
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
    for activation in activations_that_save_output() {
        let sizes = [shapes[0], shapes[1], [shapes[1][0], 1, 1, 1], shapes[2]];
        let parts = [0, 1, 2, 3].map(|i| noise(sizes[i].iter().product(), 10 + i as u64));
        let grad = noise(parts[3].len(), 20);
        let (_, output) = loss(&case, activation, &parts, &grad);
        let contiguous =
            |values: &[f64], shape: [usize; 4]| Tensor::from_slice(values, &shape[..], &Device::Cpu);
        let tensors = [
            contiguous(&parts[0], shapes[0])?,
            contiguous(&parts[1], shapes[1])?,
            contiguous(&output, shapes[2])?,
            contiguous(&grad, shapes[2])?,
        ];
        let actual = all(&run(&tensors, &geometry, activation)?);
        for (part, actual) in actual.iter().enumerate() {
            for (i, actual) in actual.iter().enumerate() {
                let shifted = |step: f64| {
                    let mut parts = parts.clone();
                    parts[part][i] += step;
                    loss(&case, activation, &parts, &grad).0
                };
                let expected = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
                assert!(
                    (actual - expected).abs() < 1e-7,
                    "{activation:?}, element {i} of gradient {part}: expected {expected}, found {actual}"
                );
            }
        }
    }
    Ok(())
}

/// Uses sizes that need several chunks and several tasks.
#[test]
fn large_sizes_agree_with_plain_loops() {
    let depthwise = Case {
        geometry: ConvGeometry { groups: 40, padding: [[1; 2]; 2], ..Default::default() },
        ..Case::square(2, [1, 1], 40, 3, 1, 1)
    };
    let sequences = Case {
        batch: 65,
        channels: [1, 32],
        size: [1, 31 * 5 + 128],
        kernel: [1, 128],
        geometry: ConvGeometry { stride: [1, 5], ..Default::default() },
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
        sequences,
    ] {
        check(&case, Activation::Relu);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for case in [
        Case::square(16, [1, 6], 28, 5, 1, 0),
        Case::square(16, [1, 8], 28, 5, 1, 0),
        Case::square(5, [20, 20], 24, 5, 2, 2),
        Case::square(5, [32, 70], 12, 5, 1, 0),
        Case::square(3, [40, 130], 14, 3, 1, 1),
    ] {
        let tensors = tensors(&case, DType::F32)?;
        let on_threads = |threads| {
            let run = || run(&tensors, &case.geometry, Activation::Relu);
            all(&crate::common::on_threads(threads, run).unwrap())
        };
        let single = on_threads(1);
        for threads in crate::common::lists::THREADS {
            assert!(
                single == on_threads(threads),
                "{threads} threads give different results from one thread"
            );
        }
    }
    Ok(())
}

/// Transposed, broadcast and narrowed tensors give the same gradients as contiguous copies, and so does an
/// empty view whose offset lies past the end of its storage.
#[test]
fn any_strides_give_the_same_gradients() -> Result<()> {
    for case in [Case::square(2, [3, 4], 9, 3, 1, 1), Case::square(0, [1, 1], 1, 1, 1, 0)] {
        let contiguous = tensors(&case, DType::F32)?;
        let strided = |t: &Tensor| -> Result<Tensor> {
            let wide = Tensor::cat(&[t, t], 3)?.transpose(2, 3)?.contiguous()?.transpose(2, 3)?;
            wide.narrow(3, t.dim(3)?, t.dim(3)?)
        };
        let [input, weight, output, _] = &contiguous;
        let ones = Tensor::ones((), DType::F32, &Device::Cpu)?.broadcast_as(output.shape())?;
        let actual = run(
            &[strided(input)?, strided(weight)?, strided(output)?, ones.clone()],
            &case.geometry,
            Activation::Tanh,
        )?;
        let expected = run(
            &[input.clone(), weight.clone(), output.clone(), ones.contiguous()?],
            &case.geometry,
            Activation::Tanh,
        )?;
        assert!(all(&actual) == all(&expected));
    }
    Ok(())
}

/// Compares with PyTorch's gradients (`threshold_backward` and others) for the outputs -1, 0, 6, 7 and NaN.
#[test]
fn activation_gradients_agree_with_pytorch() -> Result<()> {
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
        let actual = run(&tensors, &ConvGeometry::default(), activation)?;
        for actual in [actual.residual.unwrap(), actual.input.unwrap()] {
            for (x, y) in actual.flatten_all()?.to_vec1::<f32>()?.into_iter().zip(expected) {
                assert!(x == y || x.is_nan() && y.is_nan(), "{activation:?}: expected {y}, found {x}");
            }
        }
    }
    // If the slope is zero, the gradient is zero even if the output gradient is infinite.
    let infinite = [tensors[0].clone(), tensors[1].clone(), row([0.; 5])?, row([f32::INFINITY; 5])?];
    assert!(all(&run(&infinite, &ConvGeometry::default(), Activation::Relu)?)[3].iter().all(|&x| x == 0.));
    Ok(())
}

/// The infinite pixel is multiplied only by the last weight, so that only the gradient of this weight is not finite.
#[test]
fn an_infinite_pixel_affects_only_the_taps_that_read_it() -> Result<()> {
    let case = Case::square(1, [1, 1], 9, 3, 1, 0);
    let [input, weight, output, grad] = tensors(&case, DType::F32)?;
    let mut pixels = input.flatten_all()?.to_vec1::<f32>()?;
    pixels[80] = f32::INFINITY;
    let input = Tensor::from_vec(pixels, (1, 1, 9, 9), &Device::Cpu)?;
    let actual = all(&run(&[input, weight, output, grad], &case.geometry, Activation::Identity)?);
    let finite: Vec<bool> = actual[1].iter().map(|x| x.is_finite()).collect();
    assert_eq!(finite, [true, true, true, true, true, true, true, true, false]);
    Ok(())
}

#[test]
fn only_the_needed_gradients_are_computed() -> Result<()> {
    let case = Case::square(2, [3, 4], 9, 3, 1, 1);
    let tensors = tensors(&case, DType::F32)?;
    let whole = run(&tensors, &case.geometry, Activation::Relu)?;
    let [input, weight, output, grad] = &tensors;
    let part = |needs| conv2d_backward(input, weight, output, grad, &case.geometry, Activation::Relu, needs);
    let none = part(Needs::default())?;
    assert!(none.input.is_none() && none.weight.is_none() && none.bias.is_none() && none.residual.is_none());
    let only_weight = part(Needs { weight: true, ..Needs::default() })?;
    assert!(only_weight.input.is_none());
    assert_eq!(values(&only_weight.weight.unwrap()), values(&whole.weight.unwrap()));
    Ok(())
}

#[test]
fn invalid_arguments_are_errors() -> Result<()> {
    let case = Case::square(2, [4, 4], 9, 3, 1, 1);
    let [input, weight, output, grad] = &tensors(&case, DType::F32)?;
    let assert_error = |tensors: [&Tensor; 4], geometry: ConvGeometry, activation| {
        let [input, weight, output, grad] = tensors;
        let error = conv2d_backward(input, weight, output, grad, &geometry, activation, ALL)
            .expect_err("expected an error");
        assert!(error.to_string().contains("expected") || error.to_string().contains("conv2d backward"));
    };
    let valid = case.geometry;
    assert_error([input, weight, output, grad], valid, Activation::Gelu);
    assert_error([input, weight, output, grad], valid, Activation::LeakyRelu { negative_slope: -0.5 });
    assert_error([input, weight, output, grad], ConvGeometry { stride: [0, 1], ..valid }, Activation::Relu);
    assert_error([input, weight, output, grad], ConvGeometry { dilation: [1, 0], ..valid }, Activation::Relu);
    assert_error(
        [input, weight, output, grad],
        ConvGeometry { dilation: [usize::MAX, 1], ..valid },
        Activation::Relu,
    );
    assert_error([input, weight, output, grad], ConvGeometry { groups: 0, ..valid }, Activation::Relu);
    assert_error([input, weight, output, grad], ConvGeometry { groups: 3, ..valid }, Activation::Relu);
    assert_error([input, weight, input, &input.narrow(2, 0, 3)?], valid, Activation::Relu);
    assert_error([input, weight, &output.narrow(2, 0, 3)?, grad], valid, Activation::Relu);
    assert_error([&input.to_dtype(DType::F64)?, weight, output, grad], valid, Activation::Relu);
    assert_error([&input.narrow(1, 0, 2)?, weight, output, grad], valid, Activation::Relu);
    assert_error([&input.flatten_from(2)?, weight, output, grad], valid, Activation::Relu);
    let ints = [input, weight, output, grad].map(|tensor| tensor.to_dtype(DType::U32).unwrap());
    assert_error([&ints[0], &ints[1], &ints[2], &ints[3]], valid, Activation::Relu);
    Ok(())
}
