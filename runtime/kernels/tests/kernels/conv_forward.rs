//! Compares the forward pass of the fused convolution with plain loops in f64 and with candle's operations.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce_kernels::activation::Activation;
use sconce_kernels::conv::{ConvGeometry, Epilogue, PackedCache, conv2d};
use sconce_kernels::testing::{available, conv2d_with};

use crate::common::lists::ACTIVATIONS;

/// A convolution. The seed determines its operands.
#[derive(Clone, Debug)]
struct Case {
    input: [usize; 4],
    weight: [usize; 4],
    geometry: ConvGeometry,
    scale: bool,
    shift: bool,
    residual: bool,
    activation: Activation,
    seed: u64,
}

/// The operands of a case.
struct Data {
    input: Tensor,
    weight: Tensor,
    epilogue: Epilogue,
}

impl Case {
    /// Returns the shape of the output.
    fn output(&self) -> [usize; 4] {
        let [batch, _, input @ ..] = self.input;
        let [out_channels, _, kernel @ ..] = self.weight;
        let [height, width] = self.geometry.output_size(input, kernel).unwrap();
        [batch, out_channels, height, width]
    }

    fn data(&self, dtype: DType) -> Data {
        let mut state = self.seed;
        let mut random = |dims: &[usize]| {
            let values: Vec<f64> = (0..dims.iter().product()).map(|_| uniform(&mut state)).collect();
            Tensor::from_vec(values, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
        };
        let channels = [self.weight[0]];
        let (input, weight) = (random(&self.input), random(&self.weight));
        let epilogue = Epilogue {
            scale: self.scale.then(|| random(&channels)),
            shift: self.shift.then(|| random(&channels)),
            residual: self.residual.then(|| random(&self.output())),
            activation: self.activation,
        };
        Data { input, weight, epilogue }
    }
}

/// Returns a pseudorandom number in [-1, 1), computed by splitmix64.
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e3779b97f4a7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Convolves according to the definition, with one loop per index.
fn reference(data: &Data, geometry: &ConvGeometry) -> Vec<f64> {
    let (input, weight) = (flat(&data.input), flat(&data.weight));
    let (batch, in_channels, height, width) = data.input.dims4().unwrap();
    let (out_channels, group_in_channels, kernel_height, kernel_width) = data.weight.dims4().unwrap();
    let output_size = geometry.output_size([height, width], [kernel_height, kernel_width]);
    let [out_height, out_width] = output_size.unwrap();
    let ConvGeometry { stride, padding, dilation, groups } = *geometry;
    let vector = |t: &Option<Tensor>| t.as_ref().map(flat);
    let (scale, shift) = (vector(&data.epilogue.scale), vector(&data.epilogue.shift));
    let residual = vector(&data.epilogue.residual);
    let mut output = vec![];
    for (n, out_channel, y, x) in indices(batch, out_channels, out_height, out_width) {
        let mut sum = 0.;
        for (c, i, j, _) in indices(group_in_channels, kernel_height, kernel_width, 1) {
            let row = (y * stride[0] + i * dilation[0]).wrapping_sub(padding[0][0]);
            let column = (x * stride[1] + j * dilation[1]).wrapping_sub(padding[1][0]);
            if row < height && column < width {
                let channel = out_channel / (out_channels / groups) * group_in_channels + c;
                sum += input[((n * in_channels + channel) * height + row) * width + column]
                    * weight[((out_channel * group_in_channels + c) * kernel_height + i) * kernel_width + j];
            }
        }
        sum *= scale.as_ref().map_or(1., |s| s[out_channel]);
        sum += shift.as_ref().map_or(0., |s| s[out_channel]);
        sum += residual.as_ref().map_or(0., |r| r[output.len()]);
        output.push(data.epilogue.activation.value(sum));
    }
    output
}

/// Returns all indices of an array of the shape `[a, b, c, d]`, in row-major order.
fn indices(a: usize, b: usize, c: usize, d: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a).flat_map(move |i| {
        (0..b).flat_map(move |j| (0..c).flat_map(move |k| (0..d).map(move |l| (i, j, k, l))))
    })
}

/// Asserts that each element differs by at most `tolerance · max(1, largest)`, where `largest` is the largest finite
/// magnitude in `expected`, and that NaN and infinities are at the same positions.
fn assert_close(actual: &Tensor, expected: &[f64], tolerance: f64) {
    let actual = flat(actual);
    assert_eq!(actual.len(), expected.len());
    let largest = expected.iter().filter(|x| x.is_finite()).fold(1f64, |largest, x| largest.max(x.abs()));
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let same = actual == expected
            || (actual.is_nan() && expected.is_nan())
            || (actual - expected).abs() <= tolerance * largest;
        assert!(same, "element {i}: expected {expected}, found {actual}");
    }
}

/// Asserts that the error of each element is at most that of rounding once to f16 or bf16, plus
/// `5e-4 · max(1, largest)`, where `largest` is the largest magnitude in `expected`. The second term allows for errors
/// of the f32 sums, which may come from Winograd's transforms.
fn assert_rounded(actual: &Tensor, expected: &[f64]) {
    let relative_error = if actual.dtype() == DType::F16 { 0.5 / 1024. } else { 0.5 / 128. };
    let largest = expected.iter().fold(1f64, |largest, x| largest.max(x.abs()));
    let actual = flat(actual);
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        assert!(
            (actual - expected).abs() <= expected.abs() * relative_error * 1.01 + 5e-4 * largest,
            "expected {expected}, found {actual}"
        );
    }
}

/// Like [`assert_close`], but for results that may come from Winograd's transforms, whose rounding errors are
/// larger. Bounds the norm of the difference, and bounds the difference of each element less strictly.
fn assert_close_in_norm(actual: &Tensor, expected: &[f64]) {
    assert_close(actual, expected, 2e-4);
    let actual = flat(actual);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(expected).map(|(actual, expected)| actual - expected));
    let scale = norm(&mut expected.iter().copied()).max((actual.len() as f64).sqrt());
    assert!(
        difference <= 2e-5 * scale,
        "expected a difference of norm at most {:e}, found {difference:e}",
        2e-5 * scale
    );
}

fn run(data: &Data, geometry: &ConvGeometry) -> Result<Tensor> {
    conv2d(&data.input, &data.weight, geometry, &data.epilogue, None)
}

fn assert_close_on_every_isa(case: &Case, expected: &[f64]) {
    let Data { input, weight, epilogue } = case.data(DType::F32);
    for isa in available() {
        let actual = conv2d_with(isa, &input, &weight, &case.geometry, &epilogue).unwrap();
        assert_close(&actual, expected, 1e-5);
    }
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![
        8 => prop::sample::select(&ACTIVATIONS[..]),
        1 => (-0.5..1.5).prop_map(|negative_slope| Activation::LeakyRelu { negative_slope }),
    ]
}

prop_compose! {
    fn geometries()(
        stride in [1usize..4, 1..4],
        padding in [[0usize..4, 0..4], [0..4, 0..4]],
        dilation in [1usize..4, 1..4],
        groups in prop_oneof![3 => Just(1usize), 1 => 2usize..5],
    ) -> ConvGeometry {
        ConvGeometry { stride, padding, dilation, groups }
    }
}

prop_compose! {
    fn cases()(
        geometry in geometries(),
        batch in 0usize..4,
        group_in_channels in prop_oneof![Just(1usize), 1usize..20],
        group_out_channels in prop_oneof![Just(1usize), 1usize..20],
        kernel in [1usize..6, 1..6],
        extra in [0usize..30, 0..40],
        epilogue in any::<[bool; 3]>(),
        activation in activations(),
        seed in any::<u64>(),
    ) -> Case {
        let min_size = |i: usize| {
            let padding: usize = geometry.padding[i].iter().sum();
            (geometry.dilation[i] * (kernel[i] - 1) + 1).saturating_sub(padding).max(1)
        };
        let [scale, shift, residual] = epilogue;
        Case {
            input: [batch, group_in_channels * geometry.groups, min_size(0) + extra[0], min_size(1) + extra[1]],
            weight: [group_out_channels * geometry.groups, group_in_channels, kernel[0], kernel[1]],
            geometry, scale, shift, residual, activation, seed,
        }
    }
}

/// Returns a case whose input has `extra` more rows and columns than the smallest input with an output. `channels` is
/// `[groups, input channels per group, output channels per group]`.
fn fitted(
    case: Case,
    kernel: usize,
    dilation: usize,
    stride: usize,
    channels: [usize; 3],
    extra: [usize; 2],
) -> Case {
    let [groups, group_in_channels, group_out_channels] = channels;
    let padding = case.geometry.padding;
    let geometry = ConvGeometry { stride: [stride; 2], dilation: [dilation; 2], groups, padding };
    let size =
        |i: usize| (dilation * (kernel - 1) + 1).saturating_sub(padding[i].iter().sum()).max(1) + extra[i];
    let input = [case.input[0], groups * group_in_channels, size(0), size(1)];
    Case { input, weight: [groups * group_out_channels, group_in_channels, kernel, kernel], geometry, ..case }
}

prop_compose! {
    /// Generates depthwise 3×3 convolutions, with one input channel per group.
    fn depthwise()(
        case in cases(), stride in 1usize..3, groups in 1usize..20, group_out_channels in 1usize..4,
        extra in [0usize..40, 0..70],
    ) -> Case {
        fitted(case, 3, 1, stride, [groups, 1, group_out_channels], extra)
    }
}

prop_compose! {
    /// Generates depthwise convolutions with large kernels, with one input channel per group.
    fn large_depthwise()(
        case in cases(), kernel in 4usize..24, groups in 1usize..6, group_out_channels in 1usize..3,
        extra in [0usize..40, 0..70],
    ) -> Case {
        fitted(case, kernel, 1, 1, [groups, 1, group_out_channels], extra)
    }
}

prop_compose! {
    /// Generates dilated 3×3 convolutions with enough channels and pixels for Winograd's algorithm.
    fn dilated()(
        case in cases(), dilation in 2usize..20, channels in [16usize..40, 16..40], extra in [8usize..40, 8..40],
    ) -> Case {
        fitted(case, 3, dilation, 1, [1, channels[0], channels[1]], extra)
    }
}

prop_compose! {
    /// Generates undilated 3×3 convolutions with enough channels and pixels for Winograd's algorithm.
    fn winograd()(
        case in cases(), channels in [16usize..70, 16..50], extra in [8usize..50, 8..50],
    ) -> Case {
        fitted(case, 3, 1, 1, [1, channels[0], channels[1]], extra)
    }
}

prop_compose! {
    /// Generates pointwise convolutions, some of them with more input channels than fit in one chunk.
    fn pointwise()(
        case in cases(), channels in [1usize..400, 1..70], extra in [0usize..12, 0..40], plain in any::<bool>(),
    ) -> Case {
        let mut case = case;
        if plain {
            case.geometry.padding = Default::default();
        }
        fitted(case, 1, 1, 1, [1, channels[0], channels[1]], extra)
    }
}

proptest! {
    #![proptest_config(crate::common::config(200))]

    #[test]
    fn agrees_with_the_definition(case in cases()) {
        let expected = reference(&case.data(DType::F64), &case.geometry);
        let double = run(&case.data(DType::F64), &case.geometry).unwrap();
        prop_assert_eq!(double.dims(), &case.output());
        assert_close(&double, &expected, 1e-13);
        assert_close(&run(&case.data(DType::F32), &case.geometry).unwrap(), &expected, 1e-5);
        assert_close_on_every_isa(&case, &expected);
    }

    #[test]
    fn every_kernel_agrees_with_f64(case in prop_oneof![depthwise(), large_depthwise(), dilated(), pointwise()]) {
        let data = case.data(DType::F32);
        let expected = flat(&run(&case.data(DType::F64), &case.geometry).unwrap());
        for isa in available() {
            let actual = conv2d_with(isa, &data.input, &data.weight, &case.geometry, &data.epilogue).unwrap();
            assert_close_in_norm(&actual, &expected);
        }
        // Run twice: the first call packs the weight, the second one uses the cached weight.
        let packed = PackedCache::default();
        for _ in 0..2 {
            let actual = conv2d(&data.input, &data.weight, &case.geometry, &data.epilogue, Some(&packed)).unwrap();
            assert_close_in_norm(&actual, &expected);
        }
    }

    #[test]
    fn f16_and_bf16_results_are_rounded_once(case in cases()) {
        for (dtype, relative_error) in [(DType::F16, 0.5 / 1024.), (DType::BF16, 0.5 / 128.)] {
            let data = case.data(dtype);
            let expected = reference(&data, &case.geometry);
            let actual = run(&data, &case.geometry).unwrap();
            prop_assert_eq!(actual.dtype(), dtype);
            for (actual, expected) in flat(&actual).iter().zip(&expected) {
                let bound = expected.abs() * relative_error * 1.01 + 1e-4;
                prop_assert!((actual - expected).abs() <= bound, "expected {expected}, found {actual}");
            }
        }
    }

    #[test]
    fn every_kernel_supports_f16_and_bf16(
        case in prop_oneof![cases(), depthwise(), dilated(), pointwise(), winograd()],
        dtype in prop::sample::select(vec![DType::F16, DType::BF16]),
    ) {
        let data = case.data(dtype);
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
        let wide = Data { input: double(&data.input), weight: double(&data.weight), epilogue: Epilogue {
            scale: data.epilogue.scale.as_ref().map(double),
            shift: data.epilogue.shift.as_ref().map(double),
            residual: data.epilogue.residual.as_ref().map(double),
            activation: case.activation,
        } };
        let expected = flat(&run(&wide, &case.geometry).unwrap());
        for isa in available() {
            let actual = conv2d_with(isa, &data.input, &data.weight, &case.geometry, &data.epilogue).unwrap();
            assert_rounded(&actual, &expected);
        }
        let packed = PackedCache::default();
        for _ in 0..2 {
            let actual = conv2d(&data.input, &data.weight, &case.geometry, &data.epilogue, Some(&packed)).unwrap();
            assert_rounded(&actual, &expected);
        }
    }

    #[test]
    fn agrees_with_candle(case in cases()) {
        let ConvGeometry { stride, padding: [[padding, bottom], [left, right]], dilation, groups } = case.geometry;
        // Candle's operation has one stride, one padding and one dilation for all axes and sides.
        let symmetric = [bottom, left, right] == [padding; 3] && stride[0] == stride[1] && dilation[0] == dilation[1];
        let geometry = ConvGeometry {
            stride: [stride[0]; 2],
            padding: [[padding; 2]; 2],
            dilation: [dilation[0]; 2],
            groups,
        };
        let fits = geometry.output_size([case.input[2], case.input[3]], [case.weight[2], case.weight[3]]).is_some();
        prop_assume!(case.input[0] > 0 && (symmetric || fits));
        let activation = Activation::Identity;
        let case = Case { geometry, scale: false, shift: false, residual: false, activation, ..case };
        let data = case.data(DType::F32);
        let candle = data.input.conv2d(&data.weight, padding, stride[0], dilation[0], groups).unwrap();
        assert_close(&run(&data, &geometry).unwrap(), &flat(&candle), 1e-5);
    }

    #[test]
    fn any_operand_strides_give_the_same_results(case in cases()) {
        let plain = case.data(DType::F32);
        let data = Data {
            input: strided_view(&plain.input),
            weight: strided_view(&plain.weight),
            epilogue: Epilogue {
                scale: plain.epilogue.scale.as_ref().map(strided_view),
                shift: plain.epilogue.shift.as_ref().map(strided_view),
                residual: plain.epilogue.residual.as_ref().map(strided_view),
                activation: case.activation,
            },
        };
        let (actual, expected) = (run(&data, &case.geometry).unwrap(), run(&plain, &case.geometry).unwrap());
        prop_assert_eq!(flat(&actual), flat(&expected));
    }
}

/// Returns a strided view with the same elements: every second element of a larger tensor with reversed axes.
fn strided_view(tensor: &Tensor) -> Tensor {
    let axes: Vec<usize> = (0..tensor.rank()).rev().collect();
    let transposed = tensor.permute(axes.clone()).unwrap().contiguous().unwrap();
    let pairs = Tensor::stack(&[&transposed, &transposed], transposed.rank()).unwrap();
    let last = pairs.rank() - 1;
    pairs.narrow(last, 1, 1).unwrap().squeeze(last).unwrap().permute(axes).unwrap()
}

fn case(
    input: [usize; 4],
    out_channels: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
) -> Case {
    let geometry =
        ConvGeometry { stride: [stride; 2], padding: [[padding; 2]; 2], groups, ..Default::default() };
    let weight = [out_channels, input[1] / groups, kernel, kernel];
    let (scale, shift, residual) = (true, true, true);
    Case { input, weight, geometry, scale, shift, residual, activation: Activation::Relu, seed: 7 }
}

fn with_dilation(case: Case, dilation: usize) -> Case {
    let geometry = ConvGeometry { dilation: [dilation; 2], ..case.geometry };
    Case { geometry, ..case }
}

/// Returns cases that are large enough for several chunks of input channels, several blocks of output channels and
/// several input tiles.
fn large() -> Vec<Case> {
    vec![
        case([1, 130, 20, 23], 150, 3, 1, 1, 1),
        case([2, 600, 14, 14], 37, 1, 1, 0, 1),
        case([1, 9, 1, 17], 5, 1, 1, 0, 1),
        case([1, 70, 33, 31], 64, 3, 2, 1, 1),
        case([1, 64, 29, 28], 40, 1, 2, 0, 1),
        case([1, 3, 9, 3001], 21, 7, 2, 3, 1),
        case([1, 96, 40, 41], 96, 3, 1, 1, 96),
        case([1, 96, 41, 40], 192, 3, 2, 1, 96),
        case([1, 128, 7, 7], 130, 3, 1, 1, 2),
        case([3, 1, 60, 60], 20, 5, 1, 0, 1),
        case([1, 300, 16, 32], 40, 1, 1, 0, 1),
        case([1, 5, 7, 2048], 9, 3, 1, 1, 1),
        Case { activation: Activation::Silu, ..case([2, 40, 33, 33], 80, 3, 1, 1, 40) },
        Case { activation: Activation::Silu, ..case([1, 9, 13, 13], 20, 3, 1, 1, 1) },
        with_dilation(case([1, 64, 56, 55], 48, 3, 1, 2, 1), 2),
        with_dilation(case([1, 32, 40, 47], 40, 3, 1, 1, 1), 3),
    ]
}

#[test]
fn large_shapes_agree_with_f64_on_every_instruction_set() {
    for case in large() {
        let expected = flat(&run(&case.data(DType::F64), &case.geometry).unwrap());
        let data = case.data(DType::F32);
        for isa in available() {
            let actual = conv2d_with(isa, &data.input, &data.weight, &case.geometry, &data.epilogue).unwrap();
            assert_close_in_norm(&actual, &expected);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let dtypes = [DType::F32, DType::F16, DType::BF16];
    for (case, dtype) in large().into_iter().flat_map(|case| dtypes.map(|dtype| (case.clone(), dtype))) {
        let data = case.data(dtype);
        let results = crate::common::lists::THREADS.map(|threads| {
            let output = crate::common::on_threads(threads, || run(&data, &case.geometry)).unwrap();
            flat(&output).into_iter().map(f64::to_bits).collect::<Vec<_>>()
        });
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{case:?}");
    }
}

#[test]
fn a_packed_weight_is_reused_only_for_the_same_tensor() {
    let case = case([1, 5, 9, 9], 7, 3, 1, 1, 1);
    let (first, second) = (case.data(DType::F32), Case { seed: 8, ..case.clone() }.data(DType::F32));
    let packed = PackedCache::default();
    for data in [&first, &first, &second, &first] {
        let cached =
            conv2d(&data.input, &data.weight, &case.geometry, &data.epilogue, Some(&packed)).unwrap();
        assert_eq!(flat(&cached), flat(&run(data, &case.geometry).unwrap()));
    }
}

#[test]
fn nan_and_infinity_give_the_results_of_pytorch() {
    let tensor = |values: &[f32], dims: [usize; 4]| Tensor::from_slice(values, &dims, &Device::Cpu).unwrap();
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let input = tensor(&[nan, 1., -inf, inf, -2.], [1, 1, 1, 5]);
    let one = tensor(&[1.], [1, 1, 1, 1]);
    let result = |weight: &Tensor, padding: [[usize; 2]; 2], activation| -> Vec<f32> {
        let geometry = ConvGeometry { padding, ..Default::default() };
        let epilogue = Epilogue { activation, ..Default::default() };
        let results = available().into_iter().map(|isa| {
            conv2d_with(isa, &input, weight, &geometry, &epilogue)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap()
        });
        let results: Vec<Vec<f32>> = results.collect();
        let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
        assert!(results.windows(2).all(|pair| same(&pair[0], &pair[1])), "{results:?}");
        results[0].clone()
    };
    let no_padding = [[0; 2]; 2];
    let text = |values: Vec<f32>| format!("{values:?}");
    assert_eq!(text(result(&one, no_padding, Activation::Relu)), "[NaN, 1.0, 0.0, inf, 0.0]");
    assert_eq!(text(result(&one, no_padding, Activation::Relu6)), "[NaN, 1.0, 0.0, 6.0, 0.0]");
    let leaky = Activation::LeakyRelu { negative_slope: 0.5 };
    assert_eq!(text(result(&one, no_padding, leaky)), "[NaN, 1.0, -inf, inf, -1.0]");
    assert_eq!(text(result(&one, no_padding, Activation::Tanh)), "[NaN, 0.7615942, -1.0, 1.0, -0.9640276]");
    assert_eq!(text(result(&one, no_padding, Activation::Sigmoid)), "[NaN, 0.7310586, 0.0, 1.0, 0.11920292]");
    // A zero weight times infinity is NaN.
    assert_eq!(
        text(result(&tensor(&[0.], [1, 1, 1, 1]), no_padding, Activation::Identity)),
        "[NaN, 0.0, NaN, NaN, 0.0]"
    );
}

#[test]
fn nan_and_infinity_affect_only_the_outputs_that_read_them() {
    let case = case([1, 64, 24, 24], 64, 3, 1, 1, 1);
    let mut data = case.data(DType::F32);
    let single_value = |value: f32, channel: usize, y: usize, x: usize| {
        let mut values = vec![0f32; 64 * 24 * 24];
        values[(channel * 24 + y) * 24 + x] = value;
        Tensor::from_vec(values, (1, 64, 24, 24), &Device::Cpu).unwrap()
    };
    data.input = ((data.input + single_value(f32::NAN, 5, 3, 4)).unwrap()
        + single_value(f32::INFINITY, 7, 20, 23))
    .unwrap();
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 2e-3), (DType::BF16, 1e-2)] {
        let (input, weight) = (data.input.to_dtype(dtype).unwrap(), data.weight.to_dtype(dtype).unwrap());
        let data = Data { input, weight, epilogue: Epilogue::default() };
        let expected = reference(&data, &case.geometry);
        let packed = PackedCache::default();
        let actual =
            conv2d(&data.input, &data.weight, &case.geometry, &data.epilogue, Some(&packed)).unwrap();
        assert_close(&actual, &expected, tolerance);
    }
}

#[test]
fn padding_is_not_multiplied_by_an_infinite_weight() {
    let input = Tensor::from_slice(&[1f32, 2., 3.], (1, 1, 1, 3), &Device::Cpu).unwrap();
    let weight = Tensor::from_slice(&[f32::INFINITY, 1., 1.], (1, 1, 1, 3), &Device::Cpu).unwrap();
    let geometry = ConvGeometry { padding: [[0, 0], [1, 1]], ..Default::default() };
    let dtypes = [DType::F32, DType::F16, DType::BF16];
    for (isa, dtype) in available().into_iter().flat_map(|isa| dtypes.map(|dtype| (isa, dtype))) {
        let [input, weight] = [&input, &weight].map(|tensor| tensor.to_dtype(dtype).unwrap());
        let actual = conv2d_with(isa, &input, &weight, &geometry, &Epilogue::default()).unwrap();
        assert_eq!(flat(&actual), [3., f64::INFINITY, f64::INFINITY]);
    }
}

#[test]
fn empty_batches_and_channels_are_supported() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let data = case([0, 4, 9, 9], 8, 3, 1, 1, 1).data(dtype);
        let actual = run(&data, &ConvGeometry { padding: [[1; 2]; 2], ..Default::default() }).unwrap();
        assert_eq!((actual.dims(), actual.dtype()), (&[0, 8, 9, 9][..], dtype));
    }
    // Here, the input is an empty view whose offset lies past the end of its storage.
    let empty = case([0, 1, 1, 1], 1, 1, 1, 0, 1);
    let mut data = empty.data(DType::F32);
    data.input = strided_view(&data.input);
    assert_eq!(run(&data, &empty.geometry).unwrap().dims(), [0, 1, 1, 1]);
    let no_outputs = case([2, 4, 9, 9], 0, 3, 1, 1, 1);
    assert_eq!(run(&no_outputs.data(DType::F32), &no_outputs.geometry).unwrap().dims(), [2, 0, 9, 9]);
    let no_input_channels = case([1, 0, 3, 3], 5, 3, 1, 1, 1);
    let expected = reference(&no_input_channels.data(DType::F64), &no_input_channels.geometry);
    assert_close_on_every_isa(&no_input_channels, &expected);
}

#[test]
fn mismatched_operands_are_errors() {
    let valid = case([2, 4, 9, 8], 6, 3, 1, 0, 1);
    let data = valid.data(DType::F32);
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let error_message = |change: &dyn Fn(&mut Data, &mut ConvGeometry)| {
        let mut geometry = valid.geometry;
        let mut data =
            Data { input: data.input.clone(), weight: data.weight.clone(), epilogue: data.epilogue.clone() };
        change(&mut data, &mut geometry);
        run(&data, &geometry).unwrap_err().to_string()
    };
    let assert_message = |change: &dyn Fn(&mut Data, &mut ConvGeometry), words: &[&str]| {
        let message = error_message(change);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    assert_message(
        &|d, _| d.input = zeros(&[2, 9, 8]),
        &["expected an input [batch, channels, height, width]", "[2, 9, 8]"],
    );
    assert_message(&|d, _| d.weight = zeros(&[6, 4, 3]), &["expected a weight", "[6, 4, 3]"]);
    assert_message(&|d, _| d.input = zeros(&[2, 1, 9, 8]), &["expected 4 input channels", "found 1"]);
    assert_message(&|d, _| d.weight = zeros(&[6, 4, 10, 3]), &["at least the kernel's size", "9×8", "10×3"]);
    assert_message(&|d, _| d.weight = zeros(&[6, 4, 0, 3]), &["kernel"]);
    assert_message(&|_, g| g.stride = [1, 0], &["stride of at least 1", "[1, 0]"]);
    assert_message(&|_, g| g.dilation = [0, 1], &["dilation of at least 1", "[0, 1]"]);
    assert_message(&|_, g| g.groups = 0, &["at least one group"]);
    assert_message(&|_, g| g.groups = 2, &["expected 8 input channels", "found 4"]);
    assert_message(
        &|d, g| (d.input, g.groups) = (zeros(&[2, 16, 9, 8]), 4),
        &["divisible by 4 groups", "found 6"],
    );
    assert_message(&|_, g| g.padding[0] = [usize::MAX, 1], &["padding"]);
    assert_message(&|_, g| g.padding[0] = [1 << 60, 1], &["fits in memory"]);
    assert_message(
        &|d, _| d.weight = d.weight.to_dtype(DType::F64).unwrap(),
        &["weight of dtype F32", "found F64"],
    );
    assert_message(&|d, _| d.epilogue.shift = Some(zeros(&[5])), &["shift of shape [6]", "[5]"]);
    assert_message(&|d, _| d.epilogue.scale = Some(zeros(&[6, 1])), &["scale of shape [6]", "[6, 1]"]);
    assert_message(
        &|d, _| d.epilogue.residual = Some(zeros(&[2, 6, 9, 8])),
        &["residual of shape [2, 6, 7, 6]", "[2, 6, 9, 8]"],
    );
    let integers = |d: &mut Data| {
        d.input = d.input.to_dtype(DType::U8).unwrap();
        d.weight = d.weight.to_dtype(DType::U8).unwrap();
        d.epilogue = Epilogue::default();
    };
    assert_message(&|d, _| integers(d), &["expected f32, f64, f16 or bf16", "U8"]);
}
