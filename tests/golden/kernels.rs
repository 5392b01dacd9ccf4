//! Compares the kernels' operations with the golden data: outputs, gradients of inputs and parameters, and running
//! statistics.

use candle_core::{DType, Result, Tensor};
use sconce::kernels::activation::{self, Activation};
use sconce::kernels::norm::{batch_norm_eval, batch_norm_train};
use sconce::kernels::pool::{PoolGeometry, adaptive_avg_pool2d, avg_pool2d, max_pool2d};
use sconce::kernels::softmax::{log_softmax, softmax};

use crate::cases::{Case, golden_tests};
use crate::common::{check_close, gradients};

/// The dtypes of the input, each with its tolerance. They have the same tolerance, because the golden data is in f32.
const DTYPES: [(DType, f64); 2] = [(DType::F64, 1e-5), (DType::F32, 1e-5)];

/// Checks `op(input, parameters…)` and its gradients against a case.
fn check(case: &Case, parameters: &[&str], op: impl Fn(&[Tensor]) -> Result<Tensor>) -> sconce::Result<()> {
    for (dtype, tolerance) in DTYPES {
        let mut inputs = vec![case.tensor("input")?.to_dtype(dtype)?];
        let mut names = vec!["input"];
        for name in parameters {
            if let Some(parameter) = case.find(&format!("param.{name}"))? {
                inputs.push(parameter.to_dtype(dtype)?);
                names.push(name);
            }
        }
        let output_grad = case.tensor("grad_output")?.to_dtype(dtype)?;
        let (output, grads) = gradients(&op, &inputs, &output_grad)?;
        check_close(&case.label(), &output, &case.tensor("output")?, tolerance)?;
        for (name, grad) in names.iter().zip(&grads) {
            let expected = case.tensor(&format!("grad.{name}"))?;
            check_close(&format!("{}, gradient of {name}", case.label()), grad, &expected, tolerance)?;
        }
    }
    Ok(())
}

fn check_activation(activation: Activation, case: &Case) -> sconce::Result<()> {
    check(case, &[], |x| activation::apply(activation, &x[0]))
}

fn geometry(case: &Case) -> PoolGeometry {
    let pair = |name| case.sizes(name);
    let kernel = pair("kernel_size").expect("the case should have a kernel_size");
    PoolGeometry {
        kernel,
        stride: pair("stride").unwrap_or(kernel),
        padding: pair("padding").unwrap_or([0; 2]),
        dilation: pair("dilation").unwrap_or([1; 2]),
        ceil_mode: case.boolean("ceil_mode").unwrap_or(false),
    }
}

fn dimension(case: &Case, x: &Tensor) -> usize {
    let dim = case.number("dim").expect("the case should have a dim") as i64;
    if dim < 0 { (x.rank() as i64 + dim) as usize } else { dim as usize }
}

fn batch_norm(case: &Case) -> sconce::Result<()> {
    check(case, &["weight", "bias"], |x| {
        let eps = case.number("eps").unwrap_or(1e-5);
        let running = |name: &str| case.tensor(&format!("buffer.{name}"))?.to_dtype(x[0].dtype());
        let (mean, var) = (running("running_mean")?, running("running_var")?);
        if case.mode == "eval" {
            return batch_norm_eval(&x[0], &mean, &var, x.get(1), x.get(2), eps);
        }
        let (y, batch_mean, batch_var) = batch_norm_train(&x[0], x.get(1), x.get(2), eps)?;
        let momentum = case.number("momentum").unwrap_or(0.1);
        let count = (x[0].elem_count() / mean.elem_count()) as f64;
        // PyTorch keeps the unbiased variance, so the batch's variance is corrected by count / (count − 1).
        let update = |running: &Tensor, batch: &Tensor, correction: f64| {
            running.affine(1.0 - momentum, 0.0)? + batch.affine(momentum * correction, 0.0)?
        };
        let (mean, var) =
            (update(&mean, &batch_mean, 1.0)?, update(&var, &batch_var, count / (count - 1.0))?);
        check_close("running mean", &mean, &case.tensor("after.running_mean")?, 1e-5)?;
        check_close("running variance", &var, &case.tensor("after.running_var")?, 1e-5)?;
        Ok(y)
    })
}

golden_tests! {
    relu: "ReLU", 2 => |case| check_activation(Activation::Relu, case);
    relu6: "ReLU6", 2 => |case| check_activation(Activation::Relu6, case);
    leaky_relu: "LeakyReLU", 2 => |case| {
        let negative_slope = case.number("negative_slope").unwrap_or(0.01);
        check_activation(Activation::LeakyRelu { negative_slope }, case)
    };
    gelu: "GELU", 2 => |case| check_activation(Activation::Gelu, case);
    silu: "SiLU", 2 => |case| check_activation(Activation::Silu, case);
    sigmoid: "Sigmoid", 2 => |case| check_activation(Activation::Sigmoid, case);
    tanh: "Tanh", 2 => |case| check_activation(Activation::Tanh, case);
    hardswish: "Hardswish", 2 => |case| check_activation(Activation::Hardswish, case);
    hardsigmoid: "Hardsigmoid", 2 => |case| check(case, &[], |x| activation::hardsigmoid(&x[0]));
    elu: "ELU", 2 => |case| check(case, &[], |x| activation::elu(&x[0], 1.0));
    softplus: "Softplus", 2 => |case| check(case, &[], |x| activation::softplus(&x[0], 1.0, 20.0));
    mish: "Mish", 2 => |case| check(case, &[], |x| activation::mish(&x[0]));
    prelu: "PReLU", 4 => |case| check(case, &["weight"], |x| activation::prelu(&x[0], &x[1]));
    max_pool: "MaxPool2d", 32 => |case| check(case, &[], |x| max_pool2d(&x[0], &geometry(case)));
    avg_pool: "AvgPool2d", 16 => |case| {
        let count_include_pad = case.boolean("count_include_pad").unwrap_or(true);
        check(case, &[], |x| avg_pool2d(&x[0], &geometry(case), count_include_pad, None))
    };
    adaptive_avg_pool: "AdaptiveAvgPool2d", 16 => |case| {
        let size = case.sizes("output_size").expect("the case should have an output_size");
        check(case, &[], |x| adaptive_avg_pool2d(&x[0], size.map(Some)))
    };
    softmax_over_a_dimension: "Softmax", 4 => |case| {
        check(case, &[], |x| softmax(&x[0], dimension(case, &x[0])))
    };
    log_softmax_over_a_dimension: "LogSoftmax", 4 => |case| {
        check(case, &[], |x| log_softmax(&x[0], dimension(case, &x[0])))
    };
    batch_norm1d: "BatchNorm1d", 16 => batch_norm;
    batch_norm2d: "BatchNorm2d", 16 => batch_norm;
}
