//! Compares the outputs and gradients of each kernel with those of its composed path, which runs on devices without
//! kernels.

use candle_core::{DType, Device, Result, Tensor, Var};
use sconce_kernels::embedding::BagMode;
use sconce_kernels::recurrent::{self, Recurrence, RecurrentWeights};
use sconce_kernels::testing::on_composed_path;
use sconce_kernels::{
    Activation, Bags, Binary, ConvGeometry, Epilogue, Filter, PadMode, PoolGeometry, Resampling,
    TransposeGeometry, Unary, WindowGeometry, activate, adaptive_avg_pool2d, adaptive_avg_pool3d,
    adaptive_max_pool2d, adaptive_max_pool3d, avg_pool2d, avg_pool3d, batch_norm_eval, batch_norm_train,
    binary, celu, conv_transpose2d, conv_transpose3d, conv2d, conv3d, elu, embedding, embedding_bag, fold,
    gelu_tanh, group_norm, hardshrink, hardsigmoid, hardtanh, instance_norm, layer_norm, linear, log_softmax,
    logsigmoid, masked_softmax, matmul, max_pool2d, max_pool3d, mean, mish, pad, pad3d, prelu, resample2d,
    rms_norm, rotary_embedding, selu, softmax, softplus, softshrink, softsign, sum_keepdim, tanhshrink,
    threshold, unary, unfold,
};

use crate::common::Rng;

/// Returns an f64 variable with elements that are uniformly distributed in `low..high`.
fn variable(low: f64, high: f64, shape: &[usize]) -> Result<Var> {
    Var::from_tensor(&Tensor::rand(low, high, shape, &Device::Cpu)?)
}

fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: f64, label: &str) -> Result<()> {
    assert_eq!(actual.dims(), expected.dims(), "{label}");
    let difference = actual.sub(expected)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>()?;
    assert!(difference <= tolerance, "{label}: the difference is {difference:e}");
    Ok(())
}

/// Checks that the kernel and the composed path of `run` return the same output and the same gradients of `vars`.
fn check(label: &str, vars: &[&Var], tolerance: f64, run: impl Fn() -> Result<Tensor>) -> Result<()> {
    let kernel = run()?;
    let composed = on_composed_path(&run)?;
    assert_close(&composed, &kernel, tolerance, label)?;
    let output_grad = Tensor::rand(-1f64, 1., kernel.shape(), &Device::Cpu)?;
    let kernel = (kernel * &output_grad)?.sum_all()?.backward()?;
    let composed = (composed * &output_grad)?.sum_all()?.backward()?;
    for var in vars {
        let [composed, kernel] =
            [&composed, &kernel].map(|grads| grads.get(var).expect("the output depends on every variable"));
        assert_close(composed, kernel, tolerance, &format!("gradient of {label}"))?;
    }
    Ok(())
}

#[test]
fn activations() -> Result<()> {
    let x = &variable(-8., 8., &[333])?;
    for activation in Activation::EACH {
        check(activation.name(), &[x], 1e-6, || activate(activation, x))?;
    }
    check("softplus", &[x], 1e-6, || softplus(x, 1., 20.))?;
    check("elu", &[x], 1e-6, || elu(x, 1.3))?;
    check("celu", &[x], 1e-6, || celu(x, 1.7))?;
    check("selu", &[x], 1e-6, || selu(x))?;
    check("gelu_tanh", &[x], 1e-6, || gelu_tanh(x))?;
    check("hardtanh", &[x], 1e-6, || hardtanh(x, -2., 3.))?;
    check("logsigmoid", &[x], 1e-6, || logsigmoid(x))?;
    check("mish", &[x], 1e-6, || mish(x))?;
    check("hardsigmoid", &[x], 1e-6, || hardsigmoid(x))?;
    check("threshold", &[x], 1e-6, || threshold(x, -1.5, 3.))?;
    check("softshrink", &[x], 1e-6, || softshrink(x, 1.2))?;
    check("hardshrink", &[x], 1e-6, || hardshrink(x, 1.2))?;
    check("tanhshrink", &[x], 1e-6, || tanhshrink(x))?;
    check("softsign", &[x], 1e-6, || softsign(x))
}

#[test]
fn arithmetic_and_sums() -> Result<()> {
    let x = &variable(0.1, 2., &[2, 3, 4, 5])?;
    let y = &variable(0.5, 2., &[3, 1, 5])?;
    for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div] {
        check(op.name(), &[x, y], 1e-11, || binary(op, x, y))?;
    }
    for op in [
        Unary::Neg,
        Unary::Abs,
        Unary::Sqr,
        Unary::Sqrt,
        Unary::Exp,
        Unary::Log,
        Unary::Affine { factor: 2., offset: 3. },
        Unary::Quotient { numerator: 3. },
        Unary::Powf { exponent: 1.3 },
        Unary::Clamp { min: 0.5, max: 1.5 },
    ] {
        check(op.name(), &[x], 1e-11, || unary(op, x))?;
    }
    check("mean", &[x], 1e-12, || mean(x, (2, 3)))?;
    check("sum", &[x], 1e-12, || sum_keepdim(x, (0, 2)))
}

#[test]
fn prelu_with_one_slope_and_one_per_channel() -> Result<()> {
    let x = &variable(-2., 2., &[3, 4, 5])?;
    for slopes in [1, 4] {
        let weight = &variable(-1., 1., &[slopes])?;
        check("prelu", &[x, weight], 1e-12, || prelu(x, weight))?;
    }
    Ok(())
}

#[test]
fn convolution() -> Result<()> {
    let x = &variable(-1., 1., &[2, 4, 7, 9])?;
    let weight = &variable(-1., 1., &[6, 2, 3, 2])?;
    let bias = &variable(-1., 1., &[6])?;
    for (stride, padding, dilation) in [
        ([1, 1], [[0, 0], [0, 0]], [1, 1]),
        ([2, 2], [[1, 1], [1, 1]], [2, 2]),
        ([2, 3], [[1, 2], [0, 3]], [1, 1]),
    ] {
        let geometry = ConvGeometry { stride, padding, dilation, groups: 2 };
        let epilogue = Epilogue::new().with_bias(bias).with_activation(Activation::Tanh);
        let label = format!("conv2d {geometry:?}");
        check(&label, &[x, weight, bias], 1e-11, || conv2d(x, weight, &geometry, &epilogue, None))?;
    }
    Ok(())
}

/// Rows and columns that no window reads differ in number, which candle's own gradient of the input does not support.
#[test]
fn random_convolutions() -> Result<()> {
    let mut numbers = Rng::new(7);
    let mut one_of = |choices: usize| ((numbers.uniform() + 1.) / 2. * choices as f64) as usize;
    for _ in 0..60 {
        let (groups, stride, dilation, padding) = (1 + one_of(3), 1 + one_of(5), 1 + one_of(3), one_of(3));
        let kernel = [1 + one_of(4), 1 + one_of(4)];
        let size = kernel.map(|kernel| (kernel - 1) * dilation + 1 + one_of(8));
        let x = &variable(-1., 1., &[2, 2 * groups, size[0], size[1]])?;
        let weight = &variable(-1., 1., &[3 * groups, 2, kernel[0], kernel[1]])?;
        let padding = [[padding; 2]; 2];
        let geometry = ConvGeometry { stride: [stride; 2], padding, dilation: [dilation; 2], groups };
        let label = format!("conv2d {geometry:?} on {size:?}");
        check(&label, &[x, weight], 1e-11, || conv2d(x, weight, &geometry, &Epilogue::new(), None))?;
    }
    Ok(())
}

#[test]
fn transposed_convolution() -> Result<()> {
    let x = &variable(-1., 1., &[2, 4, 5, 3])?;
    let weight = &variable(-1., 1., &[4, 3, 3, 2])?;
    let bias = &variable(-1., 1., &[6])?;
    for (stride, padding, output_padding, dilation) in [
        ([1, 1], [0, 0], [0, 0], [1, 1]),
        ([2, 3], [1, 0], [1, 2], [1, 1]),
        ([1, 2], [3, 1], [1, 0], [2, 3]),
        ([1, 1], [0, 1], [3, 2], [4, 3]),
    ] {
        let geometry = TransposeGeometry { stride, padding, output_padding, dilation, groups: 2 };
        let label = format!("conv_transpose2d {geometry:?}");
        check(&label, &[x, weight, bias], 1e-12, || conv_transpose2d(x, weight, Some(bias), &geometry))?;
    }
    Ok(())
}

#[test]
fn convolutions_of_videos() -> Result<()> {
    let x = &variable(-1., 1., &[2, 4, 5, 3, 4])?;
    let bias = &variable(-1., 1., &[6])?;
    for (kernel, stride, padding, dilation) in [
        ([1, 2, 2], [1, 1, 1], [0, 0, 0], [1, 1, 1]),
        ([2, 1, 1], [2, 1, 1], [1, 0, 0], [2, 1, 1]),
        ([3, 2, 1], [2, 1, 3], [2, 1, 0], [1, 2, 1]),
        ([2, 1, 2], [4, 2, 1], [0, 1, 2], [3, 1, 1]),
    ] {
        let [depth, height, width] = kernel;
        let weight = &variable(-1., 1., &[6, 2, depth, height, width])?;
        let sides = padding.map(|padding| [padding; 2]);
        let geometry = ConvGeometry { stride, padding: sides, dilation, groups: 2 };
        let epilogue = Epilogue::new().with_bias(bias);
        let label = format!("conv3d {geometry:?}");
        check(&label, &[x, weight, bias], 1e-11, || conv3d(x, weight, &geometry, &epilogue))?;

        let weight = &variable(-1., 1., &[4, 3, depth, height, width])?;
        let geometry = TransposeGeometry { stride, padding, output_padding: [0; 3], dilation, groups: 2 };
        let label = format!("conv_transpose3d {geometry:?}");
        check(&label, &[x, weight, bias], 1e-12, || conv_transpose3d(x, weight, Some(bias), &geometry))?;
    }
    Ok(())
}

#[test]
fn pooling_of_videos() -> Result<()> {
    let x = &variable(-1., 1., &[2, 3, 5, 6, 7])?;
    for (kernel, stride, padding) in [([2, 2, 2], [2, 2, 2], [0; 3]), ([3, 2, 1], [1, 2, 3], [1, 1, 0])] {
        let geometry = PoolGeometry { stride, padding, ..PoolGeometry::new(kernel) };
        check(&format!("max_pool3d {geometry:?}"), &[x], 1e-12, || max_pool3d(x, &geometry))?;
        for divisor in [None, Some(5)] {
            let label = format!("avg_pool3d {geometry:?} {divisor:?}");
            check(&label, &[x], 1e-12, || avg_pool3d(x, &geometry, false, divisor))?;
        }
    }
    check("adaptive_max_pool3d", &[x], 1e-12, || adaptive_max_pool3d(x, [Some(2), None, Some(3)]))?;
    check("adaptive_avg_pool3d", &[x], 1e-12, || adaptive_avg_pool3d(x, [None, Some(4), Some(1)]))?;
    check("pad3d", &[x], 1e-12, || pad3d(x, [1, 0, 2, 1, 3, 2], PadMode::Reflect))
}

#[test]
fn batch_norm() -> Result<()> {
    for shape in [&[4, 3][..], &[2, 3, 5, 4]] {
        let x = &variable(-1., 3., shape)?;
        let weight = &variable(0.5, 1.5, &[3])?;
        let bias = &variable(-1., 1., &[3])?;
        let train = || batch_norm_train(x, Some(weight), Some(bias), 1e-3);
        let (_, mean, variance) = train()?;
        let (_, composed_mean, composed_variance) = on_composed_path(train)?;
        assert_close(&composed_mean, &mean, 1e-12, "mean")?;
        assert_close(&composed_variance, &variance, 1e-12, "variance")?;
        check("batch_norm_train", &[x, weight, bias], 1e-9, || Ok(train()?.0))?;
        check("batch_norm_eval", &[x, weight, bias], 1e-9, || {
            batch_norm_eval(x, &mean, &variance, Some(weight), Some(bias), 1e-3)
        })?;
    }
    Ok(())
}

#[test]
fn norms_of_rows() -> Result<()> {
    let x = &variable(-1., 3., &[3, 6, 4, 5])?;
    let weight = &variable(0.5, 1.5, &[4, 5])?;
    let bias = &variable(-1., 1., &[4, 5])?;
    check("layer_norm", &[x, weight, bias], 1e-9, || layer_norm(x, &[4, 5], Some(weight), Some(bias), 1e-3))?;
    check("rms_norm", &[x, weight], 1e-9, || rms_norm(x, &[4, 5], Some(weight), 1e-3))?;
    let weight = &variable(0.5, 1.5, &[6])?;
    let bias = &variable(-1., 1., &[6])?;
    let vars = [x, weight, bias];
    for groups in [1, 3, 6] {
        check("group_norm", &vars, 1e-9, || group_norm(x, groups, Some(weight), Some(bias), 1e-3))?;
    }
    check("instance_norm", &vars, 1e-9, || instance_norm(x, Some(weight), Some(bias), 1e-3))
}

#[test]
fn moments_of_instances() -> Result<()> {
    let x = variable(-1., 3., &[3, 6, 4, 5])?;
    let moments = || sconce_kernels::norm::instance_moments(&x);
    let (mean, variance) = moments()?;
    let (composed_mean, composed_variance) = on_composed_path(moments)?;
    assert_close(&composed_mean, &mean, 1e-12, "mean")?;
    assert_close(&composed_variance, &variance, 1e-12, "variance")
}

#[test]
fn softmaxes() -> Result<()> {
    let x = &variable(-3., 3., &[2, 5, 5])?;
    for dim in [1, 2] {
        check("softmax", &[x], 1e-12, || softmax(x, dim))?;
        check("log_softmax", &[x], 1e-12, || log_softmax(x, dim))?;
        check("masked_softmax", &[x], 1e-12, || masked_softmax(x, dim))?;
    }
    Ok(())
}

#[test]
fn matrix_products() -> Result<()> {
    let (a, b) = (&variable(-1., 1., &[3, 4, 5])?, &variable(-1., 1., &[2, 3, 5, 6])?);
    check("matmul", &[a, b], 1e-12, || matmul(a, b))?;
    check("matmul of a transpose", &[a, b], 1e-12, || matmul(&b.t()?, &a.t()?))?;
    let (a, b) = (&variable(-1., 1., &[2, 1, 3, 2, 4])?, &variable(-1., 1., &[2, 3, 1, 4, 2])?);
    check("matmul of rank 5", &[a, b], 1e-12, || matmul(a, b))
}

#[test]
fn linear_layer() -> Result<()> {
    // The kernel supports only f32.
    let random = |shape: (usize, usize)| Tensor::rand(-1f32, 1., shape, &Device::Cpu);
    let (x, weight, bias) = (random((5, 7))?, random((3, 7))?, random((1, 3))?.flatten_all()?);
    let run = || linear(&x, &weight, Some(&bias), Activation::Silu, None)?.to_dtype(DType::F64);
    assert_close(&on_composed_path(run)?, &run()?, 1e-6, "linear")
}

#[test]
fn padding() -> Result<()> {
    let x = &variable(-1., 1., &[2, 3, 5, 6])?;
    for sides in [[1, 2, 3, 4], [0, -2, 4, 0], [-3, 2, 1, -2], [4, 4, 0, 0]] {
        for mode in [PadMode::Constant(1.5), PadMode::Reflect, PadMode::Replicate, PadMode::Circular] {
            let label = format!("pad {sides:?} {mode}");
            check(&label, &[x], 1e-12, || pad(x, sides, mode))?;
            let run = || pad(x, sides, mode);
            assert_close(&on_composed_path(run)?, &run()?, 0., &label)?;
        }
    }
    Ok(())
}

#[test]
fn pooling() -> Result<()> {
    let x = &variable(-1., 1., &[2, 3, 9, 10])?;
    for (kernel, stride, padding, dilation, ceil_mode) in [
        ([2, 2], [2, 2], [0, 0], [1, 1], false),
        ([3, 3], [2, 2], [1, 1], [1, 1], true),
        ([3, 2], [1, 3], [1, 0], [2, 3], true),
    ] {
        let mut geometry = PoolGeometry { kernel, stride, padding, dilation, ceil_mode };
        check("max_pool2d", &[x], 1e-12, || max_pool2d(x, &geometry))?;
        geometry.dilation = [1; 2];
        check("avg_pool2d", &[x], 1e-12, || avg_pool2d(x, &geometry, true, None))?;
    }
    check("adaptive_avg_pool2d", &[x], 1e-12, || adaptive_avg_pool2d(x, [Some(4), None]))?;
    check("adaptive_max_pool2d", &[x], 1e-12, || adaptive_max_pool2d(x, [Some(4), Some(13)]))
}

#[test]
fn resampling() -> Result<()> {
    let x = &variable(-1., 1., &[2, 3, 5, 6])?;
    for filter in [Filter::Nearest, Filter::NearestExact, Filter::Linear, Filter::Cubic] {
        for (scale, align_corners) in [([None; 2], true), ([Some(1.9), Some(0.7)], false)] {
            let resampling = Resampling { filter, output: [9, 4], scale, align_corners };
            check(&format!("{resampling:?}"), &[x], 1e-12, || resample2d(x, &resampling))?;
        }
    }
    Ok(())
}

#[test]
fn recurrences() -> Result<()> {
    let hidden = 5;
    let batch_sizes = [3, 3, 2, 1];
    let (rows, batch) = (batch_sizes.iter().sum::<usize>(), batch_sizes[0]);
    let recurrences = [Recurrence::Tanh, Recurrence::Relu, Recurrence::Lstm, Recurrence::Gru];
    for (recurrence, project) in recurrences
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)])
        // A GRU has no projection.
        .filter(|case| *case != (Recurrence::Gru, true))
    {
        let width = recurrence.gates() * hidden;
        let projected = if project { 3 } else { hidden };
        let projection = variable(-1., 1., &[projected, hidden])?;
        let inputs = variable(-1., 1., &[rows, width])?;
        let weight = variable(-1., 1., &[width, projected])?;
        let bias = variable(-1., 1., &[width])?;
        let state_widths = [projected, hidden].into_iter().take(recurrence.states());
        let state: Result<Vec<Var>> = state_widths.map(|width| variable(-1., 1., &[batch, width])).collect();
        let state = state?;
        let tensors: Vec<Tensor> = state.iter().map(|var| var.as_tensor().clone()).collect();
        let vars: Vec<&Var> = [&inputs, &weight, &bias].into_iter().chain(&state).collect();
        let projection = project.then_some(&projection);
        let vars: Vec<&Var> = vars.into_iter().chain(projection).collect();
        for reverse in [false, true] {
            check(&format!("{recurrence:?}"), &vars, 1e-12, || {
                let projection = projection.map(Var::as_tensor);
                let weights = RecurrentWeights { weight: &weight, bias: Some(&bias), projection };
                let (outputs, state) =
                    recurrent::run_packed(recurrence, &inputs, &batch_sizes, &weights, &tensors, reverse)?;
                let all: Result<Vec<Tensor>> =
                    std::iter::once(&outputs).chain(&state).map(Tensor::flatten_all).collect();
                Tensor::cat(&all?, 0)
            })?;
        }
    }
    Ok(())
}

#[test]
fn embeddings() -> Result<()> {
    let weight = &variable(-1., 1., &[4, 3])?;
    let ids = Tensor::new(&[3u32, 1, 3, 0, 1], &Device::Cpu)?;
    for padding in [None, Some(1)] {
        check("embedding", &[weight], 1e-15, || embedding(&ids, weight, padding))?;
    }
    Ok(())
}

#[test]
fn bags_of_embeddings() -> Result<()> {
    let weight = &variable(-1., 1., &[4, 3])?;
    let samples = variable(-1., 1., &[6])?;
    let ids = Tensor::new(&[3u32, 1, 3, 0, 1, 2], &Device::Cpu)?;
    let offsets = Some(Tensor::new(&[0u32, 2, 2, 5], &Device::Cpu)?);
    for (mode, padding) in [BagMode::Sum, BagMode::Mean, BagMode::Max]
        .into_iter()
        .flat_map(|mode| [(mode, None), (mode, Some(1))])
    {
        let bags = Bags { mode, offsets: offsets.clone(), padding, ..Bags::default() };
        check("embedding_bag", &[weight], 1e-15, || embedding_bag(&ids, weight, &bags))?;
        if mode == BagMode::Sum {
            let bags = Bags { per_sample_weights: Some(samples.as_tensor().clone()), ..bags };
            check("weighted bags", &[weight, &samples], 1e-15, || embedding_bag(&ids, weight, &bags))?;
        }
    }
    Ok(())
}

/// In f16, a sum of ones would end at 2048.
#[test]
fn bags_of_halves_are_summed_in_f32() -> Result<()> {
    let ids = Tensor::zeros((1, 3000), DType::U32, &Device::Cpu)?;
    let table = Tensor::ones((1, 2), DType::F16, &Device::Cpu)?;
    for weight in [table.clone(), Var::from_tensor(&table)?.into_inner()] {
        for (mode, expected) in [(BagMode::Sum, 3000.), (BagMode::Mean, 1.), (BagMode::Max, 1.)] {
            let bags = Bags { mode, ..Bags::default() };
            let y = on_composed_path(|| embedding_bag(&ids, &weight, &bags))?;
            assert_eq!(y.to_dtype(DType::F64)?.to_vec2::<f64>()?, [[expected; 2]], "{mode:?}");
        }
    }
    Ok(())
}

#[test]
fn rotary_embeddings() -> Result<()> {
    let x = &variable(-1., 1., &[2, 3, 4, 9])?;
    for shape in [&[4, 3][..], &[4, 4], &[2, 4, 2]] {
        let angles = Tensor::rand(-7f64, 7., shape, &Device::Cpu)?;
        let (cos, sin) = (angles.cos()?, angles.sin()?);
        for interleaved in [false, true] {
            check("rotary_embedding", &[x], 1e-15, || rotary_embedding(x, &cos, &sin, interleaved))?;
        }
    }
    Ok(())
}

#[test]
fn windows_of_images() -> Result<()> {
    let geometries = [
        WindowGeometry::new([1, 1]),
        WindowGeometry::new([3, 2]),
        WindowGeometry { stride: [2, 3], padding: [1, 0], ..WindowGeometry::new([2, 4]) },
        WindowGeometry { dilation: [2, 3], padding: [4, 3], ..WindowGeometry::new([3, 2]) },
        // Some elements of the windows are in the padding in every window.
        WindowGeometry { stride: [9, 9], padding: [5, 6], ..WindowGeometry::new([4, 5]) },
    ];
    for geometry in geometries {
        let label = format!("{geometry:?}");
        let x = &variable(-1., 1., &[2, 3, 5, 6])?;
        check(&label, &[x], 1e-12, || unfold(x, geometry))?;
        let columns = unfold(x, geometry)?;
        let y = &variable(-1., 1., columns.dims())?;
        check(&label, &[y], 1e-12, || fold(y, [5, 6], geometry))?;
        // `fold` is the adjoint of `unfold`: the scalar products of both sides are equal.
        let left = (columns * y.as_tensor())?.sum_all()?.to_scalar::<f64>()?;
        let right = (fold(y, [5, 6], geometry)? * x.as_tensor())?.sum_all()?.to_scalar::<f64>()?;
        assert!((left - right).abs() < 1e-10, "{label}: {left} and {right}");
    }
    Ok(())
}
