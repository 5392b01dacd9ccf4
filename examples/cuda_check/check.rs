//! Checks every kernel against the CPU with random settings. Fills output memory with NaN before a kernel runs, so that
//! an element that the kernel does not write counts as an error.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sconce::candle::{DType, Device, Tensor, Var};
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::backward::{Needs, conv2d_backward};
use sconce::kernels::conv::{ConvGeometry, Epilogue, TransposeGeometry, conv_transpose2d, conv2d};
use sconce::kernels::norm::batch_norm_train;
use sconce::kernels::pool::{PoolGeometry, adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d};
use sconce::train::optim::{AdamW, Optimizer, Sgd};
use sconce::{Error, Result};

use crate::arguments::Arguments;

/// Name, dtype, whether TF32 is allowed, and the maximum allowed relative error ‖y − ref‖ / ‖ref‖.
const FORMATS: [(&str, DType, bool, f64); 5] = [
    ("f64", DType::F64, false, 1e-12),
    ("f32", DType::F32, false, 1e-5),
    ("tf32", DType::F32, true, 1e-3),
    ("f16", DType::F16, false, 1e-2),
    ("bf16", DType::BF16, false, 1e-2),
];

/// Convolutions that are large enough for the tensor-core kernels: the shapes of input and weight, and the stride of
/// both axes. The first cases of `conv2d` and `conv2d backward` use them.
const LARGE: [([usize; 4], [usize; 4], usize); 4] = [
    ([4, 64, 28, 28], [64, 64, 3, 3], 1),
    ([4, 128, 28, 28], [128, 128, 3, 3], 2),
    ([4, 3, 112, 112], [64, 3, 7, 7], 2),
    ([8, 256, 14, 14], [512, 256, 1, 1], 1),
];

/// One case of an operation: a source of random settings and tensors.
struct Case<'a> {
    /// The index of the case among the cases of its operation.
    number: usize,
    rng: StdRng,
    device: &'a Device,
    dtype: DType,
}

/// A tensor on the device and its expected value on the CPU.
type Pair = (Tensor, Tensor);

type Operation = fn(&mut Case) -> Result<Vec<Pair>>;

const OPERATIONS: [(&str, Operation); 7] = [
    ("conv2d", convolution),
    ("conv2d backward", gradients),
    ("conv_transpose2d", transposed_convolution),
    ("max_pool2d", max_pool),
    ("avg_pool2d", avg_pool),
    ("batch_norm", batch_norm),
    ("optimizer steps", optimizer_steps),
];

/// Runs all cases of all operations. Returns `true` if every error is within its bound.
pub fn all(arguments: &Arguments, device: &Device) -> Result<bool> {
    sconce::kernels::testing::cuda::poison(true);
    let mut passed = true;
    println!("largest relative errors over {} random settings each", arguments.cases);
    for (name, operation) in OPERATIONS {
        print!("{name:<18}");
        for (format, dtype, tf32, bound) in FORMATS {
            sconce::set_tf32(tf32);
            let mut worst = 0f64;
            for case in 0..arguments.cases {
                let seed = arguments.seed ^ (case as u64) << 8;
                let mut case = Case { number: case, rng: StdRng::seed_from_u64(seed), device, dtype };
                for (actual, expected) in operation(&mut case)? {
                    // A NaN counts as an infinite error.
                    let error = error(&actual, &expected)?;
                    worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
                }
            }
            passed &= worst <= bound;
            print!("  {format} {worst:.1e}{}", if worst <= bound { "" } else { " FAILED" });
        }
        println!();
    }
    sconce::set_tf32(false);
    passed &= is_repeatable(arguments, device)?;
    sconce::kernels::testing::cuda::poison(false);
    println!();
    Ok(passed)
}

/// Returns `true` if repeated runs give bit-identical gradients.
fn is_repeatable(arguments: &Arguments, device: &Device) -> Result<bool> {
    for number in 0..arguments.cases {
        let run = || -> Result<Vec<Pair>> {
            let rng = StdRng::seed_from_u64(arguments.seed ^ (number as u64) << 8);
            gradients(&mut Case { number, rng, device, dtype: DType::F32 })
        };
        for ((first, _), (second, _)) in run()?.into_iter().zip(run()?) {
            if first.flatten_all()?.to_vec1::<f32>()? != second.flatten_all()?.to_vec1::<f32>()? {
                println!("conv2d backward: two runs differ in case {number}: FAILED");
                return Ok(false);
            }
        }
    }
    println!("conv2d backward is bit-identical in repeated runs");
    Ok(true)
}

/// Returns ‖actual − expected‖ / ‖expected‖, or ‖actual‖ if `expected` is zero.
fn error(actual: &Tensor, expected: &Tensor) -> Result<f64> {
    if actual.dims() != expected.dims() {
        return Err(Error::msg(format!("expected shape {:?}, found {:?}", expected.dims(), actual.dims())));
    }
    let to_f64 =
        |x: &Tensor| x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (actual, expected) = (to_f64(actual)?, to_f64(expected)?);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(&expected).map(|(a, b)| a - b));
    let scale = norm(&mut expected.into_iter());
    Ok(if scale > 0. { difference / scale } else { difference })
}

impl Case<'_> {
    /// Returns a random number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound)
    }

    /// Returns a random element of `choices`.
    fn among<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }

    /// Returns the same random tensor twice: in the dtype of the case on the device, and in f64 on the CPU. The numbers
    /// are rounded to the dtype of the case first, so both tensors have equal values.
    fn tensor(&mut self, shape: &[usize]) -> Result<Pair> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count).map(|_| self.rng.random_range(-1.0..1.0)).collect();
        let rounded = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(self.dtype)?;
        Ok((rounded.to_device(self.device)?, rounded.to_dtype(DType::F64)?))
    }

    /// Returns two `None`s with a probability of one half, and otherwise the tensors of [`Case::tensor`].
    fn optional_tensor(&mut self, shape: &[usize]) -> Result<[Option<Tensor>; 2]> {
        if self.rng.random() {
            return Ok([None, None]);
        }
        let (device, cpu) = self.tensor(shape)?;
        Ok([Some(device), Some(cpu)])
    }

    /// Returns the shapes of input and weight, and the geometry of a convolution.
    fn geometry(&mut self) -> ([usize; 4], [usize; 4], ConvGeometry) {
        if let Some((input, weight, stride)) = LARGE.get(self.number) {
            let padding = [weight[2], weight[3]].map(|kernel| [kernel / 2; 2]);
            let geometry = ConvGeometry { stride: [*stride; 2], padding, ..ConvGeometry::default() };
            return (*input, *weight, geometry);
        }
        loop {
            let groups = self.among(&[1, 1, 1, 2, 3, 16]);
            let depthwise = groups > 1 && self.rng.random();
            let group_in_channels = if depthwise { 1 } else { self.among(&[1, 3, 4, 16, 33, 64]) };
            let group_out_channels = if depthwise { 1 } else { self.among(&[1, 5, 8, 32, 48, 130]) };
            let kernel = [self.among(&[1, 1, 2, 3, 3, 5, 7]), self.among(&[1, 2, 3, 3, 5])];
            let geometry = ConvGeometry {
                stride: [self.among(&[1, 1, 2, 3]), self.among(&[1, 1, 2])],
                padding: [[self.below(4), self.below(4)], [self.below(4), self.below(4)]],
                dilation: [self.among(&[1, 1, 2, 3]), self.among(&[1, 1, 2])],
                groups,
            };
            let size = [1 + self.below(30), 1 + self.below(40)];
            if geometry.output_size(size, kernel).is_some() {
                let batch = self.among(&[1, 1, 2, 3, 7]);
                let input = [batch, group_in_channels * groups, size[0], size[1]];
                return (
                    input,
                    [group_out_channels * groups, group_in_channels, kernel[0], kernel[1]],
                    geometry,
                );
            }
        }
    }
}

/// Returns the shape of the output of a convolution.
fn output_dims(input: [usize; 4], weight: [usize; 4], geometry: &ConvGeometry) -> Result<[usize; 4]> {
    let size = geometry.output_size([input[2], input[3]], [weight[2], weight[3]]);
    let [height, width] = size.ok_or_else(|| Error::msg("the output of the convolution is empty"))?;
    Ok([input[0], weight[0], height, width])
}

fn convolution(case: &mut Case) -> Result<Vec<Pair>> {
    let (input, weight, geometry) = case.geometry();
    let output = output_dims(input, weight, &geometry)?;
    let (x, x_ref) = case.tensor(&input)?;
    let (w, w_ref) = case.tensor(&weight)?;
    let [scale, scale_ref] = case.optional_tensor(&weight[..1])?;
    let [shift, shift_ref] = case.optional_tensor(&weight[..1])?;
    let [residual, residual_ref] = case.optional_tensor(&output)?;
    let activation = case.among(&Activation::EACH);
    let epilogue = Epilogue { scale, shift, residual, activation };
    let epilogue_ref = Epilogue { scale: scale_ref, shift: shift_ref, residual: residual_ref, activation };
    let y = conv2d(&x, &w, &geometry, &epilogue, None)?;
    Ok(vec![(y, conv2d(&x_ref, &w_ref, &geometry, &epilogue_ref, None)?)])
}

fn gradients(case: &mut Case) -> Result<Vec<Pair>> {
    let (input, weight, geometry) = case.geometry();
    let output = output_dims(input, weight, &geometry)?;
    // Use only activations whose slope can be computed from the output.
    let activations: Vec<_> = Activation::EACH.into_iter().filter(|kind| kind.saves_output()).collect();
    let activation = case.among(&activations);
    let needs = Needs { input: true, weight: true, bias: true, residual: case.rng.random() };
    let tensors = [&input, &weight, &output, &output].map(|shape| case.tensor(shape));
    let [x, w, y, grad] = tensors;
    let ((x, x_ref), (w, w_ref), (y, y_ref), (grad, grad_ref)) = (x?, w?, y?, grad?);
    let on_device = conv2d_backward(&x, &w, &y, &grad, &geometry, activation, needs)?;
    let on_cpu = conv2d_backward(&x_ref, &w_ref, &y_ref, &grad_ref, &geometry, activation, needs)?;
    let all = [
        (on_device.input, on_cpu.input),
        (on_device.weight, on_cpu.weight),
        (on_device.bias, on_cpu.bias),
        (on_device.residual, on_cpu.residual),
    ];
    Ok(all.into_iter().filter_map(|(on_device, on_cpu)| on_device.zip(on_cpu)).collect())
}

fn transposed_convolution(case: &mut Case) -> Result<Vec<Pair>> {
    let groups = case.among(&[1, 1, 2, 8]);
    let (in_channels, group_out_channels) = (groups * case.among(&[1, 3, 16]), case.among(&[1, 5, 16]));
    let stride = [case.among(&[1, 2, 3]), case.among(&[1, 2])];
    let kernel = [3 + case.below(3), 3 + case.below(2)];
    let geometry = TransposeGeometry {
        stride,
        padding: [case.below(2), case.below(2)],
        output_padding: stride.map(|stride| case.below(stride)),
        dilation: [case.among(&[1, 2]), 1],
        groups,
    };
    let size = [2 + case.below(9), 2 + case.below(9)];
    let batch = 1 + case.below(3);
    let (x, x_ref) = case.tensor(&[batch, in_channels, size[0], size[1]])?;
    let (w, w_ref) = case.tensor(&[in_channels, group_out_channels, kernel[0], kernel[1]])?;
    let (b, b_ref) = case.tensor(&[group_out_channels * groups])?;
    let run = |leaves: &[Var]| {
        let [x, w, b] = leaves else { return Err(Error::msg("expected three tensors")) };
        Ok(conv_transpose2d(x, w, Some(b), &geometry)?)
    };
    with_gradients(case, [x, w, b], [x_ref, w_ref, b_ref], run)
}

/// Calls `run` twice: with the inputs `on_device`, and with the same inputs in f64, `on_cpu`. Returns both results and,
/// for each input, both gradients. The gradients are those of a randomly weighted sum of the result.
fn with_gradients<const N: usize>(
    case: &mut Case,
    on_device: [Tensor; N],
    on_cpu: [Tensor; N],
    run: impl Fn(&[Var]) -> Result<Tensor>,
) -> Result<Vec<Pair>> {
    let leaves = |tensors: &[Tensor]| tensors.iter().map(Var::from_tensor).collect::<Result<Vec<_>, _>>();
    let (on_device, on_cpu) = (leaves(&on_device)?, leaves(&on_cpu)?);
    let (y, y_ref) = (run(&on_device)?, run(&on_cpu)?);
    let (grad, grad_ref) = case.tensor(y.dims())?;
    let (grads, grads_ref) = ((&y * grad)?.backward()?, (&y_ref * grad_ref)?.backward()?);
    let mut pairs = vec![(y.detach(), y_ref.detach())];
    for (leaf, leaf_ref) in on_device.iter().zip(&on_cpu) {
        match (grads.get(leaf), grads_ref.get(leaf_ref)) {
            (Some(on_device), Some(on_cpu)) => pairs.push((on_device.clone(), on_cpu.clone())),
            _ => return Err(Error::msg("one of the tensors has no gradient")),
        }
    }
    Ok(pairs)
}

/// Returns a random input and a random geometry of pooling.
fn pool_case(case: &mut Case) -> Result<(Pair, PoolGeometry)> {
    loop {
        let kernel = [1 + case.below(3), 1 + case.below(3)];
        let geometry = PoolGeometry {
            stride: [1 + case.below(3), 1 + case.below(3)],
            padding: kernel.map(|size| case.below(size / 2 + 1)),
            ceil_mode: case.rng.random(),
            ..PoolGeometry::new(kernel)
        };
        let size = [1 + case.below(20), 1 + case.below(20)];
        if geometry.output_size(size).is_ok() {
            let shape = [1 + case.below(3), 1 + case.below(9), size[0], size[1]];
            return Ok((case.tensor(&shape)?, geometry));
        }
    }
}

fn max_pool(case: &mut Case) -> Result<Vec<Pair>> {
    let ((x, x_ref), geometry) = pool_case(case)?;
    let size = [Some(1 + case.below(5)), Some(1 + case.below(5))];
    let adaptive = case.rng.random();
    with_gradients(case, [x], [x_ref], |leaves| {
        Ok(if adaptive { adaptive_max_pool2d(&leaves[0], size)? } else { max_pool2d(&leaves[0], &geometry)? })
    })
}

fn avg_pool(case: &mut Case) -> Result<Vec<Pair>> {
    let ((x, x_ref), geometry) = pool_case(case)?;
    let size = [Some(1 + case.below(5)), Some(1 + case.below(5))];
    let (adaptive, with_padding) = (case.rng.random(), case.rng.random());
    with_gradients(case, [x], [x_ref], |leaves| {
        Ok(if adaptive {
            adaptive_avg_pool2d(&leaves[0], size)?
        } else {
            avg_pool2d(&leaves[0], &geometry, with_padding, None)?
        })
    })
}

fn batch_norm(case: &mut Case) -> Result<Vec<Pair>> {
    let channels = 1 + case.below(40);
    let shape = [2 + case.below(6), channels, 1 + case.below(20), 1 + case.below(20)];
    let (x, x_ref) = case.tensor(&shape)?;
    let (w, w_ref) = case.tensor(&[channels])?;
    let (b, b_ref) = case.tensor(&[channels])?;
    let (_, mean, variance) = batch_norm_train(&x, Some(&w), Some(&b), 1e-5)?;
    let (_, mean_ref, variance_ref) = batch_norm_train(&x_ref, Some(&w_ref), Some(&b_ref), 1e-5)?;
    let run = |leaves: &[Var]| Ok(batch_norm_train(&leaves[0], Some(&leaves[1]), Some(&leaves[2]), 1e-5)?.0);
    let mut pairs = with_gradients(case, [x, w, b], [x_ref, w_ref, b_ref], run)?;
    pairs.extend([(mean, mean_ref), (variance, variance_ref)]);
    Ok(pairs)
}

fn optimizer_steps(case: &mut Case) -> Result<Vec<Pair>> {
    let elements = 1 + case.below(3000);
    let (x, x_ref) = case.tensor(&[elements])?;
    let optimizer: Box<dyn Optimizer> = match case.below(3) {
        0 => Box::new(Sgd::new(0.1)),
        1 => Box::new(Sgd::new(0.1).momentum(0.9).nesterov(true).weight_decay(0.01)),
        _ => Box::new(AdamW::new(1e-2)),
    };
    let run = |x: &Tensor| -> Result<Tensor> {
        let x = Var::from_tensor(x)?;
        let mut optimizer = optimizer.build(vec![("x".into(), x.clone())])?;
        for _ in 0..4 {
            optimizer.step(&((x.as_tensor() + 0.5)?.sqr()? * 0.5)?.backward()?)?;
        }
        Ok(x.as_detached_tensor())
    };
    Ok(vec![(run(&x)?, run(&x_ref)?)])
}
