//! NaN, infinities, the smallest numbers and zeros of both signs in images, weights and statistics: whatever kernels
//! run, fused or one by one, in blocks or in rows, what comes of them stands where the definition in double precision
//! has it.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use sconce::prelude::*;

use crate::common::{Numbers, config, restride, values};

/// What follows a convolution.
#[derive(Clone, Copy, Debug)]
enum Tail {
    Relu,
    /// Windows of two by two after a ReLU.
    Halves,
    /// Overlapping windows.
    MaxPool,
    Norm,
    /// Batch norm, ReLU, and windows of three by three.
    NormMaxPool,
    Depthwise,
}

/// Which operands have special values.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Image,
    Weights,
    Statistics,
}

#[derive(Clone, Debug)]
struct Case {
    dtype: DType,
    batch: usize,
    /// Inputs and outputs of a group.
    channels: [usize; 2],
    groups: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    /// Rows and columns beyond the fewest.
    more: [usize; 2],
    tail: Tail,
    special: &'static [f64],
    place: Where,
    /// One number in so many is special.
    every: usize,
    strided: bool,
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

/// Numbers within 1 but for the special ones.
fn operand(numbers: &mut Numbers, case: &Case, place: Where, shape: &[usize]) -> Result<Tensor> {
    let plain = values(&numbers.tensor(shape, 1.))?;
    let mut below = |n: usize| ((numbers.uniform() + 1.) / 2. * n as f64) as usize % n;
    let value = |plain: f64| match case.place == place && below(case.every) == 0 {
        true => case.special[below(case.special.len())],
        false => plain,
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
    fn of(x: &Tensor) -> Result<Self> {
        Ok(Self { dims: x.dims4()?.into(), values: values(x)? })
    }

    /// What stands at a row and a column of a padded plane, if it is inside.
    fn at(&self, plane: usize, [y, x]: [usize; 2], padding: usize) -> Option<f64> {
        let [_, _, height, width] = self.dims;
        let (y, x) = (y.checked_sub(padding)?, x.checked_sub(padding)?);
        (y < height && x < width).then(|| self.values[(plane * height + y) * width + x])
    }

    /// Windows of `kernel` taps, made into an image of so many channels.
    fn windows(
        &self,
        outputs: usize,
        [kernel, stride, padding, dilation]: [usize; 4],
        value: impl Fn(usize, usize, &dyn Fn(usize, usize) -> Option<f64>) -> f64,
    ) -> Self {
        let [batch, channels, height, width] = self.dims;
        let size = |size: usize| (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
        let [rows, columns] = [size(height), size(width)];
        let mut all = Vec::new();
        for i in 0..batch * outputs * rows * columns {
            let (plane, pixel) = (i / (rows * columns), i % (rows * columns));
            let [y, x] = [pixel / columns * stride, pixel % columns * stride];
            let (image, output) = (plane / outputs, plane % outputs);
            let tap = |channel: usize, tap: usize| {
                let place = [y + tap / kernel * dilation, x + tap % kernel * dilation];
                self.at(image * channels + channel, place, padding)
            };
            all.push(value(output, kernel * kernel, &tap));
        }
        Self { dims: [batch, outputs, rows, columns], values: all }
    }

    /// The sums of the definition; there is nothing outside of the image.
    fn convolved(&self, weight: &Tensor, bias: &Tensor, settings: [usize; 3], groups: usize) -> Result<Self> {
        let (outputs, inputs, kernel, _) = weight.dims4()?;
        let ([stride, padding, dilation], weight, bias) = (settings, values(weight)?, values(bias)?);
        Ok(self.windows(outputs, [kernel, stride, padding, dilation], |output, taps, at| {
            let first = output / (outputs / groups) * inputs;
            let products = (0..inputs * taps)
                .filter_map(|i| Some(at(first + i / taps, i % taps)? * weight[output * inputs * taps + i]));
            products.sum::<f64>() + bias[output]
        }))
    }

    fn pooled(&self, [kernel, stride, padding]: [usize; 3]) -> Self {
        self.windows(self.dims[1], [kernel, stride, padding, 1], |channel, taps, at| {
            let window = (0..taps).filter_map(|tap| at(channel, tap));
            window.fold(f64::NEG_INFINITY, |most, x| if most.is_nan() || x <= most { most } else { x })
        })
    }

    fn rectified(mut self) -> Self {
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

/// A layer with these tensors.
fn with<L: Network>(mut layer: L, dtype: DType, tensors: &[(&str, &Tensor)]) -> Result<L> {
    layer.to_dtype(dtype)?;
    let mut state = layer.state_dict();
    for (name, tensor) in tensors {
        state.insert(*name, (*tensor).clone());
    }
    layer.load_state_dict(&state)?;
    Ok(layer)
}

fn check(case: &Case) -> Result<()> {
    let &Case { dtype, channels: [inputs, outputs], groups, kernel, stride, padding, dilation, .. } = case;
    let numbers = &mut Numbers::new(case.seed);
    let outputs = outputs * groups;
    let size = case.more.map(|more| (dilation * (kernel - 1) + 1).saturating_sub(2 * padding).max(1) + more);
    let x = operand(numbers, case, Where::Image, &[case.batch, inputs * groups, size[0], size[1]])?;
    let weight = operand(numbers, case, Where::Weights, &[outputs, inputs, kernel, kernel])?;
    let bias = operand(numbers, case, Where::Statistics, &[outputs])?;
    let second = operand(numbers, case, Where::Weights, &[outputs, 1, 3, 3])?;
    let mut vector = || operand(numbers, case, Where::Statistics, &[outputs]);
    let statistics = [vector()?, vector()?.abs()?, vector()?, vector()?];

    let settings = Conv2d::config(inputs * groups, outputs, kernel).stride(stride).padding(padding);
    let conv = settings.dilation(dilation).groups(groups).init(&Device::Cpu)?;
    let conv = with(conv, dtype, &[("weight", &weight), ("bias", &bias)])?;
    let depthwise = Conv2d::config(outputs, outputs, 3).padding(1).groups(outputs).init(&Device::Cpu)?;
    let depthwise = with(depthwise, dtype, &[("weight", &second), ("bias", &bias)])?;
    let [mean, variance, scale, shift] = &statistics;
    let norm = [("running_mean", mean), ("running_var", variance), ("weight", scale), ("bias", shift)];
    let norm = with(BatchNorm::config(outputs).init(&Device::Cpu)?, dtype, &norm)?;

    let y = Image::of(&x)?.convolved(&weight, &bias, [stride, padding, dilation], groups)?;
    let small = y.dims[2] < 2 || y.dims[3] < 2;
    let tail = if small && matches!(case.tail, Tail::Halves) { Tail::Relu } else { case.tail };
    let expected = match tail {
        Tail::Relu => y.rectified(),
        Tail::Halves => y.rectified().pooled([2, 2, 0]),
        Tail::MaxPool => y.pooled([3, 2, 1]),
        Tail::Norm => y.normalized(&statistics)?,
        Tail::NormMaxPool => y.normalized(&statistics)?.rectified().pooled([3, 1, 1]),
        Tail::Depthwise => y.rectified().convolved(&second, &bias, [1, 1, 1], outputs)?,
    };

    let run = || -> Result<Tensor> {
        let (conv, norm, depthwise) = match case.inference {
            true => (conv.inference()?, norm.inference()?, depthwise.inference()?),
            false => (conv.detached(), norm.detached(), depthwise.detached()),
        };
        let x = if case.strided { restride(&x)? } else { x.clone() };
        let y = conv.call(x.into(), Mode::Eval);
        match tail {
            Tail::Relu => relu(y),
            Tail::Halves => max_pool2d(relu(y), 2),
            Tail::MaxPool => max_pool2d(y, MaxPool2d::config(3).stride(2).padding(1)),
            Tail::Norm => norm.call(y, Mode::Eval),
            Tail::NormMaxPool => {
                max_pool2d(relu(norm.call(y, Mode::Eval)), MaxPool2d::config(3).stride(1).padding(1))
            }
            Tail::Depthwise => depthwise.call(relu(y), Mode::Eval),
        }
        .into_tensor()
    };
    compare("fused", &run()?, &expected, dtype)?;
    compare("one by one", &sconce::no_fusion(run)?, &expected, dtype)
}

/// NaN and infinities alike, and all else near.
fn compare(what: &str, given: &Tensor, expected: &Image, dtype: DType) -> Result<()> {
    assert_eq!(given.dims(), expected.dims, "{what}");
    // Winograd's transforms among it.
    let tolerance = if dtype == DType::F64 { 1e-12 } else { 1e-4 };
    let finite = expected.values.iter().filter(|x| x.is_finite());
    let scale = finite.fold(1f64, |most, x| most.max(x.abs()));
    for (i, (y, x)) in values(given)?.into_iter().zip(&expected.values).enumerate() {
        let same = y == *x || y.is_nan() && x.is_nan() || (y - x).abs() <= tolerance * scale;
        if !same {
            return Err(Error::msg(format!("{what}: element {i}: {y} in place of {x}")));
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
        more in prop::array::uniform2(0..19usize),
        tail in prop::sample::select(vec![
            Tail::Relu, Tail::Halves, Tail::MaxPool, Tail::Norm, Tail::NormMaxPool, Tail::Depthwise,
        ]),
        special in prop::sample::select(&SPECIAL[..]),
        place in prop::sample::select(vec![Where::Image, Where::Weights, Where::Statistics]),
        every in prop::sample::select(vec![5usize, 50, 500]),
        strided: bool,
        inference in prop::sample::select(vec![true, true, false]),
        seed: u64,
    ) -> Case {
        let (channels, groups) = if depthwise > 0 { ([1, 1], depthwise) } else { (channels, 1) };
        Case {
            dtype, batch, channels, groups, kernel, stride, padding, dilation, more, tail, special, place, every,
            strided, inference, seed,
        }
    }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn they_stand_where_the_definition_has_them(case in cases()) {
        check(&case).map_err(crate::common::fail)?;
    }
}

/// Where a half cannot hold the mean times the scale, or these with the bias of the convolution, the norm is not folded.
#[test]
fn halves_hold_what_is_normalised() -> Result<()> {
    let vector = |value: f64| Tensor::full(value, 16, &Device::Cpu);
    let (large, tiny, one, none) = (vector(300.)?, vector(0.)?, vector(1.)?, vector(0.)?);
    let weight = Tensor::ones((16, 1, 1, 1), DType::F64, &Device::Cpu)?;
    let x = Tensor::new(&[[[[0.25f64, 0.5]]]], &Device::Cpu)?;
    for (mean, bias) in [(&large, &large), (&one, &one)] {
        let statistics = [("running_mean", mean), ("running_var", &tiny), ("weight", &one), ("bias", &none)];
        let run = |dtype: DType| -> Result<Vec<f64>> {
            let conv = Conv2d::config(1, 16, 1).init(&Device::Cpu)?;
            let conv = with(conv, dtype, &[("weight", &weight), ("bias", bias)])?.inference()?;
            let norm = with(BatchNorm::config(16).init(&Device::Cpu)?, dtype, &statistics)?.inference()?;
            let x = x.to_dtype(dtype)?;
            Ok(values(&norm.call(conv.call((&x).into(), Mode::Eval), Mode::Eval).into_tensor()?)?)
        };
        for (y, x) in run(DType::F16)?.iter().zip(run(DType::F64)?) {
            assert!((y - x).abs() < 0.01 * x.abs(), "{y} in place of {x}");
        }
    }
    Ok(())
}

/// A norm of another type than the convolution before it runs by itself.
#[test]
fn a_norm_keeps_its_own_type() -> Result<()> {
    let mut conv = Conv2d::config(4, 16, 3).init(&Device::Cpu)?;
    let norm = BatchNorm::config(16).init(&Device::Cpu)?;
    conv.to_dtype(DType::BF16)?;
    let x = Numbers::new(1).tensor(&[2, 4, 8, 8], 1.).to_dtype(DType::BF16)?;
    let run = || norm.call(conv.call((&x).into(), Mode::Eval), Mode::Eval).into_tensor();
    let (fused, alone) = (run()?, sconce::no_fusion(run)?);
    assert_eq!(fused.dtype(), DType::BF16);
    assert_eq!(values(&fused)?, values(&alone)?);
    Ok(())
}
