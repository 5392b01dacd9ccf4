//! NaN, infinities, subnormal numbers and signed zeros in images, weights and statistics. All kernels, fused or
//! not, channel-blocked or `Nchw`, must agree with the definition, which the tests compute in double precision.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use sconce::prelude::*;

use crate::common::{Rng, config, restride, values};

/// The operations after the convolution.
#[derive(Clone, Copy, Debug)]
enum Consumer {
    Relu,
    /// ReLU and max pooling with 2×2 windows.
    ReluMaxPool,
    /// Max pooling with overlapping windows.
    MaxPool,
    /// Batch norm.
    Norm,
    /// Batch norm, ReLU, and max pooling with 3×3 windows.
    NormMaxPool,
    /// ReLU and a depthwise convolution.
    Depthwise,
}

/// The kind of operand that contains special values.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operand {
    Image,
    Weights,
    /// The biases, and the statistics and parameters of the norm.
    PerChannel,
}

#[derive(Clone, Debug)]
struct Case {
    dtype: DType,
    batch: usize,
    /// Input and output channels per group.
    channels: [usize; 2],
    groups: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    /// The number of rows and columns that the image has in addition to those of the smallest valid image.
    extra: [usize; 2],
    consumer: Consumer,
    /// The special values.
    special: &'static [f64],
    /// The operand that contains them.
    operand: Operand,
    /// On average, one in `special_interval` elements of the operand is a special value.
    special_interval: usize,
    /// If true, the dimensions of the image are reversed in memory.
    strided: bool,
    /// If true, the layers are inference copies, and otherwise detached.
    inference: bool,
    seed: u64,
}

const SPECIAL: [&[f64]; 5] = [
    &[f64::NAN],
    &[f64::INFINITY],
    &[f64::NEG_INFINITY],
    &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY],
    &[1e-40, -1e-42, -0., 0.],
];

/// Returns random numbers within ±1, some of them replaced by special values.
fn random_operand(numbers: &mut Rng, case: &Case, operand: Operand, shape: &[usize]) -> Result<Tensor> {
    let plain = values(&numbers.tensor(shape, 1.))?;
    let mut random_below = |n: usize| ((numbers.uniform() + 1.) / 2. * n as f64) as usize % n;
    let value = |plain: f64| {
        if case.operand == operand && random_below(case.special_interval) == 0 {
            case.special[random_below(case.special.len())]
        } else {
            plain
        }
    };
    let all: Vec<f64> = plain.into_iter().map(value).collect();
    Ok(Tensor::from_vec(all, shape, &Device::Cpu)?.to_dtype(case.dtype)?)
}

/// An image `[batch, channels, height, width]` of f64.
struct Image {
    dims: [usize; 4],
    values: Vec<f64>,
}

impl Image {
    fn new(x: &Tensor) -> Result<Self> {
        Ok(Self { dims: x.dims4()?.into(), values: values(x)? })
    }

    /// Returns the element at a row and a column of a padded plane, or `None` in the padding.
    fn at(&self, plane: usize, [y, x]: [usize; 2], padding: usize) -> Option<f64> {
        let [_, _, height, width] = self.dims;
        let (y, x) = (y.checked_sub(padding)?, x.checked_sub(padding)?);
        (y < height && x < width).then(|| self.values[(plane * height + y) * width + x])
    }

    /// Computes an image with `out_channels` channels from windows of `kernel` × `kernel` elements. The arguments of
    /// `value`, which computes one output, are the output's channel, the number of taps, and a function from an input
    /// channel and a tap to the element there, or to `None` in the padding.
    fn windows(
        &self,
        out_channels: usize,
        [kernel, stride, padding, dilation]: [usize; 4],
        value: impl Fn(usize, usize, &dyn Fn(usize, usize) -> Option<f64>) -> f64,
    ) -> Self {
        let [batch, channels, height, width] = self.dims;
        let size = |size: usize| (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
        let [rows, columns] = [size(height), size(width)];
        let mut all = Vec::new();
        for i in 0..batch * out_channels * rows * columns {
            let (plane, pixel) = (i / (rows * columns), i % (rows * columns));
            let [y, x] = [pixel / columns * stride, pixel % columns * stride];
            let (image, out_channel) = (plane / out_channels, plane % out_channels);
            let element = |channel: usize, tap: usize| {
                let position = [y + tap / kernel * dilation, x + tap % kernel * dilation];
                self.at(image * channels + channel, position, padding)
            };
            all.push(value(out_channel, kernel * kernel, &element));
        }
        Self { dims: [batch, out_channels, rows, columns], values: all }
    }

    /// Convolves according to the definition. Padding contributes nothing.
    fn convolved(&self, weight: &Tensor, bias: &Tensor, settings: [usize; 3], groups: usize) -> Result<Self> {
        let (out_channels, group_in_channels, kernel, _) = weight.dims4()?;
        let ([stride, padding, dilation], weight, bias) = (settings, values(weight)?, values(bias)?);
        Ok(self.windows(out_channels, [kernel, stride, padding, dilation], |out_channel, taps, element| {
            let first = out_channel / (out_channels / groups) * group_in_channels;
            let products = (0..group_in_channels * taps).filter_map(|i| {
                Some(
                    element(first + i / taps, i % taps)? * weight[out_channel * group_in_channels * taps + i],
                )
            });
            products.sum::<f64>() + bias[out_channel]
        }))
    }

    fn max_pooled(&self, [kernel, stride, padding]: [usize; 3]) -> Self {
        self.windows(self.dims[1], [kernel, stride, padding, 1], |channel, taps, element| {
            let window = (0..taps).filter_map(|tap| element(channel, tap));
            window.fold(f64::NEG_INFINITY, |max, x| if max.is_nan() || x <= max { max } else { x })
        })
    }

    fn relu(mut self) -> Self {
        self.values.iter_mut().filter(|x| **x < 0.).for_each(|x| *x = 0.);
        self
    }

    fn normalized(mut self, [mean, variance, weight, bias]: &[Tensor; 4]) -> Result<Self> {
        let ([_, channels, height, width], eps) = (self.dims, 1e-5);
        let (mean, variance, weight, bias) =
            (values(mean)?, values(variance)?, values(weight)?, values(bias)?);
        for (i, x) in self.values.iter_mut().enumerate() {
            let c = i / (height * width) % channels;
            *x = (*x - mean[c]) * (1. / (variance[c] + eps).sqrt()) * weight[c] + bias[c];
        }
        Ok(self)
    }
}

/// Returns `layer` in `dtype`, with `tensors` as its parameters and buffers.
fn with_tensors<L: Network>(mut layer: L, dtype: DType, tensors: &[(&str, &Tensor)]) -> Result<L> {
    layer.to_dtype(dtype)?;
    let mut state = layer.state_dict();
    for (name, tensor) in tensors {
        state.insert(*name, (*tensor).clone());
    }
    layer.load_state_dict(&state)?;
    Ok(layer)
}

fn check(case: &Case) -> Result<()> {
    let &Case {
        dtype,
        channels: [group_in_channels, group_out_channels],
        groups,
        kernel,
        stride,
        padding,
        dilation,
        ..
    } = case;
    let numbers = &mut Rng::new(case.seed);
    let (in_channels, out_channels) = (group_in_channels * groups, group_out_channels * groups);
    let size =
        case.extra.map(|extra| (dilation * (kernel - 1) + 1).saturating_sub(2 * padding).max(1) + extra);
    let x = random_operand(numbers, case, Operand::Image, &[case.batch, in_channels, size[0], size[1]])?;
    let weight =
        random_operand(numbers, case, Operand::Weights, &[out_channels, group_in_channels, kernel, kernel])?;
    let bias = random_operand(numbers, case, Operand::PerChannel, &[out_channels])?;
    let depthwise_weight = random_operand(numbers, case, Operand::Weights, &[out_channels, 1, 3, 3])?;
    let mut per_channel = || random_operand(numbers, case, Operand::PerChannel, &[out_channels]);
    let statistics = [per_channel()?, per_channel()?.abs()?, per_channel()?, per_channel()?];

    let settings = Conv2d::config(in_channels, out_channels, kernel).stride(stride).padding(padding);
    let conv = settings.dilation(dilation).groups(groups).init(&Device::Cpu)?;
    let conv = with_tensors(conv, dtype, &[("weight", &weight), ("bias", &bias)])?;
    let depthwise =
        Conv2d::config(out_channels, out_channels, 3).padding(1).groups(out_channels).init(&Device::Cpu)?;
    let depthwise = with_tensors(depthwise, dtype, &[("weight", &depthwise_weight), ("bias", &bias)])?;
    let [mean, variance, scale, shift] = &statistics;
    let norm = [("running_mean", mean), ("running_var", variance), ("weight", scale), ("bias", shift)];
    let norm = with_tensors(BatchNorm::config(out_channels).init(&Device::Cpu)?, dtype, &norm)?;

    let y = Image::new(&x)?.convolved(&weight, &bias, [stride, padding, dilation], groups)?;
    // Pooling with 2×2 windows and without padding needs two rows and two columns.
    let too_small = y.dims[2] < 2 || y.dims[3] < 2;
    let consumer = if too_small && matches!(case.consumer, Consumer::ReluMaxPool) {
        Consumer::Relu
    } else {
        case.consumer
    };
    let expected = match consumer {
        Consumer::Relu => y.relu(),
        Consumer::ReluMaxPool => y.relu().max_pooled([2, 2, 0]),
        Consumer::MaxPool => y.max_pooled([3, 2, 1]),
        Consumer::Norm => y.normalized(&statistics)?,
        Consumer::NormMaxPool => y.normalized(&statistics)?.relu().max_pooled([3, 1, 1]),
        Consumer::Depthwise => y.relu().convolved(&depthwise_weight, &bias, [1, 1, 1], out_channels)?,
    };

    let run = || -> Result<Tensor> {
        let (conv, norm, depthwise) = if case.inference {
            (conv.inference()?, norm.inference()?, depthwise.inference()?)
        } else {
            (conv.detached(), norm.detached(), depthwise.detached())
        };
        let x = if case.strided { restride(&x)? } else { x.clone() };
        let y = conv.call(x.into(), Mode::Eval);
        match consumer {
            Consumer::Relu => relu(y),
            Consumer::ReluMaxPool => max_pool2d(relu(y), 2),
            Consumer::MaxPool => max_pool2d(y, MaxPool2d::config(3).stride(2).padding(1)),
            Consumer::Norm => norm.call(y, Mode::Eval),
            Consumer::NormMaxPool => {
                max_pool2d(relu(norm.call(y, Mode::Eval)), MaxPool2d::config(3).stride(1).padding(1))
            }
            Consumer::Depthwise => depthwise.call(relu(y), Mode::Eval),
        }
        .into_tensor()
    };
    compare("fused", &run()?, &expected, dtype)?;
    compare("unfused", &sconce::no_fusion(run)?, &expected, dtype)
}

/// Compares element by element. NaN equals NaN, and infinities equal themselves.
fn compare(label: &str, actual: &Tensor, expected: &Image, dtype: DType) -> Result<()> {
    assert_eq!(actual.dims(), expected.dims, "{label}");
    // The tolerance allows for the rounding errors of Winograd's transforms.
    let tolerance = if dtype == DType::F64 { 1e-12 } else { 1e-4 };
    let finite = expected.values.iter().filter(|x| x.is_finite());
    let scale = finite.fold(1f64, |max, x| max.max(x.abs()));
    for (i, (y, x)) in values(actual)?.into_iter().zip(&expected.values).enumerate() {
        let same = y == *x || y.is_nan() && x.is_nan() || (y - x).abs() <= tolerance * scale;
        if !same {
            return Err(Error::msg(format!("{label}: element {i}: expected {x}, found {y}")));
        }
    }
    Ok(())
}

prop_compose! {
    fn cases()(
        dtype in prop::sample::select(vec![DType::F32, DType::F32, DType::F32, DType::F64]),
        batch in 1..3usize,
        channels in prop::array::uniform2(prop::sample::select(vec![1usize, 3, 16, 20, 33])),
        depthwise in prop_oneof![3 => Just(0usize), 1 => 2..34usize],
        kernel in prop::sample::select(vec![1usize, 2, 3, 3, 5]),
        stride in 1..3usize,
        padding in 0..5usize,
        dilation in prop_oneof![3 => Just(1usize), 1 => 2..4usize],
        extra in prop::array::uniform2(0..19usize),
        consumer in prop::sample::select(vec![
            Consumer::Relu, Consumer::ReluMaxPool, Consumer::MaxPool, Consumer::Norm, Consumer::NormMaxPool,
            Consumer::Depthwise,
        ]),
        special in prop::sample::select(&SPECIAL[..]),
        operand in prop::sample::select(vec![Operand::Image, Operand::Weights, Operand::PerChannel]),
        special_interval in prop::sample::select(vec![5usize, 50, 500]),
        strided: bool,
        inference in prop::sample::select(vec![true, true, false]),
        seed: u64,
    ) -> Case {
        let (channels, groups) = if depthwise > 0 { ([1, 1], depthwise) } else { (channels, 1) };
        Case {
            dtype, batch, channels, groups, kernel, stride, padding, dilation, extra, consumer, special, operand,
            special_interval, strided, inference, seed,
        }
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn special_values_agree_with_the_definition(case in cases()) {
        check(&case).map_err(crate::common::fail)?;
    }
}

/// A norm is folded into the preceding convolution only if f16 can represent the norm's shift, both alone and combined
/// with the convolution's bias. The first pair of mean and bias violates this: the mean, 300, multiplied by the scale,
/// about 316, overflows f16. With the second pair, nothing overflows.
#[test]
fn norms_that_overflow_f16_are_not_folded() -> Result<()> {
    let per_channel = |value: f64| Tensor::full(value, 16, &Device::Cpu);
    let (large, one, zero) = (per_channel(300.)?, per_channel(1.)?, per_channel(0.)?);
    let weight = Tensor::ones((16, 1, 1, 1), DType::F64, &Device::Cpu)?;
    let x = Tensor::new(&[[[[0.25f64, 0.5]]]], &Device::Cpu)?;
    for (mean, bias) in [(&large, &large), (&one, &one)] {
        let statistics = [("running_mean", mean), ("running_var", &zero), ("weight", &one), ("bias", &zero)];
        let run = |dtype: DType| -> Result<Vec<f64>> {
            let conv = Conv2d::config(1, 16, 1).init(&Device::Cpu)?;
            let conv = with_tensors(conv, dtype, &[("weight", &weight), ("bias", bias)])?.inference()?;
            let norm =
                with_tensors(BatchNorm::config(16).init(&Device::Cpu)?, dtype, &statistics)?.inference()?;
            let x = x.to_dtype(dtype)?;
            Ok(values(&norm.call(conv.call((&x).into(), Mode::Eval), Mode::Eval).into_tensor()?)?)
        };
        for (y, x) in run(DType::F16)?.iter().zip(run(DType::F64)?) {
            assert!((y - x).abs() < 0.01 * x.abs(), "expected {x}, found {y}");
        }
    }
    Ok(())
}

/// A norm is not fused if its dtype differs from the dtype of the convolution before it.
#[test]
fn a_norm_with_a_different_dtype_is_not_fused() -> Result<()> {
    let mut conv = Conv2d::config(4, 16, 3).init(&Device::Cpu)?;
    let norm = BatchNorm::config(16).init(&Device::Cpu)?;
    conv.to_dtype(DType::BF16)?;
    let x = Rng::new(1).tensor(&[2, 4, 8, 8], 1.).to_dtype(DType::BF16)?;
    let run = || norm.call(conv.call((&x).into(), Mode::Eval), Mode::Eval).into_tensor();
    let (fused, unfused) = (run()?, sconce::no_fusion(run)?);
    assert_eq!(fused.dtype(), DType::BF16);
    assert_eq!(values(&fused)?, values(&unfused)?);
    Ok(())
}

/// A convolution with a fused batch norm rounds its result once, and keeps the folded scale and shift in f32. The
/// reference in f64 uses the same rounded parameters.
#[test]
fn fusion_does_not_reduce_the_accuracy_of_half_precision() -> Result<()> {
    let mut rng = Rng::new(7);
    for dtype in [DType::F16, DType::BF16] {
        let mut rounded = |shape: &[usize]| rng.tensor(shape, 1.).to_dtype(dtype)?.to_dtype(DType::F64);
        let (x, weight, bias) = (rounded(&[2, 8, 12, 12])?, rounded(&[16, 8, 3, 3])?, rounded(&[16])?);
        let (mean, gamma, beta) = (rounded(&[16])?, rounded(&[16])?, rounded(&[16])?);
        let var = (rounded(&[16])?.abs()? + 0.5)?.to_dtype(dtype)?.to_dtype(DType::F64)?;
        let statistics =
            [("running_mean", &mean), ("running_var", &var), ("weight", &gamma), ("bias", &beta)];
        let run = |dtype: DType| -> Result<Vec<f64>> {
            let conv = Conv2d::config(8, 16, 3).init(&Device::Cpu)?;
            let conv = with_tensors(conv, dtype, &[("weight", &weight), ("bias", &bias)])?.inference()?;
            let norm =
                with_tensors(BatchNorm::config(16).init(&Device::Cpu)?, dtype, &statistics)?.inference()?;
            let x = x.to_dtype(dtype)?;
            Ok(values(&norm.call(conv.call((&x).into(), Mode::Eval), Mode::Eval).into_tensor()?)?)
        };
        let exact = run(DType::F64)?;
        let mean_error = |y: Vec<f64>| {
            y.iter().zip(&exact).map(|(y, exact)| (y - exact).abs()).sum::<f64>() / exact.len() as f64
        };
        let fused = mean_error(run(dtype)?);
        let unfused = mean_error(sconce::no_fusion(|| run(dtype))?);
        assert!(fused <= unfused, "{dtype:?}: fused {fused:e}, unfused {unfused:e}");
    }
    Ok(())
}
