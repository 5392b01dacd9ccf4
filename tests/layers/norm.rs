//! Layer, RMS, group, instance and batch norm: agreement with their formulas in f64, gradients by finite differences,
//! and invalid arguments.

use proptest::prelude::*;
use sconce::Result;
use sconce::candle::Result as CandleResult;
use sconce::kernels::norm;
use sconce::prelude::{
    BatchNorm1d, BatchNorm2d, BatchNorm3d, Config, Conv2d, D, DType, Device, Forward, GroupNorm,
    InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, Layer, LayerNorm, LayerNorm2d, Mode, Module, Network,
    RmsNorm, Signal, Tensor, Trainer, cross_entropy, relu,
};
use sconce::train::update_bn;

use crate::common::{
    Rng, check_close, check_gradients, config, fail, gradients, operations, restride, values,
};

const CPU: Device = Device::Cpu;

/// Normalizes `[rows, elements]` according to the definition.
fn by_definition(rows: &Tensor, eps: f64, centered: bool) -> CandleResult<Tensor> {
    let rows = if centered { rows.broadcast_sub(&rows.mean_keepdim(1)?)? } else { rows.clone() };
    rows.broadcast_div(&(rows.sqr()?.mean_keepdim(1)? + eps)?.sqrt()?)
}

/// One of the four norms, with its normalized shape or its number of groups. Its inputs are `[x]`, `[x, weight]` or
/// `[x, weight, bias]`.
#[derive(Clone, Debug)]
enum Norm {
    Layer(Vec<usize>),
    Rms(Vec<usize>),
    Group(usize),
    Instance,
}

impl Norm {
    fn run(&self, x: &[Tensor], eps: f64) -> CandleResult<Tensor> {
        let (weight, bias) = (x.get(1), x.get(2));
        match self {
            Self::Layer(shape) => norm::layer_norm(&x[0], shape, weight, bias, eps),
            Self::Rms(shape) => norm::rms_norm(&x[0], shape, weight, eps),
            Self::Group(groups) => norm::group_norm(&x[0], *groups, weight, bias, eps),
            Self::Instance => norm::instance_norm(&x[0], weight, bias, eps),
        }
    }

    /// Returns the shape of the weight and the bias for an input of shape `dims`.
    fn parameter_shape(&self, dims: &[usize]) -> Vec<usize> {
        match self {
            Self::Layer(shape) | Self::Rms(shape) => shape.clone(),
            Self::Group(_) | Self::Instance => vec![dims[1]],
        }
    }

    fn by_definition(&self, x: &[Tensor], eps: f64) -> CandleResult<Tensor> {
        let dims = x[0].dims();
        let rows = match self {
            Self::Layer(shape) | Self::Rms(shape) => dims[..dims.len() - shape.len()].iter().product(),
            Self::Group(groups) => dims[0] * groups,
            Self::Instance => dims[0] * dims[1],
        };
        let elements = x[0].elem_count() / rows;
        let rows = x[0].reshape((rows, elements))?;
        let mut y = by_definition(&rows, eps, !matches!(self, Self::Rms(_)))?.reshape(dims)?;
        let broadcastable = |parameter: &Tensor| match self {
            Self::Layer(_) | Self::Rms(_) => Ok(parameter.clone()),
            Self::Group(_) | Self::Instance => {
                let mut shape = vec![1; dims.len() - 1];
                shape[0] = dims[1];
                parameter.reshape(shape)
            }
        };
        if let Some(weight) = x.get(1) {
            y = y.broadcast_mul(&broadcastable(weight)?)?;
        }
        match x.get(2) {
            Some(bias) => y.broadcast_add(&broadcastable(bias)?),
            None => Ok(y),
        }
    }
}

/// Generates a norm, the shape of its input, and its number of parameters.
fn settings() -> impl Strategy<Value = (Norm, Vec<usize>, usize)> {
    // The leading dimensions of an input, and the dimensions that are normalized.
    let split_shape = || (prop::collection::vec(1..4usize, 0..3), prop::collection::vec(1..5usize, 1..3));
    let full_shape = |(leading, shape): &(Vec<usize>, Vec<usize>)| [&leading[..], shape].concat();
    let layer = split_shape().prop_map(move |x| (Norm::Layer(x.1.clone()), full_shape(&x)));
    let rms = split_shape().prop_map(move |x| (Norm::Rms(x.1.clone()), full_shape(&x)));
    let plane = || prop::collection::vec(1..4usize, 0..3);
    let group = (1..4usize, 1..4usize, 1..4usize, plane()).prop_map(|(n, groups, per_group, plane)| {
        (Norm::Group(groups), [vec![n, groups * per_group], plane].concat())
    });
    let instance = (1..4usize, 1..4usize, prop::collection::vec(1..4usize, 1..3))
        .prop_map(|(n, c, plane)| (Norm::Instance, [vec![n, c], plane].concat()));
    let any = prop_oneof![layer, rms, group, instance];
    (any, 0..3usize).prop_map(|((norm, dims), parameters)| {
        let max = if matches!(norm, Norm::Rms(_)) { 1 } else { 2 };
        (norm, dims, parameters.min(max))
    })
}

/// Returns `true` if PyTorch rejects this shape because each mean and variance would be computed from a single
/// value.
fn normalizes_single_values(norm: &Norm, dims: &[usize]) -> bool {
    match norm {
        Norm::Layer(_) | Norm::Rms(_) => false,
        Norm::Group(groups) => dims[0] == 1 && dims[1] == *groups && dims[2..].iter().product::<usize>() == 1,
        Norm::Instance => dims[2..].iter().product::<usize>() == 1,
    }
}

proptest! {
    // About 150 settings for each of the four norms.
    #![proptest_config(config(600))]

    #[test]
    fn values_agree_with_the_formula_and_gradients_with_finite_differences(
        (norm, dims, parameters) in settings(), shift in -9.0..9.0f64, seed: u64,
    ) {
        let mut numbers = Rng::new(seed);
        let x = numbers.tensor(&dims, 2.0).affine(1.0, shift).map_err(fail)?;
        let mut inputs = vec![x];
        for _ in 0..parameters {
            inputs.push(numbers.tensor(&norm.parameter_shape(&dims), 1.0));
        }
        if normalizes_single_values(&norm, &dims) {
            prop_assert!(norm.run(&inputs, 0.1).is_err());
            return Ok(());
        }
        let check = || {
            let expected = norm.by_definition(&inputs, 0.1)?;
            check_close("output", &norm.run(&inputs, 0.1)?, &expected, 1e-12)?;
            check_gradients(|x| {
                let x = x.iter().map(restride).collect::<CandleResult<Vec<_>>>()?;
                norm.run(&x, 0.1)
            }, &inputs)
        };
        check().map_err(|e| fail(format!("{norm:?} {dims:?}: {e}")))?;
    }
}

proptest! {
    #![proptest_config(config(200))]

    /// Some of the sizes are so large that the kernels split the work into several tasks and blocks.
    #[test]
    fn every_dtype_agrees_with_f64(seed: u64, rows in 0..300usize, row_size in 1..200usize, kind in 0..4usize) {
        let (norm, dims) = match kind {
            0 => (Norm::Layer(vec![row_size]), vec![rows, row_size]),
            1 => (Norm::Rms(vec![row_size]), vec![rows, row_size]),
            2 => (Norm::Group(3), vec![rows / 6, 6, row_size + 1]),
            _ => (Norm::Instance, vec![rows / 6, 6, row_size + 1]),
        };
        let parameters = norm.parameter_shape(&dims);
        let mut numbers = Rng::new(seed);
        let mut inputs = vec![numbers.tensor(&dims, 4.0), numbers.tensor(&parameters, 1.0)];
        if !matches!(norm, Norm::Rms(_)) {
            inputs.push(numbers.tensor(&parameters, 1.0));
        }
        let output_grad = numbers.tensor(&dims, 0.02);
        // The gradient of a parameter is a sum over many elements, whose rounding errors add up. The tolerances
        // allow for this.
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 1e-2), (DType::BF16, 8e-2)] {
            let check = || {
                let in_dtype = inputs.iter().map(|x| x.to_dtype(dtype)).collect::<CandleResult<Vec<_>>>()?;
                let in_f64 = in_dtype.iter().map(|x| x.to_dtype(DType::F64)).collect::<CandleResult<Vec<_>>>()?;
                let output_grad = output_grad.to_dtype(dtype)?;
                let (y, grads) = gradients(|x| norm.run(x, 1e-2), &in_dtype, &output_grad)?;
                let (f64_y, f64_grads) = gradients(|x| norm.run(x, 1e-2), &in_f64, &output_grad.to_dtype(DType::F64)?)?;
                assert_eq!(y.dtype(), dtype);
                check_close("output", &y, &f64_y, tolerance)?;
                grads.iter().zip(&f64_grads).try_for_each(|(a, b)| check_close("gradient", a, b, tolerance))
            };
            check().map_err(|e| fail(format!("{norm:?} {dtype:?}: {e}")))?;
        }
    }
}

/// If the mean of a row is large compared to the deviations from it, or if all elements of a row are equal, the
/// variance is sensitive to rounding errors.
#[test]
fn rows_far_from_zero_and_constant_rows_are_accurate() -> Result<()> {
    for (dtype, mean, tolerance) in
        [(DType::F32, 1e4, 2e-6), (DType::F32, -1e6, 2e-6), (DType::F64, 1e9, 1e-6)]
    {
        let x = Rng::new(7).tensor(&[4, 60], 1.0).affine(2.0, mean)?.to_dtype(dtype)?;
        // Subtracting `mean` from the rounded elements is exact in f64.
        let exact = by_definition(&(x.to_dtype(DType::F64)? - mean)?, 1e-5, true)?;
        let y = norm::layer_norm(&x, &[60], None, None, 1e-5)?;
        check_close("layer norm", &y, &exact, tolerance)?;
        let channels = x.reshape((1, 4, 60))?;
        let exact = exact.reshape((1, 4, 60))?;
        check_close("group norm", &norm::group_norm(&channels, 4, None, None, 1e-5)?, &exact, tolerance)?;
        check_close("instance", &norm::instance_norm(&channels, None, None, 1e-5)?, &exact, tolerance)?;
    }
    for value in [0.0, 0.1, 1e4, -3e30f64] {
        let x = Tensor::full(value, (2, 3, 7), &CPU)?;
        for dtype in [DType::F32, DType::F64] {
            let inputs = [x.to_dtype(dtype)?];
            let ones = inputs[0].ones_like()?;
            for norm in [Norm::Layer(vec![7]), Norm::Group(3), Norm::Instance] {
                let (y, grads) = gradients(|x| norm.run(x, 1e-5), &inputs, &ones)?;
                let limit = if dtype == DType::F64 { value.abs() * 1e-12 } else { 0.0 };
                assert!(values(&y)?.iter().all(|y| y.abs() <= limit), "{norm:?} of {value}: {y}");
                assert!(values(&grads[0])?.iter().all(|g| g.is_finite()), "{norm:?} of {value}");
            }
            let rms = values(&norm::rms_norm(&inputs[0], &[7], None, 1e-12)?)?;
            assert!(rms.iter().all(|y| (y - value.signum()).abs() < 1e-6 || value == 0.0 && *y == 0.0));
        }
    }
    let x = Tensor::new(&[[1f32, f32::NAN], [1., f32::INFINITY], [1., 3.]], &CPU)?;
    let y = values(&norm::layer_norm(&x, &[2], None, None, 1e-5)?)?;
    assert!(y[..4].iter().all(|y| y.is_nan()) && y[4..].iter().all(|y| y.is_finite()), "{y:?}");
    Ok(())
}

#[test]
fn empty_inputs_are_supported() -> Result<()> {
    let empty = Tensor::zeros((0, 4, 5), DType::F32, &CPU)?;
    let four_ones = Tensor::ones(4, DType::F32, &CPU)?;
    let five_ones = Tensor::ones(5, DType::F32, &CPU)?;
    let inputs = |p: &Tensor| [empty.clone(), p.clone(), p.clone()];
    for (norm, parameter) in
        [(Norm::Layer(vec![5]), &five_ones), (Norm::Group(2), &four_ones), (Norm::Instance, &four_ones)]
    {
        let (y, grads) = gradients(|x| norm.run(x, 1e-5), &inputs(parameter), &empty)?;
        assert_eq!(y.dims(), [0, 4, 5]);
        assert!(values(&grads[1])?.iter().chain(&values(&grads[2])?).all(|g| *g == 0.0));
    }
    let flat = Tensor::zeros((2, 4, 0), DType::F32, &CPU)?;
    assert_eq!(norm::instance_norm(&flat, Some(&four_ones), None, 1e-5)?.dims(), [2, 4, 0]);
    assert_eq!(norm::layer_norm(&flat, &[4, 0], None, None, 1e-5)?.dims(), [2, 4, 0]);
    let tracking = InstanceNorm1d::config(4).track_running_stats(true).init(&CPU)?;
    assert_eq!(tracking.call((&empty).into(), Mode::Train).into_tensor()?.dims(), [0, 4, 5]);
    assert_eq!(values(&tracking.buffers()[1].1)?, [1.0; 4]);
    Ok(())
}

proptest! {
    #![proptest_config(config(200))]

    /// Training replaces a running statistic `running` by `(1 − momentum) · running + momentum · statistic`, where
    /// `statistic` is the mean or the unbiased variance of a channel in each image, averaged over the batch. Evaluation
    /// uses the running statistics.
    #[test]
    fn instance_norm_updates_running_statistics(
        n in 1..4usize, c in 1..4usize, plane in (2..4usize, 1..4usize), momentum in 0.0..1.0f64, affine: bool,
        seed: u64,
    ) {
        let check = || -> Result<()> {
            let norm = InstanceNorm2d::config(c).momentum(momentum).affine(affine);
            let mut norm = norm.track_running_stats(true).init(&CPU)?;
            norm.to_dtype(DType::F64)?;
            let mut numbers = Rng::new(seed);
            let (mut mean, mut var) = (Tensor::zeros(c, DType::F64, &CPU)?, Tensor::ones(c, DType::F64, &CPU)?);
            for _ in 0..2 {
                let x = numbers.tensor(&[n, c, plane.0, plane.1], 2.0);
                let y = norm.call((&x).into(), Mode::Train).into_tensor()?;
                check_close("training", &y, &norm::instance_norm(&x, None, None, 1e-5)?, 1e-12)?;
                let rows = x.flatten_from(2)?;
                let means = rows.mean_keepdim(2)?;
                let squared_deviations = rows.broadcast_sub(&means)?.sqr()?.sum(2)?;
                let unbiased = (squared_deviations / (plane.0 * plane.1 - 1) as f64)?.mean(0)?;
                mean = ((mean * (1. - momentum))? + (means.squeeze(2)?.mean(0)? * momentum)?)?;
                var = ((var * (1. - momentum))? + (unbiased * momentum)?)?;
            }
            let buffers = norm.buffers();
            check_close("running_mean", &buffers[0].1, &mean, 1e-12)?;
            check_close("running_var", &buffers[1].1, &var, 1e-12)?;
            let x = numbers.tensor(&[n, c, 1, 1], 2.0);
            let per_channel = |t: &Tensor| t.reshape((1, c, 1, 1));
            let expected = x.broadcast_sub(&per_channel(&mean)?)?.broadcast_div(&per_channel(&(var + 1e-5)?.sqrt()?)?)?;
            let y = norm.call((&x).into(), Mode::Eval).into_tensor()?;
            Ok(check_close("evaluation", &y, &expected, 1e-10)?)
        };
        check().map_err(fail)?;
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn layer_norm_2d_normalizes_the_channels_at_each_pixel(
        (n, c, h, w) in (1..4usize, 1..5usize, 1..4usize, 1..4usize), affine: bool, bias: bool, seed: u64,
    ) {
        let check = || -> Result<()> {
            let norm = LayerNorm2d::config(c).eps(0.1).elementwise_affine(affine).bias(bias);
            let mut norm = norm.init(&CPU)?;
            norm.to_dtype(DType::F64)?;
            let x = Rng::new(seed).tensor(&[n, c, h, w], 2.0);
            let rows = x.permute((0, 2, 3, 1))?.reshape((n * h * w, c))?;
            let expected = by_definition(&rows, 0.1, true)?.reshape((n, h, w, c))?.permute((0, 3, 1, 2))?;
            let run = |x: &[Tensor]| Ok(norm.call(restride(&x[0])?.into(), Mode::Eval).into_tensor()?);
            check_close("output", &run(std::slice::from_ref(&x))?, &expected, 1e-12)?;
            Ok(check_gradients(run, &[x])?)
        };
        check().map_err(fail)?;
    }
}

/// `BatchNorm1d`, `2d` and `3d` accept the ranks that PyTorch accepts, and reject all others.
#[test]
fn batch_norms_check_the_rank() -> Result<()> {
    let shapes = [&[3][..], &[2, 3], &[2, 3, 4], &[2, 3, 4, 4], &[2, 3, 4, 4, 2], &[2, 3, 4, 4, 2, 2]];
    let accepted = |norm: &dyn Layer| -> Result<Vec<usize>> {
        let mut ranks = Vec::new();
        for shape in shapes {
            let y = norm.call(Tensor::zeros(shape, DType::F32, &CPU)?.into(), Mode::Train);
            match y.error() {
                None => ranks.push(shape.len()),
                Some(error) => assert!(error.to_string().contains(&format!("found {shape:?}")), "{error}"),
            }
        }
        Ok(ranks)
    };
    assert_eq!(accepted(&BatchNorm1d::config(3).init(&CPU)?)?, [2, 3]);
    assert_eq!(accepted(&BatchNorm2d::config(3).init(&CPU)?)?, [4]);
    assert_eq!(accepted(&BatchNorm3d::config(3).init(&CPU)?)?, [5]);
    let error = |norm: &dyn Layer, shape: &[usize]| -> Result<String> {
        let y = norm.call(Tensor::zeros(shape, DType::F32, &CPU)?.into(), Mode::Eval);
        Ok(y.error().map(ToString::to_string).unwrap_or_default())
    };
    assert_eq!(
        error(&BatchNorm1d::config(3).init(&CPU)?, &[2, 4])?,
        "BatchNorm1d 3: expected an input [batch, 3] or [batch, 3, length], found [2, 4]"
    );
    assert_eq!(
        error(&BatchNorm3d::config(3).init(&CPU)?, &[2, 3])?,
        "BatchNorm3d 3: expected an input [batch, 3, depth, height, width], found [2, 3]"
    );
    assert_eq!(
        error(&LayerNorm2d::config(3).init(&CPU)?, &[2, 4, 3, 3])?,
        "LayerNorm2d 3: expected an input [batch, 3, height, width], found [2, 4, 3, 3]"
    );
    Ok(())
}

/// A `BatchNorm2d` is fused into a convolution and found by `update_bn`, like a `BatchNorm`.
#[test]
fn batch_norm_2d_is_treated_like_batch_norm() -> Result<()> {
    let layers = (Conv2d::config(2, 3, 3).init(&CPU)?, BatchNorm2d::config(3).init(&CPU)?);
    let x = Rng::new(1).tensor(&[4, 2, 5, 5], 1.0).to_dtype(DType::F32)?;
    let launches = operations(|| relu(layers.call((&x).into(), Mode::Eval)).into_tensor())?;
    assert_eq!(launches, ["conv2d + batch_norm + relu"]);

    let norm = BatchNorm2d::config(2).init(&CPU)?;
    let targets = Tensor::zeros(4, DType::F32, &CPU)?;
    update_bn(&norm, &vec![(x.clone(), targets.clone()), ((&x + 2.0)?, targets)])?;
    let mean = (x.mean((0, 2, 3))? + 1.0)?;
    check_close("running_mean", &norm.buffers()[0].1, &mean, 1e-6)?;
    Ok(())
}

fn print<M: Module + std::fmt::Display>(config: impl Config<Output = M>) -> Result<String> {
    Ok(config.init(&CPU)?.to_string())
}

#[test]
fn printing_and_tensor_names_agree_with_pytorch() -> Result<()> {
    assert_eq!(print(LayerNorm::config(6))?, "LayerNorm((6,), eps=1e-05, elementwise_affine=True)");
    let two_axes = LayerNorm::config((6, 5)).eps(1e-6).elementwise_affine(false);
    assert_eq!(print(two_axes)?, "LayerNorm((6, 5), eps=1e-06, elementwise_affine=False)");
    assert_eq!(print(LayerNorm2d::config(6))?, "LayerNorm2d((6,), eps=1e-06, elementwise_affine=True)");
    let printed = "BatchNorm2d(6, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)";
    assert_eq!(print(BatchNorm2d::config(6))?, printed);
    assert_eq!(print(RmsNorm::config([2]))?, "RMSNorm((2,), eps=None, elementwise_affine=True)");
    assert_eq!(print(GroupNorm::config(3, 6))?, "GroupNorm(3, 6, eps=1e-05, affine=True)");
    let printed = "InstanceNorm2d(3, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)";
    assert_eq!(print(InstanceNorm2d::config(3))?, printed);
    let norm = InstanceNorm1d::config(3).affine(true).track_running_stats(true).init(&CPU)?;
    let names: Vec<String> = norm.state_dict().keys().map(String::from).collect();
    assert_eq!(names, ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]);
    let names = |config: sconce::layers::LayerNormConfig| -> Result<Vec<String>> {
        Ok(config.init(&CPU)?.named_parameters().into_iter().map(|(name, _)| name).collect())
    };
    assert_eq!(names(LayerNorm::config((2, 3)))?, ["weight", "bias"]);
    assert_eq!(names(LayerNorm::config((2, 3)).bias(false))?, ["weight"]);
    assert!(names(LayerNorm::config((2, 3)).elementwise_affine(false))?.is_empty());
    Ok(())
}

#[test]
fn an_unbatched_input_gives_the_result_of_a_batch_of_one() -> Result<()> {
    let x = Rng::new(3).tensor(&[2, 3, 4, 5], 1.0);
    let norm = InstanceNorm2d::config(3).init(&CPU)?;
    let whole = norm.call((&x).into(), Mode::Eval).into_tensor()?;
    let one = norm.call(x.get(1)?.into(), Mode::Eval).into_tensor()?;
    check_close("one of two", &one, &whole.get(1)?, 1e-12)?;
    let cube = InstanceNorm3d::config(2).init(&CPU)?.call((&x).into(), Mode::Eval).into_tensor()?;
    assert_eq!(cube.dims(), [2, 3, 4, 5]);
    Ok(())
}

#[test]
fn the_default_eps_of_rms_norm_depends_on_the_input_dtype() -> Result<()> {
    let norm = RmsNorm::config(2).elementwise_affine(false).init(&CPU)?;
    for (dtype, epsilon) in
        [(DType::F64, f64::EPSILON), (DType::F16, 0.000_976_562_5), (DType::BF16, 0.007_812_5)]
    {
        let x = Tensor::new(&[[1e-2, 2e-2]], &CPU)?.to_dtype(dtype)?;
        let y = norm.call((&x).into(), Mode::Eval).into_tensor()?;
        let expected = by_definition(&x.to_dtype(DType::F64)?, epsilon, false)?;
        check_close("eps", &y, &expected, if dtype == DType::F64 { 1e-12 } else { 5e-3 })?;
        let y = sconce::functional::rms_norm(&x, 2, None, None).into_tensor()?;
        check_close("functional", &y, &expected, if dtype == DType::F64 { 1e-12 } else { 5e-3 })?;
    }
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &CPU).map(Signal::from);
    let message = |y: Signal| y.into_tensor().expect_err("expected an error").to_string();
    let layer = LayerNorm::config((4, 5)).init(&CPU)?;
    let error = message(layer.call(zeros(&[2, 5, 4])?, Mode::Eval));
    assert_eq!(error, "LayerNorm (4, 5): expected an input […, 4, 5], found [2, 5, 4]");
    let rms = RmsNorm::config(4).init(&CPU)?;
    assert_eq!(
        message(rms.call(zeros(&[])?, Mode::Eval)),
        "RMSNorm (4,): expected an input […, 4], found []"
    );
    let group = GroupNorm::config(2, 4).init(&CPU)?;
    let error = message(group.call(zeros(&[2, 3, 4])?, Mode::Eval));
    assert_eq!(error, "GroupNorm 4 channels in 2 groups: expected an input [batch, 4, …], found [2, 3, 4]");
    assert!(message(group.call(zeros(&[4])?, Mode::Eval)).contains("found [4]"));
    let one_channel_per_group = GroupNorm::config(4, 4).init(&CPU)?;
    assert!(
        message(one_channel_per_group.call(zeros(&[1, 4, 1])?, Mode::Train))
            .contains("more than one value per group")
    );
    let instance = InstanceNorm2d::config(3).init(&CPU)?;
    let error = message(instance.call(zeros(&[2, 4, 5, 5])?, Mode::Eval));
    assert_eq!(error, "InstanceNorm2d 3: expected an input [batch, 3, height, width], found [2, 4, 5, 5]");
    assert!(message(instance.call(zeros(&[2, 3])?, Mode::Eval)).contains("found [2, 3]"));
    let error = message(instance.call(zeros(&[2, 3, 1, 1])?, Mode::Train));
    assert!(
        error.contains("InstanceNorm2d 3") && error.contains("more than one value per channel"),
        "{error}"
    );

    let message_of = |error: Option<sconce::Error>| error.expect("expected an error").to_string();
    assert!(
        message_of(GroupNorm::config(4, 6).init(&CPU).err())
            .contains("expected num_groups to divide the 6 channels, found 4")
    );
    assert!(
        message_of(GroupNorm::config(0, 6).init(&CPU).err())
            .contains("expected num_groups to divide the 6 channels, found 0")
    );
    assert!(message_of(LayerNorm::config([]).init(&CPU).err()).contains("at least one dimension"));

    let x = Tensor::zeros((2, 4), DType::F32, &CPU)?;
    let weight = Tensor::zeros(2, DType::F32, &CPU)?;
    let error = message(sconce::functional::layer_norm(&x, 4, Some(&weight), None, 1e-5));
    assert!(error.contains("weight of shape [4], found [2]"), "{error}");
    let error = message(sconce::functional::rms_norm(&x, (3, 4), None, None));
    assert_eq!(error, "rms_norm: expected an input that ends in the normalized shape [3, 4], found [2, 4]");
    let error = message(sconce::functional::group_norm(&x, 3, None, None, 1e-5));
    assert!(error.contains("4 channels do not divide into 3 groups"), "{error}");
    assert!(message(sconce::functional::instance_norm(&x, None, None, 1e-5)).contains("rank 3"));
    let integers = Tensor::zeros((2, 4), DType::U32, &CPU)?;
    assert!(message(rms.call(integers.into(), Mode::Eval)).contains("U32"));
    Ok(())
}

/// candle's norm layers can be trained with sconce, although candle's own kernels for them have no gradient.
#[test]
fn candles_norms_learn() -> Result<()> {
    let variables = sconce::nn::VarMap::new();
    let builder = sconce::nn::VarBuilder::from_varmap(&variables, DType::F32, &CPU);
    let x = Rng::new(1).tensor(&[6, 8], 1.0).to_dtype(DType::F32)?;
    let target = Tensor::new(&[0u32, 1, 2, 3, 4, 5], &CPU)?;
    let layer = sconce::nn::layer_norm(8, 1e-5, builder.pp("layer"))?;
    let rms = sconce::nn::rms_norm(8, 1e-5, builder.pp("rms"))?;
    let uncentered = sconce::nn::LayerNormConfig { eps: 1e-5, remove_mean: false, affine: true };
    let uncentered = sconce::nn::layer_norm(8, uncentered, builder.pp("uncentered"))?;
    let data = (x.clone(), target);
    let expected = by_definition(&x.to_dtype(DType::F64)?, 1e-5, true)?;
    check_close("layer", &layer.call((&x).into(), Mode::Eval).into_tensor()?, &expected, 1e-5)?;
    let expected = by_definition(&x.to_dtype(DType::F64)?, 1e-5, false)?;
    for norm in [rms.call((&x).into(), Mode::Eval), uncentered.call((&x).into(), Mode::Eval)] {
        check_close("rms", &norm.into_tensor()?, &expected, 1e-5)?;
    }
    let sgd = || sconce::train::optim::Sgd::new(0.5);
    let histories = [
        Trainer::new(&layer, cross_entropy, sgd()).quiet(true).fit(&data, &(), sconce::train::Epochs(5))?,
        Trainer::new(&rms, cross_entropy, sgd()).quiet(true).fit(&data, &(), sconce::train::Epochs(5))?,
    ];
    for history in histories {
        assert!(history.unreached().is_empty());
        let losses: Vec<f64> = history.epochs().iter().map(|epoch| epoch.train.loss).collect();
        assert!(losses[4] < losses[0] - 0.05, "{losses:?}");
    }
    assert_eq!(x.dim(D::Minus1)?, 8);
    Ok(())
}
