//! Compares the CUDA kernels for the gradients of the fused convolution with the CPU kernels in f64.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::backward::{Needs, conv2d_backward};
use sconce::kernels::conv::{ConvGeometry, TransposeGeometry, conv_transpose2d};
use sconce::kernels::internal::ConvShape;
use sconce::kernels::testing::cuda::Target;
use sconce::kernels::testing::cuda::conv_backward::{
    Method, Methods, Tile, program, program_with_methods, transposed_program, transposed_program_with_method,
};
use sconce_cuda_tests::run;

use crate::common::conv_case::{Case, cases};
use crate::common::lists::{DTYPES, activations_that_save_output};
use crate::common::{Rng, check_close, config, values};

/// All gradients.
const ALL: Needs = Needs { input: true, weight: true, bias: true, residual: true };

const TILES: [Tile; 4] = [Tile::Narrow, Tile::Medium, Tile::Wide, Tile::Large];

impl Case {
    fn shape(&self) -> Result<ConvShape> {
        let ([group_in_channels, group_out_channels], [height, width]) = (self.channels, self.size);
        let groups = self.geometry.groups;
        let weight = [groups * group_out_channels, group_in_channels, self.kernel[0], self.kernel[1]];
        ConvShape::new(&[self.batch, groups * group_in_channels, height, width], &weight, &self.geometry)
    }
}

fn needs() -> impl Strategy<Value = Needs> {
    proptest::array::uniform4(any::<bool>()).prop_map(|[input, weight, bias, residual]| Needs {
        input,
        weight,
        bias,
        residual,
    })
}

/// Returns `[input, weight, output, grad]`, with outputs on both sides of every kink of the activation.
fn tensors(shape: &ConvShape, dtype: DType, activation: Activation) -> Result<[Tensor; 4]> {
    let input = [shape.batch, shape.in_channels, shape.input[0], shape.input[1]];
    let scale = if activation == Activation::Relu6 { 8. } else { 1. };
    let mut numbers = Rng(1);
    Ok([
        numbers.uniform(&input, dtype)?,
        numbers.uniform(&shape.weight_dims(), dtype)?,
        (numbers.uniform(&shape.output_dims(), dtype)? * scale)?,
        numbers.uniform(&shape.output_dims(), dtype)?,
    ])
}

/// Returns the allowed error, relative to the norm of the result.
fn tolerance(dtype: DType, method: Method) -> f64 {
    match (dtype, method) {
        (DType::F64, _) => 1e-13,
        (DType::F32, Method::TensorCores(_)) => 1e-3,
        (DType::F32, _) => 1e-5,
        _ => 1e-2,
    }
}

/// Asserts that the norm of the difference and the largest difference are small.
fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: f64, label: &str) -> Result<()> {
    check_close(label, actual, expected, tolerance)?;
    let (actual, expected) = (values(actual)?, values(expected)?);
    let largest = actual.iter().zip(&expected).fold(0., |max: f64, (x, y)| max.max((x - y).abs()));
    let scale = expected.iter().fold(0., |max: f64, y| max.max(y.abs()));
    assert!(
        largest <= 8. * tolerance * scale,
        "{label}: largest difference {largest}, largest value {scale}"
    );
    Ok(())
}

/// Runs the kernels of `methods` and compares the needed gradients. If `methods` is `None`, runs the kernels that the
/// library selects.
fn check(case: &Case, dtype: DType, activation: Activation, needs: Needs, methods: Option<Methods>) {
    let label = format!("{case:?} {dtype:?} {activation:?} {needs:?} {methods:?}");
    compare(case, dtype, activation, needs, methods, &label)
        .unwrap_or_else(|error| panic!("{label}: {error}"));
}

/// Does the work of [`check`], which adds `label` to the errors that this function returns.
fn compare(
    case: &Case,
    dtype: DType,
    activation: Activation,
    needs: Needs,
    methods: Option<Methods>,
    label: &str,
) -> Result<()> {
    let shape = case.shape()?;
    let operands = tensors(&shape, dtype, activation)?;
    let [input, weight, output, grad] = [0, 1, 2, 3].map(|i| operands[i].to_dtype(DType::F64));
    let (input, weight, output, grad) = (input?, weight?, output?, grad?);
    // The gradient of the bias sums the elements of the gradient of the residual, and `check_sums` needs these terms.
    let with_terms = Needs { residual: needs.residual || needs.bias, ..needs };
    let expected = conv2d_backward(&input, &weight, &output, &grad, &case.geometry, activation, with_terms)?;
    let terms = expected.residual.clone();
    let selected = methods.unwrap_or_else(|| Methods::choose(&shape, dtype, &Target::A100));
    let program = match methods {
        Some(methods) => program_with_methods(&shape, dtype, activation, needs, methods)?,
        None => program(&shape, dtype, activation, needs, &Target::A100)?,
    };
    let actual = run(&program, &operands.each_ref())?.outputs;

    // The gradients of the bias and the residual are always computed on CUDA cores. The tile does not affect the
    // tolerance.
    let cuda_cores = Method::CudaCores(Tile::Medium);
    let expected = [
        ("input", expected.input, selected.input),
        ("weight", expected.weight, selected.weight),
        ("bias", expected.bias, cuda_cores),
        ("residual", expected.residual.filter(|_| needs.residual), cuda_cores),
    ];
    let expected = expected.into_iter().filter_map(|(name, tensor, method)| Some((name, tensor?, method)));
    let expected: Vec<_> = expected.collect();
    assert_eq!(actual.len(), expected.len(), "{label}");
    for (actual, (name, expected, method)) in actual.iter().zip(expected) {
        let (tolerance, label) = (tolerance(dtype, method), format!("{name}, {label}"));
        if name == "bias" {
            let terms = terms.as_ref().expect("the terms were computed with the sums");
            check_sums(actual, &expected, terms, tolerance, &label)?;
        } else {
            assert_close(actual, &expected, tolerance, &label)?;
        }
    }
    Ok(())
}

/// Asserts that sums over all axes but the second are accurate, relative to the sums of the magnitudes of the terms.
/// The sums themselves can be almost zero.
fn check_sums(actual: &Tensor, expected: &Tensor, terms: &Tensor, tolerance: f64, label: &str) -> Result<()> {
    let magnitudes = values(&terms.abs()?.sum((0, 2, 3))?)?;
    let (actual, expected) = (values(actual)?, values(expected)?);
    assert_eq!([actual.len(), expected.len()], [magnitudes.len(); 2], "{label}");
    for ((actual, expected), magnitude) in actual.iter().zip(&expected).zip(magnitudes) {
        let difference = (actual - expected).abs();
        // Sums are computed at least in f32, and then rounded to the dtype of the gradient.
        assert!(
            difference <= tolerance * expected.abs() + tolerance.min(1e-5) * magnitude,
            "{label}: expected {expected}, found {actual}; the magnitudes of the terms add up to {magnitude}"
        );
    }
    Ok(())
}

/// Returns the methods that compute the gradients of the input and the weight with `method`.
fn both(method: Method) -> Option<Methods> {
    Some(Methods { input: method, weight: method })
}

/// Generates the dtypes that the kernels support. Tensor cores do not support f64.
fn dtypes(tensor_cores: bool) -> impl Strategy<Value = DType> {
    let dtypes: Vec<DType> =
        DTYPES.into_iter().filter(|dtype| !tensor_cores || *dtype != DType::F64).collect();
    proptest::sample::select(dtypes)
}

fn activations() -> impl Strategy<Value = Activation> {
    proptest::sample::select(activations_that_save_output())
}

fn tiles() -> impl Strategy<Value = Tile> {
    proptest::sample::select(&TILES[..])
}

/// Returns `tile`, or `Tile::Medium` if f64 does not support `tile`.
fn allowed(tile: Tile, dtype: DType) -> Tile {
    let fits = dtype != DType::F64 || matches!(tile, Tile::Narrow | Tile::Medium);
    if fits { tile } else { Tile::Medium }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn cuda_core_kernels_agree_with_the_cpu(case in cases(9, 10), dtype in dtypes(false), activation in activations(),
                                needs in needs(), tile in tiles()) {
        let tile = allowed(tile, dtype);
        check(&case, dtype, activation, needs, both(Method::CudaCores(tile)));
    }

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn tensor_core_kernels_agree_with_the_cpu(case in cases(12, 10), dtype in dtypes(true), activation in activations(),
                                       needs in needs(), tile in tiles()) {
        check(&case, dtype, activation, needs, both(Method::TensorCores(tile)));
    }

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn depthwise_agrees_with_the_cpu(case in cases(9, 10), dtype in dtypes(false), activation in activations(),
                                     needs in needs(), multiplier in 1usize..=3, groups in 1usize..=6) {
        let geometry = ConvGeometry { groups, ..case.geometry };
        let case = Case { channels: [1, multiplier], geometry, ..case };
        check(&case, dtype, activation, needs, None);
    }

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn transposed_agrees_with_the_cpu(case in cases(12, 10), dtype in dtypes(false), bias: bool, tile in tiles(),
                                      extra in [0usize..=2, 0usize..=2], tensor_cores: bool) {
        let method = match dtype {
            DType::F64 => Method::CudaCores(allowed(tile, dtype)),
            _ if tensor_cores => Method::TensorCores(tile),
            _ => Method::CudaCores(tile),
        };
        check_transposed(&case, dtype, bias, extra, method).unwrap();
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn selected_kernels_agree_with_the_cpu(case in cases(40, 10), dtype in dtypes(false), activation in activations()) {
        // A batch of at most one keeps the many channels of these cases fast.
        check(&Case { batch: case.batch.min(1), ..case }, dtype, activation, ALL, None);
    }
}

/// Checks a transposed convolution with the stride, dilation and groups of the case, and half of its padding. `extra`
/// is the output padding, which is reduced to the maximum that the stride and the dilation allow.
fn check_transposed(case: &Case, dtype: DType, bias: bool, extra: [usize; 2], method: Method) -> Result<()> {
    let label = format!("{case:?} {dtype:?} {bias} {extra:?} {method:?}");
    let ConvGeometry { stride, dilation, groups, .. } = case.geometry;
    let [output_padding, padding] = [0, 1].map(|setting| {
        [0, 1].map(|i| match setting {
            0 => extra[i].min(stride[i].max(dilation[i]) - 1),
            _ => case.geometry.padding[i][0] / 2,
        })
    });
    let geometry = TransposeGeometry { stride, padding, output_padding, dilation, groups };
    let Some(size) = geometry.output_size(case.size, case.kernel) else { return Ok(()) };
    let [group_in_channels, group_out_channels] = case.channels;
    let mut numbers = Rng(1);
    let input =
        numbers.uniform(&[case.batch, groups * group_in_channels, case.size[0], case.size[1]], dtype)?;
    let weight = numbers
        .uniform(&[groups * group_in_channels, group_out_channels, case.kernel[0], case.kernel[1]], dtype)?;
    let shift = numbers.uniform(&[groups * group_out_channels], dtype)?;
    let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
    let wide_shift = wide(&shift)?;
    let expected = conv_transpose2d(&wide(&input)?, &wide(&weight)?, bias.then_some(&wide_shift), &geometry)?;

    let padding = padding.map(|padding| [padding; 2]);
    let convolution = ConvGeometry { stride, padding, dilation, groups };
    let shape = ConvShape::new(
        &[case.batch, groups * group_out_channels, size[0], size[1]],
        weight.dims(),
        &convolution,
    )?;
    let program = transposed_program_with_method(&shape, case.size, dtype, bias, method)?;
    let operands = if bias { vec![&input, &weight, &shift] } else { vec![&input, &weight] };
    let actual = run(&program, &operands)?.outputs;
    assert_close(&actual[0], &expected, tolerance(dtype, method), &label)
}

/// Uses sizes that need several tiles, several steps along the depth of a sum, and several parts of a weight gradient.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn large_sizes_agree_with_the_cpu() {
    let relu = Activation::Relu;
    let groups = |groups, case: Case| Case { geometry: ConvGeometry { groups, ..case.geometry }, ..case };
    let needs = Needs { input: true, weight: true, ..Needs::default() };
    for tile in TILES {
        for (case, dtype) in [
            (Case::square(2, [7, 5], 24, 3, 1, 1), DType::F16),
            (Case::square(1, [33, 70], 9, 3, 2, 1), DType::F32),
            (Case::square(1, [130, 131], 5, 1, 1, 0), DType::BF16),
            (groups(4, Case::square(1, [4, 4], 12, 3, 1, 1)), DType::F32),
        ] {
            check(&case, DType::F32, relu, needs, both(Method::CudaCores(tile)));
            check(&case, dtype, relu, needs, both(Method::TensorCores(tile)));
        }
    }
    let depthwise = groups(3, Case::square(2, [1, 1], 34, 5, 1, 2));
    check(&depthwise, DType::F32, relu, ALL, None);
    check(&Case::square(1, [1, 1], 96, 1, 1, 0), DType::F32, relu, ALL, None);
    // If the stride is larger than the input, most phases contain no input pixel.
    check(&Case::square(1, [2, 3], 4, 3, 7, 2), DType::F32, relu, ALL, both(Method::CudaCores(Tile::Medium)));
}

/// Compares with PyTorch's gradients for the outputs -1, 0, 6, 7 and NaN and an output gradient of 2. If the slope is
/// zero, the gradient is zero even if the output gradient is infinite.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
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
    let one = Tensor::ones((1, 1, 1, 1), DType::F32, &Device::Cpu)?;
    let shape = ConvShape::new(&[1, 1, 1, 5], &[1, 1, 1, 1], &ConvGeometry::default())?;
    let needs = Needs { input: true, residual: true, ..Needs::default() };
    for (activation, expected) in expected {
        for method in [Method::Depthwise, Method::CudaCores(Tile::Narrow), Method::TensorCores(Tile::Narrow)]
        {
            let methods = Methods { input: method, weight: method };
            for needs in [needs, Needs { residual: false, ..needs }] {
                let program = program_with_methods(&shape, DType::F32, activation, needs, methods)?;
                let output = row([-1., 0., 6., 7., nan])?;
                for actual in run(&program, &[&row([1.; 5])?, &one, &output, &row([2.; 5])?])?.outputs {
                    for (x, y) in actual.to_vec1::<f32>()?.into_iter().zip(expected) {
                        assert!(
                            x == y || x.is_nan() && y.is_nan(),
                            "{activation:?}: expected {y}, found {x}"
                        );
                    }
                }
            }
        }
    }
    let program = program(&shape, DType::F32, Activation::Relu, needs, &Target::A100)?;
    let outputs = run(&program, &[&row([1.; 5])?, &one, &row([0.; 5])?, &row([f32::INFINITY; 5])?])?.outputs;
    assert!(outputs.iter().all(|actual| actual.to_vec1::<f32>().unwrap() == [0.; 5]));
    Ok(())
}

/// Checks the rule in the documentation of [`Methods::choose`] for layers of well-known networks.
#[test]
fn methods_are_selected_by_the_documented_rule() -> Result<()> {
    let a100 = Target::A100;
    let tf32 = Target { tf32: true, ..a100 };
    let old = Target { capability: (7, 5), ..tf32 };
    let resnet = Case::square(32, [128, 128], 28, 3, 1, 1);
    let [cuda_cores, tensor_cores] =
        [Method::CudaCores, Method::TensorCores].map(|method| method(Tile::Large));
    for (case, dtype, target, [input, weight]) in [
        (&resnet, DType::F32, a100, [cuda_cores, cuda_cores]),
        (&resnet, DType::F32, tf32, [tensor_cores, tensor_cores]),
        (&resnet, DType::BF16, a100, [tensor_cores, tensor_cores]),
        (&resnet, DType::F16, a100, [tensor_cores, tensor_cores]),
        (&resnet, DType::BF16, old, [cuda_cores, cuda_cores]),
        (&resnet, DType::F64, tf32, [Method::CudaCores(Tile::Medium); 2]),
        // One image does not fill the device. It is also too little work to justify packing for tensor cores.
        (&Case::square(1, [64, 64], 14, 3, 1, 1), DType::BF16, a100, [Method::CudaCores(Tile::Medium); 2]),
        (&Case::square(16, [64, 64], 56, 3, 1, 1), DType::F32, a100, [Method::CudaCores(Tile::Wide); 2]),
        (&Case::square(64, [3, 20], 28, 5, 1, 0), DType::F32, a100, [Method::CudaCores(Tile::Narrow); 2]),
        (&Case::square(64, [1, 20], 28, 5, 1, 0), DType::F32, tf32, [Method::Depthwise; 2]),
    ] {
        let expected = Methods { input, weight };
        assert_eq!(
            Methods::choose(&case.shape()?, dtype, &target),
            expected,
            "{case:?} {dtype:?} {target:?}"
        );
    }
    Ok(())
}

/// The partition of the weight gradient's sums does not depend on the device.
#[test]
fn partitions_of_sums_depend_only_on_the_shape() -> Result<()> {
    let small = Target { multiprocessors: 1, ..Target::A100 };
    let large = Target { multiprocessors: 1000, ..small };
    let needs = Needs { weight: true, bias: true, ..Needs::default() };
    for case in [
        Case::square(32, [128, 128], 28, 3, 1, 1),
        Case::square(64, [3, 64], 224, 7, 2, 3),
        Case::square(256, [512, 512], 7, 3, 1, 1),
    ] {
        for dtype in DTYPES {
            let [on_small, on_large] = [small, large]
                .map(|target| program(&case.shape().unwrap(), dtype, Activation::Relu, needs, &target));
            assert_eq!(on_small?, on_large?);
        }
    }
    Ok(())
}

#[test]
fn unsupported_problems_are_errors() -> Result<()> {
    let case = Case::square(1, [2, 2], 5, 3, 1, 1);
    let error_of = |case: &Case, dtype, activation| {
        let shape = case.shape().unwrap();
        program(&shape, dtype, activation, ALL, &Target::A100).err().map(|error| error.to_string())
    };
    let error = error_of(&case, DType::F32, Activation::Silu);
    assert!(
        error
            .is_some_and(|error| error.contains("the derivative of Silu cannot be computed from its output"))
    );
    let error = error_of(&case, DType::U8, Activation::Relu);
    assert!(error.is_some_and(|error| error.contains("expected f32, f64, f16 or bf16, found U8")));
    let error = error_of(&Case { batch: 1 << 30, ..case.clone() }, DType::F32, Activation::Relu);
    assert!(error.is_some_and(|error| error.contains("pixels in a batch's inputs on a CUDA device")));
    let shape = case.shape()?;
    assert!(transposed_program(&shape, shape.output, DType::U8, false, &Target::A100).is_err());
    let large = Methods { input: Method::CudaCores(Tile::Large), weight: Method::CudaCores(Tile::Large) };
    assert!(program_with_methods(&shape, DType::F64, Activation::Relu, ALL, large).is_err());
    Ok(())
}
