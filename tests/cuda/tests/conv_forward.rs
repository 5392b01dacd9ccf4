//! Compares the CUDA kernels for the fused convolution with the CPU kernels in f64: every tile, on random settings.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use sconce::kernels::conv::{ConvGeometry, Epilogue, conv2d};
use sconce::kernels::internal::ConvShape;
use sconce::kernels::testing::cuda::Target;
use sconce::kernels::testing::cuda::conv_forward::{
    ComputeUnits, Options, Tile, Variant, program, program_with, variants,
};
use sconce_cuda_tests::run;

use crate::common::config;
use crate::common::lists::{ACTIVATIONS, DTYPES};
use crate::common::magnitude::largest_magnitude;

/// A target that supports every kernel.
const TARGET: Target = Target { tf32: true, ..Target::H100 };

/// The shapes and settings of a convolution.
#[derive(Clone, Debug)]
struct Setting {
    /// `[batch, in_channels, height, width]`
    input: [usize; 4],
    /// `[out_channels, in_channels / groups, kernel height, kernel width]`
    weight: [usize; 4],
    geometry: ConvGeometry,
    options: Options,
}

impl Setting {
    /// Returns a setting without padding, dilation or an epilogue.
    fn plain(input: [usize; 4], weight: [usize; 4]) -> Self {
        Self { input, weight, geometry: ConvGeometry::default(), options: Options::default() }
    }

    fn shape(&self) -> Result<ConvShape> {
        ConvShape::new(&self.input, &self.weight, &self.geometry)
    }

    /// Returns a case with random operands for a variant. In f32, the operands of tensor cores are exact in TF32.
    fn case(&self, dtype: DType, variant: Variant) -> Result<Case> {
        let (shape, device) = (self.shape()?, Device::Cpu);
        // Scale weights so that sums are about 1, independent of their length.
        let std = 1.0 / (shape.depth().max(1) as f64).sqrt();
        let random = |dims: &[usize], std: f64| Tensor::randn(0.0, std, dims, &device)?.to_dtype(dtype);
        // Round the input and the weight to TF32, so that tensor cores compute the same products as f32 arithmetic.
        let operand = |dims: &[usize], std: f64| match (dtype, on_tensor_cores(&variant)) {
            (DType::F32, true) => rounded_to_tf32(&random(dims, std)?),
            _ => random(dims, std),
        };
        let optional = |is_given: bool, dims: &[usize]| is_given.then(|| random(dims, 1.0)).transpose();
        let channels = [shape.out_channels];
        let epilogue = Epilogue {
            scale: optional(self.options.scale, &channels)?,
            shift: optional(self.options.shift, &channels)?,
            residual: optional(self.options.residual, &shape.output_dims())?,
            activation: self.options.activation,
        };
        let (input, weight) = (operand(&self.input, 1.0)?, operand(&self.weight, std)?);
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let wide_given = |tensor: &Option<Tensor>| tensor.as_ref().map(wide).transpose();
        let exact = Epilogue {
            scale: wide_given(&epilogue.scale)?,
            shift: wide_given(&epilogue.shift)?,
            residual: wide_given(&epilogue.residual)?,
            activation: epilogue.activation,
        };
        let expected =
            conv2d(&wide(&input)?, &wide(&weight)?, &self.geometry, &exact, None)?.flatten_all()?;
        let mut operands = vec![input, weight];
        operands.extend([epilogue.scale, epilogue.shift, epilogue.residual].into_iter().flatten());
        Ok(Case { shape, dtype, options: self.options, variant, operands, expected })
    }

    /// Runs a variant on random operands.
    fn check(&self, dtype: DType, variant: Variant) -> Result<()> {
        self.case(dtype, variant)?.check()
    }
}

/// A setting with its operands and the expected output.
struct Case {
    shape: ConvShape,
    dtype: DType,
    options: Options,
    variant: Variant,
    operands: Vec<Tensor>,
    /// The expected output in f64.
    expected: Tensor,
}

impl Case {
    /// Returns the output in f64.
    fn run(&self) -> Result<Tensor> {
        let program = program_with(&self.shape, self.dtype, &self.options, self.variant)?;
        if self.expected.elem_count() == 0 {
            assert!(program.launches.is_empty());
            return Ok(self.expected.clone());
        }
        let operands: Vec<&Tensor> = self.operands.iter().collect();
        run(&program, &operands)?.outputs[0].to_dtype(DType::F64)
    }

    fn check(&self) -> Result<()> {
        let actual = self.run()?;
        if actual.elem_count() == 0 {
            return Ok(());
        }
        let error = largest_magnitude(&actual.sub(&self.expected)?)?;
        let scale = largest_magnitude(&self.expected)?.max(1.0);
        let tolerance = match self.dtype {
            DType::F64 => 1e-12,
            DType::F32 => 1e-5,
            DType::F16 => 1e-3,
            _ => 8e-3,
        };
        // An unwritten element is NaN and makes the error NaN, which is not within the tolerance.
        if error <= tolerance * scale {
            return Ok(());
        }
        candle_core::bail!("{:?}: largest difference {error}, largest value {scale}", self.variant)
    }
}

/// Returns `true` if the variant multiplies on tensor cores.
fn on_tensor_cores(variant: &Variant) -> bool {
    matches!(
        variant,
        Variant::Hopper(_)
            | Variant::ImplicitGemm { tile: Tile { units: ComputeUnits::TensorCores(_), .. }, .. }
    )
}

/// Rounds to 10 bits of mantissa, ties away from zero.
fn rounded_to_tf32(tensor: &Tensor) -> Result<Tensor> {
    let round = |x: f32| f32::from_bits((x.to_bits() + 0x1000) & !0x1fff);
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(round).collect();
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu)
}

fn geometries() -> impl Strategy<Value = ConvGeometry> {
    let axis = || (1usize..4, (0usize..4, 0usize..4), 1usize..4);
    (axis(), axis()).prop_map(|((sh, (top, bottom), dh), (sw, (left, right), dw))| ConvGeometry {
        stride: [sh, sw],
        padding: [[top, bottom], [left, right]],
        dilation: [dh, dw],
        groups: 1,
    })
}

fn options() -> impl Strategy<Value = Options> {
    (any::<[bool; 3]>(), prop::sample::select(&ACTIVATIONS[..]))
        .prop_map(|([scale, shift, residual], activation)| Options { scale, shift, residual, activation })
}

/// Generates settings whose kernel fits in the padded input. `channels` are the input and output channels per group.
fn settings(
    groups: std::ops::Range<usize>,
    channels: [std::ops::Range<usize>; 2],
) -> impl Strategy<Value = Setting> {
    let [group_in_channels, group_out_channels] = channels;
    let sizes = ((1usize..14, 1usize..14), (1usize..5, 1usize..5));
    (0usize..4, (groups, group_in_channels, group_out_channels), sizes, geometries(), options())
        .prop_filter_map(
            "the kernel does not fit",
            |(
                batch,
                (groups, group_in_channels, group_out_channels),
                ((h, w), (kh, kw)),
                geometry,
                options,
            )| {
                let geometry = ConvGeometry { groups, ..geometry };
                geometry.output_size([h, w], [kh, kw])?;
                let (input, weight) = (
                    [batch, groups * group_in_channels, h, w],
                    [groups * group_out_channels, group_in_channels, kh, kw],
                );
                Some(Setting { input, weight, geometry, options })
            },
        )
}

/// Runs `check` on `cases` random settings.
fn check_random(
    cases: u32,
    settings: impl Strategy<Value = Setting>,
    check: impl Fn(&Setting) -> Result<()>,
) {
    let mut runner = TestRunner::new(config(cases));
    let outcome = runner
        .run(&settings, |setting| check(&setting).map_err(|error| TestCaseError::fail(error.to_string())));
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// In each dtype, checks one of the variants that support the setting and satisfy `wanted`. The sizes of the setting
/// determine which one.
fn check_one_of(setting: &Setting, dtypes: &[DType], wanted: impl Fn(&Variant) -> bool) -> Result<()> {
    for dtype in dtypes {
        let all: Vec<_> = variants(&setting.shape()?, *dtype, &TARGET).into_iter().filter(&wanted).collect();
        let index: usize = setting.input.iter().chain(&setting.weight).sum();
        if let Some(variant) = all.get(index % all.len().max(1)) {
            setting.check(*dtype, *variant)?;
        }
    }
    Ok(())
}

/// Returns the variant that the library selects.
fn selected(setting: &Setting, dtype: DType, target: &Target) -> Result<Variant> {
    let shape = setting.shape()?;
    let selected_program = program(&shape, dtype, &setting.options, target)?;
    for variant in variants(&shape, dtype, target) {
        if program_with(&shape, dtype, &setting.options, variant)? == selected_program {
            return Ok(variant);
        }
    }
    candle_core::bail!("expected one of the variants to be selected for {setting:?}")
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn selected_variants_agree_with_the_cpu() {
    check_random(32, settings(1..4, [1..6, 1..6]), |setting| {
        DTYPES.into_iter().try_for_each(|dtype| setting.check(dtype, selected(setting, dtype, &TARGET)?))
    });
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn scalar_tiles_agree_with_the_cpu() {
    check_random(100, settings(1..3, [1..8, 1..70]), |setting| {
        check_one_of(setting, &[DType::F32], |variant| variant.kernel().starts_with("conv_scalar"))
    });
    check_random(24, settings(1..3, [1..8, 1..70]), |setting| {
        check_one_of(setting, &DTYPES[1..], |variant| variant.kernel().starts_with("conv_scalar"))
    });
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn tensor_core_tiles_agree_with_the_cpu() {
    let matrix = |variant: &Variant| variant.kernel().starts_with("conv_matrix");
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        check_random(32, settings(1..3, [1..12, 1..70]), |setting| check_one_of(setting, &[dtype], matrix));
    }
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn warpgroup_kernels_agree_with_the_cpu() {
    let hopper = |variant: &Variant| matches!(variant, Variant::Hopper(_));
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        check_random(24, settings(1..3, [1..12, 1..12]), |setting| check_one_of(setting, &[dtype], hopper));
        // These sizes need several chunks of the depth and several tiles.
        let sizes =
            (60usize..150, 120usize..140, prop::sample::select(vec![4usize, 6, 7, 9]), 1usize..3, 1usize..4);
        let wide =
            (sizes, options()).prop_map(|((in_channels, out_channels, size, stride, kernel), options)| {
                let (padding, dilation) = ([[kernel / 2; 2]; 2], [1; 2]);
                let geometry = ConvGeometry { stride: [stride; 2], padding, dilation, groups: 1 };
                let (input, weight) =
                    ([3, in_channels, size, size], [out_channels, in_channels, kernel, kernel]);
                Setting { input, weight, geometry, options }
            });
        check_random(6, wide, |setting| check_one_of(setting, &[dtype], hopper));
    }
}

/// Uses 1×1 convolutions. The kernels whose names end with `dense` read four pixels of their input at a time.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn dense_tiles_agree_with_the_cpu() {
    let sizes = (1usize..3, 1usize..40, 1usize..70, 1usize..10, 1usize..3);
    let settings = (sizes, options()).prop_map(
        |((groups, group_in_channels, group_out_channels, width, batch), options)| {
            let geometry = ConvGeometry { groups, ..ConvGeometry::default() };
            let (input, weight) = (
                [batch, groups * group_in_channels, 4, width],
                [groups * group_out_channels, group_in_channels, 1, 1],
            );
            Setting { input, weight, geometry, options }
        },
    );
    let dense = |variant: &Variant| variant.kernel().ends_with("dense");
    check_random(32, settings, |setting| {
        check_one_of(setting, &[DType::F32, DType::F16, DType::BF16], dense)
    });
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn direct_kernels_agree_with_the_cpu() {
    check_random(100, settings(1..4, [1..4, 1..40]), |setting| {
        check_one_of(setting, &DTYPES, |variant| matches!(variant, Variant::Direct(_)))
    });
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn depthwise_kernels_agree_with_the_cpu() {
    let depthwise = |variant: &Variant| matches!(variant, Variant::Depthwise(_));
    check_random(100, settings(1..7, [1..2, 1..3]), |setting| check_one_of(setting, &DTYPES, depthwise));
    let sizes =
        (1usize..4, 1usize..6, (1usize..24, 1usize..24), prop::sample::select(vec![3usize, 5, 7]), 1usize..3);
    let specialized = (sizes, geometries(), options()).prop_filter_map(
        "the kernel does not fit",
        |((batch, groups, (h, w), size, stride), geometry, options)| {
            let geometry = ConvGeometry { groups, stride: [stride; 2], dilation: [1; 2], ..geometry };
            geometry.output_size([h, w], [size; 2])?;
            Some(Setting { input: [batch, groups, h, w], weight: [groups, 1, size, size], geometry, options })
        },
    );
    check_random(100, specialized, |setting| check_one_of(setting, &DTYPES, depthwise));
}

/// The depth is split into up to 32 slices. A second launch adds up the sums of the slices.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn sliced_sums_agree_with_the_cpu() {
    let deep = settings(1..3, [20..50, 1..20]);
    check_random(16, deep, |setting| {
        check_one_of(setting, &DTYPES, |variant| matches!(variant, Variant::ImplicitGemm { slices: 2.., .. }))
    });
}

/// Runs every kernel with every activation, because random tests rarely cover all of these combinations.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn every_kernel_supports_every_activation() -> Result<()> {
    let padded = ConvGeometry { padding: [[1; 2]; 2], ..ConvGeometry::default() };
    let plain = Setting::plain([2, 3, 6, 5], [5, 3, 3, 3]);
    let mut settings =
        vec![Setting { geometry: padded, ..plain }, Setting::plain([1, 4, 4, 4], [5, 4, 1, 1])];
    for (size, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)] {
        let geometry =
            ConvGeometry { groups: 2, stride: [stride; 2], padding: [[2; 2]; 2], dilation: [1; 2] };
        settings.push(Setting { geometry, ..Setting::plain([1, 2, 9, 7], [2, 1, size, size]) });
    }
    let mut seen = std::collections::BTreeSet::new();
    for setting in settings {
        for dtype in DTYPES {
            for variant in variants(&setting.shape()?, dtype, &TARGET) {
                if seen.insert(variant.kernel()) {
                    for activation in ACTIVATIONS {
                        let options = Options { scale: true, shift: true, residual: true, activation };
                        Setting { options, ..setting.clone() }.check(dtype, variant)?;
                    }
                }
            }
        }
    }
    // 7 scalar tiles, 3 × 8 tiles for tensor cores, 3 × 2 tiles for warpgroups, 14 direct kernels, and 3 × 7 + 4
    // depthwise kernels.
    assert_eq!(seen.len(), 76, "{seen:?}");
    Ok(())
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn extreme_settings_agree_with_the_cpu() -> Result<()> {
    let geometry = ConvGeometry::default();
    let wide = ConvGeometry { stride: [9, 7], dilation: [5, 11], padding: [[40, 3], [0, 25]], groups: 1 };
    let settings = [
        Setting::plain([1, 1, 1, 1], [1, 1, 1, 1]),
        // Kernels with more than 64 elements.
        Setting::plain([1, 2, 1, 90], [3, 2, 1, 70]),
        Setting::plain([2, 1, 67, 1], [1, 1, 67, 1]),
        // Windows that contain only padding.
        Setting {
            geometry: ConvGeometry { padding: [[9, 9], [9, 9]], ..geometry },
            ..Setting::plain([1, 2, 1, 1], [2, 2, 2, 2])
        },
        Setting { geometry: wide, ..Setting::plain([2, 3, 8, 9], [4, 3, 4, 3]) },
        // Strides and dilations that have no effect.
        Setting {
            geometry: ConvGeometry { stride: [usize::MAX; 2], dilation: [usize::MAX; 2], ..geometry },
            ..Setting::plain([1, 3, 3, 3], [2, 3, 1, 1])
        },
        // Sums without products, and outputs without channels.
        Setting {
            options: Options { shift: true, ..Options::default() },
            ..Setting::plain([1, 0, 3, 3], [2, 0, 1, 1])
        },
        Setting::plain([1, 3, 3, 3], [0, 3, 1, 1]),
    ];
    for setting in settings {
        for dtype in DTYPES {
            for variant in variants(&setting.shape()?, dtype, &TARGET) {
                // Variants with more than two slices differ from those with two only in the partition of the depth.
                if !matches!(variant, Variant::ImplicitGemm { slices: 3.., .. }) {
                    setting.check(dtype, variant)?;
                }
            }
        }
    }
    Ok(())
}

/// Tensor cores round operands that TF32 cannot represent.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn tf32_kernels_round_to_10_bits() -> Result<()> {
    let setting = Setting::plain([1, 40, 12, 12], [40, 40, 3, 3]);
    let mut count = 0;
    for variant in variants(&setting.shape()?, DType::F32, &TARGET).into_iter().filter(on_tensor_cores) {
        let mut case = setting.case(DType::F32, variant)?;
        let [input, weight] =
            [Tensor::randn(0f32, 1., &setting.input, &Device::Cpu)?, case.operands[1].clone()];
        let exact = [&input, &weight].map(|tensor| tensor.to_dtype(DType::F64));
        let [exact_input, exact_weight] = exact;
        let epilogue = Epilogue::default();
        let expected =
            conv2d(&exact_input?, &exact_weight?, &setting.geometry, &epilogue, None)?.flatten_all()?;
        case.operands = vec![input, weight];
        let norm = |tensor: &Tensor| tensor.sqr()?.sum_all()?.to_scalar::<f64>().map(f64::sqrt);
        let error = norm(&case.run()?.sub(&expected)?)? / norm(&expected)?;
        // The result is less exact than in f32, but not worse than rounding to 10 bits.
        assert!((1e-5..1e-3).contains(&error), "{variant:?}: {error}");
        count += 1;
    }
    assert!(count > 5, "more than five variants should run on tensor cores, found {count}");
    Ok(())
}

/// Checks which variants are selected for layers of well-known networks, mostly on an H100.
#[test]
fn layers_of_well_known_networks_get_the_expected_variants() -> Result<()> {
    let target = Target::H100;
    let layer = |[batch, in_channels, size, out_channels, kernel, stride]: [usize; 6], groups: usize| {
        let geometry =
            ConvGeometry { stride: [stride; 2], padding: [[kernel / 2; 2]; 2], dilation: [1; 2], groups };
        let (input, weight) =
            ([batch, in_channels, size, size], [out_channels, in_channels / groups, kernel, kernel]);
        Setting { geometry, ..Setting::plain(input, weight) }
    };
    let kernel = |setting: &Setting, dtype| selected(setting, dtype, &target).map(|variant| variant.kernel());
    let slices = |setting: &Setting, dtype| {
        selected(setting, dtype, &target).map(|variant| match variant {
            Variant::ImplicitGemm { slices, .. } => slices,
            _ => 1,
        })
    };
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        // The name of a depthwise kernel ends with the kernel size, the stride and the rows that each thread computes.
        // The more rows, the fewer threads there are to keep the device busy.
        assert!(kernel(&layer([32, 32, 112, 32, 3, 1], 32), dtype)?.ends_with("_3_1_8"));
        assert!(kernel(&layer([1, 512, 14, 512, 3, 1], 512), dtype)?.ends_with("_3_1_2"));
        assert!(kernel(&layer([32, 128, 56, 128, 3, 2], 128), dtype)?.ends_with("_3_2_4"));
        // Groups of few channels, and a small convolution whose sums have only 25 products.
        assert!(kernel(&layer([32, 256, 28, 256, 3, 1], 64), dtype)?.contains("direct"));
        assert!(kernel(&layer([1, 1, 28, 20, 5, 1], 1), dtype)?.contains("direct"));
        // A small image with many channels has too few tiles to fill the device.
        assert!(slices(&layer([1, 512, 7, 512, 3, 1], 1), dtype)? > 1);
        // A large convolution uses big tiles without slices.
        let large = layer([32, 256, 56, 256, 3, 1], 1);
        assert!(kernel(&large, dtype)?.contains(if dtype == DType::F32 { "128x128" } else { "hopper" }));
        assert!(selected(&large, dtype, &Target::A100)?.kernel().contains("128x128"));
        assert_eq!(slices(&large, dtype)?, 1);
    }
    // The first layers of networks, without tensor cores.
    for layer in
        [layer([64, 1, 28, 20, 5, 1], 1), layer([32, 3, 224, 64, 3, 1], 1), layer([32, 3, 224, 64, 7, 2], 1)]
    {
        assert!(kernel(&layer, DType::F32)?.contains("direct"));
    }
    // On an A100, a large 3×3 convolution packs its operands. A 1×1 convolution reads its input without packing.
    assert!(
        selected(&layer([32, 256, 56, 256, 3, 1], 1), DType::BF16, &Target::A100)?
            .kernel()
            .ends_with("packed")
    );
    assert!(kernel(&layer([32, 64, 56, 256, 1, 1], 1), DType::BF16)?.ends_with("dense"));
    // Without tensor cores: old GPUs, f32 if TF32 is not allowed, and f64.
    let old = Target { capability: (7, 5), ..Target::A100 };
    let large = layer([32, 256, 56, 256, 3, 1], 1);
    for (target, dtype) in [(old, DType::F32), (old, DType::BF16), (target, DType::F32), (target, DType::F64)]
    {
        assert!(!on_tensor_cores(&selected(&large, dtype, &target)?));
    }
    Ok(())
}

#[test]
fn unsupported_problems_are_errors() -> Result<()> {
    let error_of =
        |setting: &Setting, dtype| match program(&setting.shape()?, dtype, &setting.options, &TARGET) {
            Err(error) => Ok(error.to_string()),
            Ok(program) => candle_core::bail!("{program:?}"),
        };
    let plain = Setting::plain([1, 3, 8, 8], [4, 3, 3, 3]);
    assert!(error_of(&plain, DType::U8)?.contains("expected f32, f64, f16 or bf16"));
    let tall = Setting::plain([1, 1, 1 << 30, 1], [1, 1, 1, 1]);
    assert!(error_of(&tall, DType::F32)?.contains("rows with padding"));
    let many = Setting::plain([1 << 16, 1, 1 << 10, 1 << 10], [1, 1, 1, 1]);
    assert!(error_of(&many, DType::F32)?.contains("output pixels in a batch"));
    // If there is nothing to compute, sizes are unlimited.
    let empty = Setting::plain([1 << 40, 0, 1 << 40, 1], [0, 0, 1, 1]);
    assert!(program(&empty.shape()?, DType::F32, &empty.options, &TARGET)?.launches.is_empty());
    let deep = Setting::plain([1, 1 << 24, 1, 1], [1, 1 << 24, 1, 1]);
    assert!(error_of(&deep, DType::F32)?.contains("products in a sum"));
    Ok(())
}
