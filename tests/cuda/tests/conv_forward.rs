//! The fused convolution's kernels against the CPU's in f64: every tile, over random settings.
#![cfg(emulator)]

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::cuda::forward::{Options, Variant, program, program_with, variants};
use sconce::kernels::conv::{ConvGeometry, ConvShape, Epilogue, conv2d};
use sconce::kernels::cuda::{Launch, Target};
use sconce_cuda_tests::run;

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];
const TARGET: Target = Target { tf32: true, ..Target::A100 };
const ACTIVATIONS: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu { negative_slope: 0.2 },
    Activation::Silu,
    Activation::Gelu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Hardswish,
];

/// A convolution's setting.
#[derive(Clone, Debug)]
struct Setting {
    input: [usize; 4],
    weight: [usize; 4],
    geometry: ConvGeometry,
    options: Options,
}

impl Setting {
    /// Without padding, dilation or an epilogue.
    fn plain(input: [usize; 4], weight: [usize; 4]) -> Self {
        Self { input, weight, geometry: ConvGeometry::default(), options: Options::default() }
    }

    fn shape(&self) -> Result<ConvShape> {
        ConvShape::new(&self.input, &self.weight, &self.geometry)
    }

    fn case(&self, dtype: DType) -> Result<Case> {
        let (shape, device) = (self.shape()?, Device::Cpu);
        // Sums of about 1, whatever their length.
        let spread = 1.0 / (shape.taps().max(1) as f64).sqrt();
        let random = |dims: &[usize], spread: f64| Tensor::randn(0.0, spread, dims, &device)?.to_dtype(dtype);
        let given = |is: bool, dims: &[usize]| is.then(|| random(dims, 1.0)).transpose();
        let channels = [shape.out_channels];
        let epilogue = Epilogue {
            scale: given(self.options.scale, &channels)?,
            shift: given(self.options.shift, &channels)?,
            residual: given(self.options.residual, &shape.output_dims())?,
            activation: self.options.activation,
        };
        let (input, weight) = (random(&self.input, 1.0)?, random(&self.weight, spread)?);
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let wide_given = |tensor: &Option<Tensor>| tensor.as_ref().map(wide).transpose();
        let exact = Epilogue {
            scale: wide_given(&epilogue.scale)?,
            shift: wide_given(&epilogue.shift)?,
            residual: wide_given(&epilogue.residual)?,
            activation: epilogue.activation,
        };
        let want = conv2d(&wide(&input)?, &wide(&weight)?, &self.geometry, &exact, None)?.flatten_all()?;
        let mut operands = vec![input, weight];
        operands.extend([epilogue.scale, epilogue.shift, epilogue.residual].into_iter().flatten());
        Ok(Case { shape, dtype, options: self.options, operands, want })
    }
}

/// A setting with its operands and what comes of them.
struct Case {
    shape: ConvShape,
    dtype: DType,
    options: Options,
    operands: Vec<Tensor>,
    /// In f64.
    want: Tensor,
}

impl Case {
    fn check(&self, variant: Variant) -> Result<()> {
        let program = program_with(&self.shape, self.dtype, &self.options, variant)?;
        let operands: Vec<&Tensor> = self.operands.iter().collect();
        let outcome = run(&program, &operands)?;
        let got = outcome.outputs[0].to_dtype(DType::F64)?;
        let error = got.sub(&self.want)?.abs()?.max_all()?.to_scalar::<f64>()?;
        let scale = self.want.abs()?.max_all()?.to_scalar::<f64>()?.max(1.0);
        // NaN, which is what nobody wrote, is not within it either.
        if error <= tolerance(variant, self.dtype) * scale {
            return Ok(());
        }
        candle_core::bail!("{variant:?}: an error of {error}, of values up to {scale}")
    }
}

fn tolerance(variant: Variant, dtype: DType) -> f64 {
    let tensor_cores = matches!(variant, Variant::Product { tile, .. } if tile.units.are_tensor_cores());
    match dtype {
        DType::F64 => 1e-12,
        DType::F32 if tensor_cores => 1e-3,
        DType::F32 => 1e-5,
        _ => 1e-2,
    }
}

fn name(variant: &Variant) -> &'static str {
    match variant {
        Variant::Depthwise(kernel) => kernel.kernel,
        Variant::Direct(kernel) => kernel.kernel,
        Variant::Product { tile, .. } => tile.kernel,
    }
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
    (any::<[bool; 3]>(), prop::sample::select(ACTIVATIONS.to_vec()))
        .prop_map(|([scale, shift, residual], activation)| Options { scale, shift, residual, activation })
}

/// Settings whose output has a pixel at least. `channels` are those of a group, in and out.
fn settings(
    groups: std::ops::Range<usize>,
    channels: [std::ops::Range<usize>; 2],
) -> impl Strategy<Value = Setting> {
    let [inputs, outputs] = channels;
    let sizes = ((1usize..14, 1usize..14), (1usize..5, 1usize..5));
    (0usize..4, (groups, inputs, outputs), sizes, geometries(), options()).prop_filter_map(
        "an empty output",
        |(batch, (groups, inputs, outputs), ((h, w), (kh, kw)), geometry, options)| {
            let geometry = ConvGeometry { groups, ..geometry };
            geometry.output_size([h, w], [kh, kw])?;
            let (input, weight) = ([batch, groups * inputs, h, w], [groups * outputs, inputs, kh, kw]);
            Some(Setting { input, weight, geometry, options })
        },
    )
}

fn random(cases: u32, settings: impl Strategy<Value = Setting>, check: impl Fn(&Setting) -> Result<()>) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner
        .run(&settings, |setting| check(&setting).map_err(|error| TestCaseError::fail(error.to_string())));
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Runs one of the setting's variants that `wanted` asks for, another one for each setting.
fn one_of(setting: &Setting, dtypes: &[DType], wanted: impl Fn(&Variant) -> bool) -> Result<()> {
    for dtype in dtypes {
        let case = setting.case(*dtype)?;
        let all: Vec<_> = variants(&case.shape, *dtype, &TARGET).into_iter().filter(&wanted).collect();
        let pick: usize = setting.input.iter().chain(&setting.weight).sum();
        if let Some(variant) = all.get(pick % all.len().max(1)) {
            case.check(*variant)?;
        }
    }
    Ok(())
}

#[test]
fn what_the_rule_chooses_is_right() {
    random(50, settings(1..4, [1..6, 1..6]), |setting| {
        for dtype in DTYPES {
            let case = setting.case(dtype)?;
            let chosen = program(&case.shape, dtype, &case.options, &TARGET)?;
            let same = |variant: &&Variant| {
                program_with(&case.shape, dtype, &case.options, **variant)
                    .is_ok_and(|program| program == chosen)
            };
            let all = variants(&case.shape, dtype, &TARGET);
            let variant = all.iter().find(same).ok_or_else(|| candle_core::Error::msg("no such variant"))?;
            case.check(*variant)?;
        }
        Ok(())
    });
}
