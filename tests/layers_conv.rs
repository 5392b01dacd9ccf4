//! Convolutions, transposed convolutions and padding: PyTorch's answers, plain loops, finite differences,
//! what runs as one kernel, and what bad input is told.

mod common;

use std::collections::HashMap;

use candle_nn::VarBuilder;
use common::golden::{Case, cases};
use common::layer::{check, count};
use common::{Numbers, check_close, check_gradients, config, fail, gradients, restride, values};
use proptest::prelude::*;
use sconce::candle;
use sconce::prelude::*;
use serde_json::Value;

// ---------------------------------------------------------------------------------- PyTorch's answers

/// An argument for each of two axes, from one number or a list of one or two.
fn sizes(case: &Case, name: &str) -> [usize; 2] {
    let size = |value: &Value| value.as_u64().unwrap_or_default() as usize;
    match &case.args[name] {
        Value::Array(list) => [list.first().map_or(0, size), list.last().map_or(0, size)],
        value => [size(value); 2],
    }
}

fn padding_mode(case: &Case) -> PadMode {
    match case.args["padding_mode"].as_str() {
        Some("reflect") => "reflect".into(),
        Some("replicate") => "replicate".into(),
        Some("circular") => "circular".into(),
        _ => "zeros".into(),
    }
}

fn channels(case: &Case) -> (usize, usize) {
    (count(case, "in_channels"), count(case, "out_channels"))
}

fn has_bias(case: &Case) -> bool {
    case.flag("bias") == Some(true)
}

#[test]
fn conv1d_as_pytorch() -> Result<()> {
    for case in cases("Conv1d")? {
        let (inputs, outputs) = channels(&case);
        let along = |name: &str| sizes(&case, name)[1];
        let config = Conv1d::config(inputs, outputs, along("kernel_size"))
            .stride(along("stride"))
            .dilation(along("dilation"))
            .groups(count(&case, "groups"))
            .bias(has_bias(&case))
            .padding_mode(padding_mode(&case));
        match case.args["padding"].as_str() {
            Some("same") => check(config.padding("same"), &case)?,
            _ => check(config.padding(along("padding")), &case)?,
        }
    }
    Ok(())
}

#[test]
fn conv2d_as_pytorch() -> Result<()> {
    for case in cases("Conv2d")? {
        let (inputs, outputs) = channels(&case);
        let config = Conv2d::config(inputs, outputs, sizes(&case, "kernel_size"))
            .stride(sizes(&case, "stride"))
            .dilation(sizes(&case, "dilation"))
            .groups(count(&case, "groups"))
            .bias(has_bias(&case))
            .padding_mode(padding_mode(&case));
        match case.args["padding"].as_str() {
            Some("same") => check(config.padding("same"), &case)?,
            _ => check(config.padding(sizes(&case, "padding")), &case)?,
        }
    }
    Ok(())
}

#[test]
fn conv_transpose1d_as_pytorch() -> Result<()> {
    for case in cases("ConvTranspose1d")? {
        let (inputs, outputs) = channels(&case);
        let along = |name: &str| sizes(&case, name)[1];
        let config = ConvTranspose1d::config(inputs, outputs, along("kernel_size"))
            .stride(along("stride"))
            .padding(along("padding"))
            .output_padding(along("output_padding"))
            .groups(count(&case, "groups"))
            .bias(has_bias(&case))
            .dilation(along("dilation"));
        check(config, &case)?;
    }
    Ok(())
}

#[test]
fn conv_transpose2d_as_pytorch() -> Result<()> {
    for case in cases("ConvTranspose2d")? {
        let (inputs, outputs) = channels(&case);
        let config = ConvTranspose2d::config(inputs, outputs, sizes(&case, "kernel_size"))
            .stride(sizes(&case, "stride"))
            .padding(sizes(&case, "padding"))
            .output_padding(sizes(&case, "output_padding"))
            .groups(count(&case, "groups"))
            .bias(has_bias(&case))
            .dilation(sizes(&case, "dilation"));
        check(config, &case)?;
    }
    Ok(())
}

#[test]
fn every_case_is_there() -> Result<()> {
    for (kind, least) in [("Conv1d", 16), ("Conv2d", 48), ("ConvTranspose1d", 16), ("ConvTranspose2d", 32)] {
        assert!(cases(kind)?.len() >= least, "{kind}");
    }
    let modes = ["zeros", "reflect", "replicate", "circular"];
    let all = cases("Conv2d")?;
    assert!(modes.iter().all(|mode| all.iter().any(|case| case.args["padding_mode"] == *mode)));
    Ok(())
}

// ---------------------------------------------------------------------------- Random settings, plain loops

/// One axis of a convolution.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
    output_padding: usize,
}

impl Axis {
    /// Of an image of height 1 that stands for a signal.
    const FLAT: Self = Self { size: 1, kernel: 1, stride: 1, dilation: 1, padding: 0, output_padding: 0 };

    fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    fn convolved(&self) -> Option<usize> {
        Some((self.size + 2 * self.padding).checked_sub(self.reach())? / self.stride + 1)
    }

    fn transposed(&self) -> Option<usize> {
        let whole = (self.size - 1) * self.stride + self.reach() + self.output_padding;
        whole.checked_sub(2 * self.padding).filter(|size| *size > 0)
    }
}

#[derive(Clone, Debug)]
struct Setting {
    batch: usize,
    groups: usize,
    /// Inputs and outputs of a group.
    channels: [usize; 2],
    axes: [Axis; 2],
    bias: bool,
    seed: u64,
}

fn axis() -> impl Strategy<Value = Axis> {
    (1..=6usize, 1..=4usize, 1..=3usize, 1..=3usize, 0..=3usize, 0..=2usize).prop_map(
        |(size, kernel, stride, dilation, padding, output_padding)| Axis {
            size,
            kernel,
            stride,
            dilation,
            padding,
            output_padding: output_padding.min(stride.max(dilation) - 1),
        },
    )
}

fn settings(axes: impl Strategy<Value = [Axis; 2]>) -> impl Strategy<Value = Setting> {
    (0..=2usize, 1..=3usize, [1..=2usize, 1..=2usize], axes, any::<bool>(), any::<u64>()).prop_map(
        |(batch, groups, channels, axes, bias, seed)| Setting { batch, groups, channels, axes, bias, seed },
    )
}

fn images() -> impl Strategy<Value = Setting> {
    settings([axis(), axis()])
}

fn signals() -> impl Strategy<Value = Setting> {
    settings(axis().prop_map(|axis| [Axis::FLAT, axis]))
}

impl Setting {
    fn inputs(&self) -> usize {
        self.groups * self.channels[0]
    }

    fn outputs(&self) -> usize {
        self.groups * self.channels[1]
    }

    fn each(&self, f: impl Fn(&Axis) -> usize) -> [usize; 2] {
        [f(&self.axes[0]), f(&self.axes[1])]
    }

    /// Input, weight (its channels given) and, where there is one, bias; of signals or of images.
    fn tensors(&self, weight: [usize; 2], rank: usize) -> Vec<Tensor> {
        let mut numbers = Numbers::new(self.seed);
        let shape = |first: [usize; 2], sizes: [usize; 2]| [&first[..], &sizes[4 - rank..]].concat();
        let input = shape([self.batch, self.inputs()], self.each(|axis| axis.size));
        let weight = shape(weight, self.each(|axis| axis.kernel));
        let mut tensors = vec![numbers.tensor(&input, 1.), numbers.tensor(&weight, 1.)];
        tensors.extend(self.bias.then(|| numbers.tensor(&[self.outputs()], 1.)));
        tensors
    }

    fn convolution(&self, rank: usize) -> Vec<Tensor> {
        self.tensors([self.outputs(), self.channels[0]], rank)
    }

    fn transposed(&self, rank: usize) -> Vec<Tensor> {
        self.tensors([self.inputs(), self.channels[1]], rank)
    }

    fn conv2d(&self) -> Conv2dConfig {
        Conv2d::config(self.inputs(), self.outputs(), self.each(|axis| axis.kernel))
            .stride(self.each(|axis| axis.stride))
            .padding(self.each(|axis| axis.padding))
            .dilation(self.each(|axis| axis.dilation))
            .groups(self.groups)
            .bias(self.bias)
    }

    fn conv1d(&self) -> Conv1dConfig {
        let axis = self.axes[1];
        Conv1d::config(self.inputs(), self.outputs(), axis.kernel)
            .stride(axis.stride)
            .padding(axis.padding)
            .dilation(axis.dilation)
            .groups(self.groups)
            .bias(self.bias)
    }

    fn conv_transpose2d(&self) -> ConvTranspose2dConfig {
        ConvTranspose2d::config(self.inputs(), self.outputs(), self.each(|axis| axis.kernel))
            .stride(self.each(|axis| axis.stride))
            .padding(self.each(|axis| axis.padding))
            .output_padding(self.each(|axis| axis.output_padding))
            .dilation(self.each(|axis| axis.dilation))
            .groups(self.groups)
            .bias(self.bias)
    }

    fn conv_transpose1d(&self) -> ConvTranspose1dConfig {
        let axis = self.axes[1];
        ConvTranspose1d::config(self.inputs(), self.outputs(), axis.kernel)
            .stride(axis.stride)
            .padding(axis.padding)
            .output_padding(axis.output_padding)
            .dilation(axis.dilation)
            .groups(self.groups)
            .bias(self.bias)
    }

    /// Calls `f` with the offsets in the small image, the weight and the large image of every product: a
    /// convolution goes from the large to the small one, a transposed one the other way.
    fn each_product(
        &self,
        [small_channels, large_channels]: [usize; 2],
        small: [usize; 2],
        large: [usize; 2],
        mut f: impl FnMut(usize, usize, usize),
    ) {
        let kernel = self.each(|axis| axis.kernel);
        for (n, g, s, l) in (0..self.batch).flat_map(|n| {
            (0..self.groups).flat_map(move |g| {
                (0..small_channels).flat_map(move |s| (0..large_channels).map(move |l| (n, g, s, l)))
            })
        }) {
            let s = g * small_channels + s;
            let from = (n * self.groups * small_channels + s) * small[0] * small[1];
            let to = (n * self.groups + g) * large_channels + l;
            let weight = (s * large_channels + l) * kernel[0] * kernel[1];
            for at in 0..small[0] * small[1] {
                for tap in 0..kernel[0] * kernel[1] {
                    let (at2, tap2) = ([at / small[1], at % small[1]], [tap / kernel[1], tap % kernel[1]]);
                    let position = [0, 1].map(|i| {
                        let axis = &self.axes[i];
                        (at2[i] * axis.stride + tap2[i] * axis.dilation).wrapping_sub(axis.padding)
                    });
                    if position[0] < large[0] && position[1] < large[1] {
                        f(from + at, weight + tap, (to * large[0] + position[0]) * large[1] + position[1]);
                    }
                }
            }
        }
    }

    /// Adds the bias and gives the sums a shape.
    fn finished(
        &self,
        mut sums: Vec<f64>,
        tensors: &[Tensor],
        size: [usize; 2],
        rank: usize,
    ) -> candle::Result<Tensor> {
        if let Some(bias) = tensors.get(2) {
            let (bias, plane) = (values(bias)?, size[0] * size[1]);
            sums.iter_mut().enumerate().for_each(|(i, sum)| *sum += bias[i / plane % bias.len()]);
        }
        let shape = [&[self.batch, self.outputs()], &size[4 - rank..]].concat();
        Tensor::from_vec(sums, shape, &Device::Cpu)
    }

    /// The convolution by plain loops, or nothing where the kernel does not fit.
    fn naive(&self, tensors: &[Tensor]) -> Option<candle::Result<Tensor>> {
        let size = [self.axes[0].convolved()?, self.axes[1].convolved()?];
        let run = || {
            let (input, weight) = (values(&tensors[0])?, values(&tensors[1])?);
            let mut sums = vec![0.; self.batch * self.outputs() * size[0] * size[1]];
            let [inputs, outputs] = self.channels;
            let add = |small: usize, tap: usize, large: usize| sums[small] += weight[tap] * input[large];
            self.each_product([outputs, inputs], size, self.each(|axis| axis.size), add);
            self.finished(sums, tensors, size, tensors[0].rank())
        };
        Some(run())
    }

    /// The transposed convolution by plain loops, or nothing where the output would be empty.
    fn naive_transposed(&self, tensors: &[Tensor]) -> Option<candle::Result<Tensor>> {
        let size = [self.axes[0].transposed()?, self.axes[1].transposed()?];
        let run = || {
            let (input, weight) = (values(&tensors[0])?, values(&tensors[1])?);
            let mut sums = vec![0.; self.batch * self.outputs() * size[0] * size[1]];
            let add = |small: usize, tap: usize, large: usize| sums[large] += weight[tap] * input[small];
            self.each_product(self.channels, self.each(|axis| axis.size), size, add);
            self.finished(sums, tensors, size, tensors[0].rank())
        };
        Some(run())
    }
}

/// The layer of the last tensors, called with the first.
fn call<C>(config: &C, tensors: &[Tensor]) -> candle::Result<Tensor>
where
    C: Config<Output: Forward<Signal, Output = Signal>> + Clone,
{
    let names = ["weight", "bias"].map(String::from).into_iter();
    let named: HashMap<String, Tensor> = names.zip(tensors[1..].iter().cloned()).collect();
    let vb = VarBuilder::from_tensors(named, tensors[0].dtype(), &Device::Cpu);
    let layer = config.clone().build(vb)?;
    Ok(layer.call((&tensors[0]).into(), Mode::Train).into_tensor()?)
}

/// The output against `expected`, the gradients against finite differences; or, where nothing is expected,
/// an error.
fn check_layer<C>(
    config: &C,
    tensors: &[Tensor],
    expected: Option<candle::Result<Tensor>>,
) -> Result<(), TestCaseError>
where
    C: Config<Output: Forward<Signal, Output = Signal>> + Clone,
{
    let Some(expected) = expected else {
        prop_assert!(call(config, tensors).is_err());
        return Ok(());
    };
    let check = || {
        let given = call(config, tensors)?;
        check_close("output", &given, &expected?, 1e-12)?;
        let strided = [&[restride(&tensors[0])?], &tensors[1..]].concat();
        check_close("output of other strides", &call(config, &strided)?, &given, 1e-12)?;
        check_gradients(|tensors| call(config, tensors), tensors)
    };
    check().map_err(fail)
}

/// Output and gradients in f32, f16 and bf16 against those of the same numbers in f64.
fn check_dtypes<C>(config: &C, tensors: &[Tensor]) -> Result<(), TestCaseError>
where
    C: Config<Output: Forward<Signal, Output = Signal>> + Clone,
{
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 3e-3), (DType::BF16, 2e-2)] {
        let check = || {
            let narrow = tensors.iter().map(|t| t.to_dtype(dtype)).collect::<candle::Result<Vec<_>>>()?;
            let wide = narrow.iter().map(|t| t.to_dtype(DType::F64)).collect::<candle::Result<Vec<_>>>()?;
            let shape = call(config, &wide)?;
            let cotangent = Numbers::new(7).tensor(shape.dims(), 1.).to_dtype(dtype)?;
            let (y, grads) = gradients(|t| call(config, t), &narrow, &cotangent)?;
            let (wide_y, wide_grads) =
                gradients(|t| call(config, t), &wide, &cotangent.to_dtype(DType::F64)?)?;
            assert_eq!(y.dtype(), dtype);
            check_close("output", &y, &wide_y, tolerance)?;
            grads.iter().zip(&wide_grads).try_for_each(|(a, b)| check_close("gradient", a, b, tolerance))
        };
        check().map_err(|error: candle::Error| fail(format!("{dtype:?}: {error}")))?;
    }
    Ok(())
}

proptest! {
    // About two thirds of them have an output.
    #![proptest_config(config(400))]

    #[test]
    fn conv1d_of_any_setting(setting in signals()) {
        let tensors = setting.convolution(3);
        check_layer(&setting.conv1d(), &tensors, setting.naive(&tensors))?;
    }

    #[test]
    fn conv2d_of_any_setting(setting in images()) {
        let tensors = setting.convolution(4);
        check_layer(&setting.conv2d(), &tensors, setting.naive(&tensors))?;
    }

    #[test]
    fn conv_transpose1d_of_any_setting(setting in signals()) {
        let tensors = setting.transposed(3);
        check_layer(&setting.conv_transpose1d(), &tensors, setting.naive_transposed(&tensors))?;
    }

    #[test]
    fn conv_transpose2d_of_any_setting(setting in images()) {
        let tensors = setting.transposed(4);
        check_layer(&setting.conv_transpose2d(), &tensors, setting.naive_transposed(&tensors))?;
    }

    #[test]
    fn every_dtype(setting in images()) {
        if setting.axes.iter().all(|axis| axis.convolved().is_some()) {
            check_dtypes(&setting.conv2d(), &setting.convolution(4))?;
            check_dtypes(&setting.conv2d().padding_mode("replicate"), &setting.convolution(4))?;
        }
        if setting.axes.iter().all(|axis| axis.transposed().is_some()) {
            check_dtypes(&setting.conv_transpose2d(), &setting.transposed(4))?;
        }
    }

    #[test]
    fn every_dtype_of_signals(setting in signals()) {
        if setting.axes[1].convolved().is_some() {
            check_dtypes(&setting.conv1d(), &setting.convolution(3))?;
        }
        if setting.axes[1].transposed().is_some() {
            check_dtypes(&setting.conv_transpose1d(), &setting.transposed(3))?;
        }
    }
}

/// Sizes that take several tasks and threads, against candle's own operation.
#[test]
fn large_transposed_convolutions_agree_with_candle() -> Result<()> {
    let random = |shape: &[usize]| Tensor::rand(-1f32, 1., shape, &Device::Cpu);
    for (inputs, outputs, size, kernel, stride) in [(33, 18, 14, 3, 2), (8, 40, 25, 4, 2), (24, 7, 30, 5, 1)]
    {
        let (x, weight) =
            (random(&[3, inputs, size, size + 1])?, random(&[inputs, outputs, kernel, kernel])?);
        let bias = random(&[outputs])?;
        let options = ConvTranspose2dOptions::default().stride(stride).padding(1).output_padding(stride - 1);
        let ours = conv_transpose2d(&x, &weight, Some(&bias), options).into_tensor()?;
        let theirs = x.conv_transpose2d(&weight, 1, stride - 1, stride, 1)?;
        let theirs = theirs.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
        check_close("output", &ours, &theirs, 1e-4)?;
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------ Padding

const MODES: [&str; 4] = ["zeros", "reflect", "replicate", "circular"];

/// The element at a position beyond `0..size`, or none where that is zero.
fn source(mode: &str, at: isize, size: isize) -> Option<usize> {
    let at = match mode {
        "reflect" if at < 0 => -at,
        "reflect" if at >= size => 2 * size - 2 - at,
        "replicate" => at.max(0).min(size - 1),
        "circular" => (at + size) % size,
        _ => at,
    };
    (0..size).contains(&at).then_some(at as usize)
}

/// Padding by the definition of each mode; negative sides are taken away first.
fn naive_pad(x: &Tensor, sides: [isize; 4], mode: &str) -> candle::Result<Tensor> {
    let [left, right, top, bottom] = sides;
    let kept = |x: &Tensor, dim: usize, [before, after]: [isize; 2]| {
        let (before, after) = ((-before).max(0) as usize, (-after).max(0) as usize);
        x.narrow(dim, before, x.dim(dim)? - before - after)
    };
    let x = kept(&kept(x, 2, [top, bottom])?, 3, [left, right])?;
    let (n, c, h, w) = x.dims4()?;
    let x = values(&x)?;
    let [left, right, top, bottom] = sides.map(|side| side.max(0));
    let (rows, columns) = (h as isize + top + bottom, w as isize + left + right);
    let mut y = Vec::new();
    for plane in 0..n * c {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let row = source(mode, row - top, h as isize);
            let column = source(mode, column - left, w as isize);
            let element = row.zip(column).map(|(row, column)| x[(plane * h + row) * w + column]);
            y.push(element.unwrap_or(0.));
        }
    }
    Tensor::from_vec(y, (n, c, rows as usize, columns as usize), &Device::Cpu)
}

/// Sides that the mode allows for a size.
fn sides(mode: &'static str, size: usize) -> impl Strategy<Value = [isize; 2]> {
    let most = match mode {
        "reflect" => size as isize - 1,
        "circular" => size as isize,
        _ => 4,
    };
    [0..=most, 0..=most]
}

fn padded() -> impl Strategy<Value = (usize, usize, [usize; 2], &'static str, [isize; 4], u64)> {
    (0..=2usize, 1..=2usize, [1..=6usize, 1..=6usize], prop::sample::select(&MODES[..]), any::<u64>())
        .prop_flat_map(|(n, c, size, mode, seed)| {
            let sides = (sides(mode, size[1]), sides(mode, size[0]))
                .prop_map(|([left, right], [top, bottom])| [left, right, top, bottom]);
            (Just(n), Just(c), Just(size), Just(mode), sides, Just(seed))
        })
}

/// Calls the layer of a mode.
fn pad_layer(x: &Tensor, sides: [isize; 4], mode: &str) -> Result<Tensor> {
    let x = Signal::from(x);
    match mode {
        "zeros" => ZeroPad2d::config(sides).init(&Device::Cpu)?.call(x, Mode::Eval),
        "reflect" => ReflectionPad2d::config(sides).init(&Device::Cpu)?.call(x, Mode::Eval),
        "replicate" => ReplicationPad2d::config(sides).init(&Device::Cpu)?.call(x, Mode::Eval),
        _ => CircularPad2d::config(sides).init(&Device::Cpu)?.call(x, Mode::Eval),
    }
    .into_tensor()
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn padding_of_any_setting((n, c, [h, w], mode, sides, seed) in padded()) {
        let x = Numbers::new(seed).tensor(&[n, c, h, w], 1.);
        let check = || -> candle::Result<()> {
            let expected = naive_pad(&x, sides, mode)?;
            check_close("output", &pad_layer(&x, sides, mode)?, &expected, 0.)?;
            check_close("strided", &pad_layer(&restride(&x)?, sides, mode)?, &expected, 0.)?;
            let pad = |x: &[Tensor]| Ok(pad(&x[0], sides, mode).into_tensor()?);
            check_gradients(pad, std::slice::from_ref(&x))?;
            for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 2e-3), (DType::BF16, 2e-2)] {
                let narrow = [x.to_dtype(dtype)?];
                let cotangent = Numbers::new(seed ^ 1).tensor(expected.dims(), 1.).to_dtype(dtype)?;
                let (y, dx) = gradients(pad, &narrow, &cotangent)?;
                let (wide_y, wide_dx) =
                    gradients(pad, &[narrow[0].to_dtype(DType::F64)?], &cotangent.to_dtype(DType::F64)?)?;
                check_close("output", &y, &wide_y, 0.)?;
                check_close("gradient", &dx[0], &wide_dx[0], tolerance)?;
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn negative_padding_takes_away(
        (h, w) in (1..=5usize, 1..=5usize), sides in [-5..=3isize, -5..=3isize, -5..=3isize, -5..=3isize],
        mode in prop::sample::select(&MODES[..]), seed: u64,
    ) {
        let x = Numbers::new(seed).tensor(&[2, 1, h, w], 1.);
        let [left, right, top, bottom] = sides;
        let fits = |size: usize, [before, after]: [isize; 2]| {
            let kept = size as isize + before.min(0) + after.min(0);
            let most = before.max(after);
            kept > 0 && match mode {
                "reflect" => most < kept || most <= 0,
                "circular" => most <= kept,
                _ => true,
            }
        };
        if fits(h, [top, bottom]) && fits(w, [left, right]) {
            let check = || {
                let given = pad(&x, sides, mode).into_tensor()?;
                check_close("output", &given, &naive_pad(&x, sides, mode)?, 0.)?;
                check_gradients(|x| Ok(pad(&x[0], sides, mode).into_tensor()?), std::slice::from_ref(&x))
            };
            check().map_err(fail)?;
        } else {
            // Zeros may stand where nothing of the input is left.
            let given = pad(&x, sides, mode).into_tensor();
            prop_assert!(given.is_err() || mode == "zeros" && values(&given.map_err(fail)?).map_err(fail)?.iter().all(|y| *y == 0.));
        }
    }

    /// A convolution with a padding mode is a convolution of the padded input.
    #[test]
    fn padding_modes_of_any_convolution(setting in images(), mode in prop::sample::select(&MODES[..])) {
        let tensors = setting.convolution(4);
        let config = setting.conv2d().padding_mode(mode);
        let fits = setting.axes.iter().all(|axis| match mode {
            "reflect" => axis.padding < axis.size,
            "circular" => axis.padding <= axis.size,
            _ => true,
        });
        let expected = || {
            let [top, left] = setting.each(|axis| axis.padding).map(|padding| padding as isize);
            let padded = naive_pad(&tensors[0], [left, left, top, top], mode).map_err(fail)?;
            let tensors = [&[padded], &tensors[1..]].concat();
            let axes = setting.axes.map(|axis| Axis { size: axis.size + 2 * axis.padding, padding: 0, ..axis });
            Ok::<_, TestCaseError>(Setting { axes, ..setting.clone() }.naive(&tensors))
        };
        check_layer(&config, &tensors, if fits { expected()? } else { None })?;
    }

    #[test]
    fn padding_modes_of_any_signal(setting in signals(), mode in prop::sample::select(&MODES[..])) {
        let tensors = setting.convolution(3);
        let axis = setting.axes[1];
        let fits = match mode {
            "reflect" => axis.padding < axis.size,
            "circular" => axis.padding <= axis.size,
            _ => true,
        };
        let expected = || {
            let side = axis.padding as isize;
            let padded = naive_pad(&tensors[0].unsqueeze(2)?, [side, side, 0, 0], mode)?.squeeze(2)?;
            let tensors = [&[padded], &tensors[1..]].concat();
            let padded = Axis { size: axis.size + 2 * axis.padding, padding: 0, ..axis };
            Ok::<_, candle::Error>(Setting { axes: [Axis::FLAT, padded], ..setting.clone() }.naive(&tensors))
        };
        let expected = if fits { expected().map_err(fail)? } else { None };
        check_layer(&setting.conv1d().padding_mode(mode), &tensors, expected)?;
    }
}

#[test]
fn constants_and_single_axes() -> Result<()> {
    let x = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
    let padded = |x: &Tensor, sides: [isize; 2], mode: PadMode| pad(x, sides, mode).into_tensor();
    assert_eq!(padded(&x, [1, 2], PadMode::Constant(-7.))?.to_vec1::<f32>()?, [-7., 1., 2., 3., -7., -7.]);
    assert_eq!(padded(&x, [2, 0], "circular".into())?.to_vec1::<f32>()?, [2., 3., 1., 2., 3.]);
    assert_eq!(padded(&x, [-1, 1], "replicate".into())?.to_vec1::<f32>()?, [2., 3., 3.]);
    // Padding that crops more than there is, and an infinity that must not meet a factor of zero.
    assert_eq!(padded(&x, [-4, 3], "zeros".into())?.to_vec1::<f32>()?, [0., 0.]);
    let infinite = Tensor::new(&[[f32::INFINITY, f32::NEG_INFINITY]], &Device::Cpu)?;
    let y = padded(&infinite, [1, 1], "zeros".into())?.to_vec2::<f32>()?;
    assert_eq!(y, [[0., f32::INFINITY, f32::NEG_INFINITY, 0.]]);
    Ok(())
}

/// PyTorch pads an even kernel more at the right and the bottom.
#[test]
fn same_padding_of_even_kernels() -> Result<()> {
    let x = Tensor::new(&[[1f64, 2., 3., 4.]], &Device::Cpu)?.unsqueeze(0)?;
    let weight = Tensor::ones((1, 1, 4), DType::F64, &Device::Cpu)?;
    let y = conv1d(&x, &weight, None, Conv1dOptions::default().padding("same")).into_tensor()?;
    assert_eq!(values(&y)?, [6., 10., 9., 7.]);
    for (mode, expected) in
        [("reflect", [8., 10., 12., 12.]), ("replicate", [7., 10., 13., 15.]), ("circular", [10.; 4])]
    {
        let config = Conv1d::config(1, 1, 4).padding("same").padding_mode(mode).bias(false);
        assert_eq!(values(&call(&config, &[x.clone(), weight.clone()])?)?, expected, "{mode}");
    }
    Ok(())
}

// -------------------------------------------------------------------------------- What runs as one kernel

fn operations(launches: Vec<sconce::Launch>) -> Vec<String> {
    launches.into_iter().map(|launch| launch.operations).collect()
}

#[derive(Module)]
#[module(forward = |x| relu(bn(conv(x)) + x))]
struct Block {
    #[layer(4, 4, 3, padding = "same", groups = 2)]
    conv: Conv1d,
    #[layer(4)]
    bn: BatchNorm,
}

#[test]
fn a_block_of_signals_is_one_launch() -> Result<()> {
    let block = Block::new(&Device::Cpu)?;
    let x = Tensor::randn(0f32, 1., (2, 4, 9), &Device::Cpu)?;
    let (y, launches) = sconce::trace(|| block.forward(&x));
    assert_eq!(operations(launches), ["conv1d + batch_norm + residual + relu"]);
    let plain = sconce::no_fusion(|| block.forward(&x))?;
    check_close("fused", &y?, &plain, 1e-5)?;
    Ok(())
}

#[test]
fn functions_wait_for_what_follows() -> Result<()> {
    let random = |shape: &[usize]| Tensor::randn(0f32, 1., shape, &Device::Cpu);
    let (x, weight, bias) = (random(&[2, 3, 8, 8])?, random(&[6, 3, 3, 3])?, random(&[6])?);
    let options = Conv2dOptions::default().stride((2, 1)).padding(1);
    let (y, launches) = sconce::trace(|| relu(conv2d(&x, &weight, Some(&bias), options)).into_tensor());
    assert_eq!(operations(launches), ["conv2d + bias + relu"]);
    assert_eq!(y?.dims(), [2, 6, 4, 8]);
    let (x, weight) = (random(&[2, 4, 8])?, random(&[6, 2, 3])?);
    let options = Conv1dOptions::default().dilation(2).groups(2);
    let (y, launches) = sconce::trace(|| gelu(conv1d(&x, &weight, None, options)).into_tensor());
    assert_eq!(operations(launches), ["conv1d + gelu"]);
    assert_eq!(y?.dims(), [2, 6, 4]);
    Ok(())
}

/// Grouped and depthwise convolution, forward and backward, are one launch each.
#[test]
fn groups_are_one_launch() -> Result<()> {
    for (groups, outputs) in [(2, 8), (6, 6), (6, 12)] {
        let conv = Conv2d::config(6, outputs, 3).padding(1).groups(groups).init(&Device::Cpu)?;
        let up = ConvTranspose2d::config(6, outputs, 3).groups(groups).bias(false).init(&Device::Cpu)?;
        let x = candle::Var::randn(0f32, 1., (2, 6, 7, 7), &Device::Cpu)?;
        let (y, launches) =
            sconce::trace(|| relu(conv.call(x.as_tensor().into(), Mode::Train)).into_tensor());
        assert_eq!(operations(launches), ["conv2d + bias + relu"]);
        let y = y?.sum_all()?;
        let (grads, launches) = sconce::trace(|| y.backward());
        assert!(grads?.get(&x).is_some());
        assert_eq!(operations(launches), ["conv2d backward"]);

        let (y, launches) = sconce::trace(|| up.call(x.as_tensor().into(), Mode::Train).into_tensor());
        assert_eq!(operations(launches), ["conv_transpose2d"]);
        let y = y?.sum_all()?;
        let (grads, launches) = sconce::trace(|| y.backward());
        assert!(grads?.get(&x).is_some());
        assert_eq!(operations(launches), ["conv_transpose2d backward"]);
    }
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let x = relu(down(x));
    let x = relu(up(pad(x)));
    conv2d(x, sharpen, None, Conv2dOptions::default().padding("same"))
})]
struct Autoencoder {
    #[layer(2, 6, 3, stride = 2, padding = 1, padding_mode = "replicate")]
    down: Conv2d,
    #[layer((1, 0, 1, 0))]
    pad: ReflectionPad2d,
    #[layer(6, 2, (3, 2), stride = 2, output_padding = (0, 1), bias = false)]
    up: ConvTranspose2d,
    #[param((2, 2, 4, 4))]
    sharpen: Tensor,
}

#[test]
fn layers_are_fields_and_every_parameter_learns() -> Result<()> {
    let network = Autoencoder::new(&Device::Cpu)?;
    let x = Tensor::randn(0f32, 1., (2, 2, 8, 8), &Device::Cpu)?;
    let y = network.forward_t(&x, true)?;
    assert_eq!(y.dims(), [2, 2, 11, 11]);
    let grads = y.sqr()?.sum_all()?.backward()?;
    let parameters = network.named_parameters();
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["down.weight", "down.bias", "up.weight", "sharpen"]);
    for (name, parameter) in &parameters {
        let grad = grads.get(parameter).expect(name);
        assert!(values(grad)?.iter().any(|x| *x != 0.), "{name}");
    }
    Ok(())
}

#[test]
fn padding_stands_before_the_launch() -> Result<()> {
    let conv = Conv2d::config(2, 3, 3).padding(1).padding_mode("circular").init(&Device::Cpu)?;
    let x = Tensor::ones((1, 2, 5, 5), DType::F32, &Device::Cpu)?;
    let (_, launches) = sconce::trace(|| relu(conv.call((&x).into(), Mode::Eval)).into_tensor());
    assert_eq!(operations(launches), ["pad", "conv2d + bias + relu"]);
    Ok(())
}

// ---------------------------------------------------------------------------------------- The layers

#[test]
fn an_input_without_a_batch_is_a_batch_of_one() -> Result<()> {
    let device = Device::Cpu;
    fn check(layer: impl Layer, shape: &[usize]) -> Result<()> {
        let x = Tensor::randn(0f32, 1., shape, &Device::Cpu)?;
        let alone = layer.call((&x).into(), Mode::Eval).into_tensor()?;
        let batch = layer.call(x.unsqueeze(0)?.into(), Mode::Eval).into_tensor()?;
        Ok(check_close("output", &alone, &batch.squeeze(0)?, 0.)?)
    }
    check(Conv1d::config(3, 4, 3).padding_mode("reflect").padding(2).init(&device)?, &[3, 7])?;
    check(Conv2d::config(3, 4, 3).init(&device)?, &[3, 7, 5])?;
    check(ConvTranspose1d::config(3, 4, 3).stride(2).init(&device)?, &[3, 7])?;
    check(ConvTranspose2d::config(3, 4, 3).stride(2).init(&device)?, &[3, 7, 5])?;
    check(ReflectionPad2d::config(2).init(&device)?, &[3, 7, 5])
}

/// What a layer keeps of its weight follows the weight.
#[test]
fn a_new_weight_is_used() -> Result<()> {
    let mut conv = Conv1d::config(2, 3, 3).init(&Device::Cpu)?;
    let x = Tensor::randn(0f32, 1., (1, 2, 6), &Device::Cpu)?;
    let call = |conv: &Conv1d| conv.call((&x).into(), Mode::Eval).into_tensor();
    let (once, again) = (call(&conv)?, call(&conv)?);
    check_close("a second call", &again, &once, 0.)?;
    let mut state = conv.state_dict();
    for name in ["weight", "bias"] {
        let doubled = (state.get(name).expect("a parameter") * 2.)?;
        state.insert(name.to_string(), doubled);
    }
    conv.load_state_dict(&state)?;
    check_close("doubled", &call(&conv)?, &(&once * 2.)?, 1e-5)?;
    conv.to_dtype(DType::F64)?;
    let wide = conv.call(x.to_dtype(DType::F64)?.into(), Mode::Eval).into_tensor()?;
    check_close("widened", &wide, &(&once * 2.)?, 1e-5)?;
    Ok(())
}

#[test]
fn fresh_parameters_are_drawn_as_in_pytorch() -> Result<()> {
    fn check(layer: impl Module, fan_in: usize, shape: &[usize]) -> Result<()> {
        let bound = 1. / (fan_in as f64).sqrt();
        let parameters = layer.named_parameters();
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["weight", "bias"]);
        assert_eq!(parameters[0].1.dims(), shape);
        let weight = values(&parameters[0].1)?;
        let largest = weight.iter().fold(0f64, |max, x| max.max(x.abs()));
        let square = weight.iter().map(|x| x * x).sum::<f64>() / weight.len() as f64;
        assert!(largest <= bound && largest > 0.95 * bound, "{largest}, expected {bound}");
        assert!((square / (bound * bound / 3.) - 1.).abs() < 0.2, "{square}");
        assert!(values(&parameters[1].1)?.iter().all(|x| x.abs() <= bound));
        Ok(())
    }
    sconce::manual_seed(3);
    let device = Device::Cpu;
    check(Conv1d::config(8, 64, 5).groups(2).init(&device)?, 4 * 5, &[64, 4, 5])?;
    check(ConvTranspose1d::config(64, 8, 5).groups(2).init(&device)?, 4 * 5, &[64, 4, 5])?;
    check(ConvTranspose2d::config(32, 8, (2, 3)).init(&device)?, 8 * 6, &[32, 8, 2, 3])
}

#[test]
fn layers_print_as_in_pytorch() -> Result<()> {
    let device = Device::Cpu;
    let conv = Conv1d::config(4, 6, 3).stride(2).padding(1).dilation(2).groups(2).bias(false);
    assert_eq!(
        conv.padding_mode("reflect").init(&device)?.to_string(),
        "Conv1d(4, 6, kernel_size=(3,), stride=(2,), padding=(1,), dilation=(2,), groups=2, bias=False, padding_mode=reflect)"
    );
    assert_eq!(
        Conv2d::config(1, 2, 4).padding("same").padding_mode("circular").init(&device)?.to_string(),
        "Conv2d(1, 2, kernel_size=(4, 4), stride=(1, 1), padding=same, padding_mode=circular)"
    );
    assert_eq!(
        ConvTranspose1d::config(4, 6, 3).init(&device)?.to_string(),
        "ConvTranspose1d(4, 6, kernel_size=(3,), stride=(1,))"
    );
    let up = ConvTranspose2d::config(4, 6, 3).stride(2).padding(1).output_padding((0, 1)).dilation((1, 2));
    assert_eq!(
        up.groups(2).init(&device)?.to_string(),
        "ConvTranspose2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 2), output_padding=(0, 1), groups=2)"
    );
    assert_eq!(ZeroPad2d::config(1).init(&device)?.to_string(), "ZeroPad2d((1, 1, 1, 1))");
    assert_eq!(
        ReflectionPad2d::config((1, 2, 3, 4)).init(&device)?.to_string(),
        "ReflectionPad2d((1, 2, 3, 4))"
    );
    assert_eq!(ReplicationPad2d::config((1, 2)).init(&device)?.to_string(), "ReplicationPad2d((1, 2, 0, 0))");
    assert_eq!(CircularPad2d::config(2).init(&device)?.to_string(), "CircularPad2d((2, 2, 2, 2))");
    Ok(())
}

// ---------------------------------------------------------------------------------------- Bad input

fn message<T>(result: Result<T>) -> String {
    result.err().map_or("no error".to_string(), |error| error.to_string())
}

#[test]
fn bad_settings_are_named() {
    let device = &Device::Cpu;
    for (given, part) in [
        (
            message(Conv1d::config(3, 4, 0).init(device)),
            "Conv1d 3→4: kernel_size must be at least 1, got (0,)",
        ),
        (message(Conv1d::config(3, 4, 2).stride(0).init(device)), "stride must be at least 1, got (0,)"),
        (message(Conv1d::config(3, 4, 2).padding("full").init(device)), "padding = \"full\""),
        (message(Conv1d::config(3, 4, 2).padding("same").stride(2).init(device)), "needs stride 1"),
        (message(Conv1d::config(3, 4, 2).groups(2).init(device)), "groups = 2 must divide the 3 input"),
        (
            message(Conv2d::config(3, 4, 2).padding_mode("mirror").init(device)),
            "Conv2d 3→4: padding_mode = \"mirror\": expected \"zeros\", \"reflect\", \"replicate\" or \"circular\"",
        ),
        (
            message(ConvTranspose2d::config(3, 4, 2).output_padding((0, 1)).init(device)),
            "ConvTranspose2d 3→4: output_padding must be smaller than stride or dilation, got output_padding = (0, 1) with stride = (1, 1) and dilation = (1, 1)",
        ),
        (
            message(ConvTranspose1d::config(3, 4, 2).stride(2).output_padding(2).init(device)),
            "got output_padding = (2,) with stride = (2,) and dilation = (1,)",
        ),
        (message(ConvTranspose1d::config(3, 4, 2).groups(0).init(device)), "groups = 0 must divide"),
        (
            message(ConvTranspose2d::config(3, 4, 2).dilation((1, 0)).init(device)),
            "dilation must be at least 1, got (1, 0)",
        ),
    ] {
        assert!(given.contains(part), "{given}");
    }
    // As in PyTorch, the dilation alone may allow it.
    assert!(ConvTranspose1d::config(3, 4, 2).dilation(3).output_padding(2).init(device).is_ok());
}

#[test]
fn bad_input_is_named() -> Result<()> {
    let device = &Device::Cpu;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device);
    fn told(layer: &impl Layer, x: Result<Tensor, candle::Error>) -> Result<String> {
        Ok(message(layer.call(x?.into(), Mode::Eval).into_tensor()))
    }
    let conv = Conv1d::config(3, 4, 5).init(device)?;
    let reflect = Conv2d::config(3, 4, 3).padding(4).padding_mode("reflect").init(device)?;
    let circular = Conv1d::config(3, 4, 3).padding(4).padding_mode("circular").init(device)?;
    let up = ConvTranspose2d::config(3, 4, 1).padding(2).init(device)?;
    for (given, part) in [
        (
            told(&conv, zeros(&[1, 2, 9]))?,
            "Conv1d 3→4, 5: expected 3 input channels, got 2 (input [1, 2, 9])",
        ),
        (told(&conv, zeros(&[1, 3, 9, 9]))?, "expected an input [batch, 3, length], got [1, 3, 9, 9]"),
        (told(&conv, zeros(&[9]))?, "expected an input [batch, 3, length], got [9]"),
        (told(&conv, zeros(&[1, 3, 4]))?, "smaller than the dilated kernel"),
        (
            told(&conv, zeros(&[1, 3, 9]).and_then(|x| x.to_dtype(DType::F64)))?,
            "Conv1d 3→4, 5: conv2d: expected a weight of F64",
        ),
        (
            told(&reflect, zeros(&[1, 3, 5, 4]))?,
            "Conv2d 3→4, 3×3: pad: expected reflect padding smaller than the width 4, got 4 at the left and 4 at the right",
        ),
        (
            told(&circular, zeros(&[1, 3, 3]))?,
            "Conv1d 3→4, 3: pad: expected circular padding at most the width 3, got 4",
        ),
        (told(&up, zeros(&[1, 4, 9, 9]))?, "ConvTranspose2d 3→4, 1×1: expected 3 input channels, got 4"),
        (told(&up, zeros(&[1, 3, 9, 4]))?, "the output would be empty (input [1, 3, 9, 4])"),
        (told(&up, zeros(&[1, 3, 9, 0]))?, "the output would be empty"),
        (told(&up, zeros(&[3, 9]))?, "expected an input [batch, 3, height, width], got [3, 9]"),
        (
            told(&up, zeros(&[1, 3, 9, 9]).and_then(|x| x.to_dtype(DType::F64)))?,
            "conv_transpose2d: expected a weight of F64",
        ),
        (
            told(&ReflectionPad2d::config(3), zeros(&[1, 1, 3, 9]))?,
            "smaller than the height 3, got 3 at the top and 3 at the bottom",
        ),
        (
            told(&CircularPad2d::config((0, 4, 0, 0)), zeros(&[1, 1, 3, 3]))?,
            "at most the width 3, got 0 at the left and 4 at the right",
        ),
        (told(&ZeroPad2d::config(-2), zeros(&[1, 1, 9, 4]))?, "leaves something of the width 4"),
        (told(&ZeroPad2d::config(isize::MAX), zeros(&[1, 1, 9, 4]))?, "fits"),
        (told(&ReplicationPad2d::config(1), zeros(&[1, 1, 0, 4]))?, "not empty, got [1, 1, 0, 4]"),
    ] {
        assert!(given.contains(part), "{given}\nlacks {part}");
    }
    Ok(())
}

#[test]
fn bad_operands_of_functions_are_named() -> Result<()> {
    let device = &Device::Cpu;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device);
    let (x, weight, long) = (zeros(&[1, 4, 9, 9])?, zeros(&[4, 3, 3, 3])?, zeros(&[7])?);
    let plain = Conv2dOptions::default();
    let up = ConvTranspose2dOptions::default();
    for (given, part) in [
        (
            conv2d(&x, &long, None, plain),
            "conv2d: expected a weight [out_channels, in_channels / groups, height, width], got [7]",
        ),
        (conv2d(&x, &weight, Some(&long), plain), "conv2d: expected a bias [4], got [7]"),
        (conv2d(&x, &weight, None, plain), "expected 3 input channels, got 4"),
        (
            conv2d(&x, &weight, None, plain.groups(3)),
            "groups do not divide the channels of the weight [4, 3, 3, 3]",
        ),
        (conv2d(&x, &weight, None, plain.groups(0)), "groups do not divide"),
        (conv2d(&x, &zeros(&[4, 4, 0, 3])?, None, plain), "kernel_size must be at least 1, got (0, 3)"),
        (
            conv1d(&x, &weight, None, Conv1dOptions::default()),
            "conv1d: expected a weight [out_channels, in_channels / groups, length]",
        ),
        (conv_transpose2d(&x, &weight, Some(&long), up), "conv_transpose2d: expected a bias [3], got [7]"),
        (conv_transpose2d(&x, &weight, None, up.groups(3)), "groups do not divide"),
        (
            conv_transpose2d(&x, &weight, None, up.output_padding(1)),
            "output_padding must be smaller than stride or dilation",
        ),
        (conv_transpose2d(&x, &weight, None, up.padding(usize::MAX)), "the output would be empty"),
        (conv_transpose2d(&x, &weight, None, up.stride(usize::MAX)), "the output would be empty"),
        (conv_transpose2d(&x, &weight, None, up.stride(1 << 40)), "fits in memory"),
        (
            conv_transpose1d(&x, &long, None, ConvTranspose1dOptions::default()),
            "conv_transpose1d: expected a weight [in_channels",
        ),
        (
            pad(&x, 1, "mirror"),
            "expected the mode \"constant\", \"reflect\", \"replicate\" or \"circular\", got \"mirror\"",
        ),
        (pad(zeros(&[])?, 1, "zeros"), "expected an input […, height, width] that is not empty, got []"),
        (pad(x.to_dtype(DType::U8)?, 1, "zeros"), "got U8"),
    ] {
        let given = message(given.into_tensor());
        assert!(given.contains(part), "{given}\nlacks {part}");
    }
    Ok(())
}
