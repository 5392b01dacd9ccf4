//! The operations against PyTorch's answers: outputs, gradients of inputs and parameters, statistics.

use crate::common::golden::{Case, cases};
use crate::common::{check_close, gradients};
use candle_core::{DType, Result, Tensor};
use sconce::kernels::activation::{self, Activation};
use sconce::kernels::norm::{batch_norm_eval, batch_norm_train};
use sconce::kernels::pool::{PoolGeometry, adaptive_avg_pool2d, avg_pool2d, max_pool2d};
use sconce::kernels::softmax::{log_softmax, softmax};

/// Both the widened input and the input as PyTorch stored it, with what each may be off by.
const DTYPES: [(DType, f64); 2] = [(DType::F64, 1e-5), (DType::F32, 1e-5)];

/// Checks `op(input, parameters…)` and all its gradients against every case of `kind`.
fn check(kind: &str, parameters: &[&str], op: impl Fn(&Case, &[Tensor]) -> Result<Tensor>) -> Result<()> {
    for case in cases(kind)? {
        for (dtype, tolerance) in DTYPES {
            let mut inputs = vec![case.tensor("input")?.to_dtype(dtype)?];
            let mut names = vec!["input"];
            for name in parameters {
                if let Some(parameter) = case.find(&format!("param.{name}"))? {
                    inputs.push(parameter.to_dtype(dtype)?);
                    names.push(name);
                }
            }
            let cotangent = case.tensor("grad_output")?.to_dtype(dtype)?;
            let (output, grads) = gradients(|inputs| op(&case, inputs), &inputs, &cotangent)?;
            check_close(&case.label(), &output, &case.tensor("output")?, tolerance)?;
            for (name, grad) in names.iter().zip(&grads) {
                let expected = case.tensor(&format!("grad.{name}"))?;
                check_close(&format!("{}, gradient of {name}", case.label()), grad, &expected, tolerance)?;
            }
        }
    }
    Ok(())
}

fn check_activation(kind: &str, activation: impl Fn(&Case) -> Activation) -> Result<()> {
    check(kind, &[], |case, x| activation::apply(activation(case), &x[0]))
}

fn geometry(case: &Case) -> PoolGeometry {
    let pair = |name| case.pair(name);
    let kernel = pair("kernel_size").expect("a pooling case names its kernel");
    PoolGeometry {
        kernel,
        stride: pair("stride").unwrap_or(kernel),
        padding: pair("padding").unwrap_or([0; 2]),
        dilation: pair("dilation").unwrap_or([1; 2]),
        ceil_mode: case.flag("ceil_mode").unwrap_or(false),
    }
}

fn dimension(case: &Case, x: &Tensor) -> usize {
    let dim = case.number("dim").expect("a softmax case names its dimension") as i64;
    if dim < 0 { (x.rank() as i64 + dim) as usize } else { dim as usize }
}

#[test]
fn activations() -> Result<()> {
    check_activation("ReLU", |_| Activation::Relu)?;
    check_activation("ReLU6", |_| Activation::Relu6)?;
    check_activation("LeakyReLU", |case| Activation::LeakyRelu {
        negative_slope: case.number("negative_slope").unwrap_or(0.01),
    })?;
    check_activation("GELU", |_| Activation::Gelu)?;
    check_activation("SiLU", |_| Activation::Silu)?;
    check_activation("Sigmoid", |_| Activation::Sigmoid)?;
    check_activation("Tanh", |_| Activation::Tanh)?;
    check_activation("Hardswish", |_| Activation::Hardswish)?;
    check("Hardsigmoid", &[], |_, x| activation::hardsigmoid(&x[0]))?;
    check("ELU", &[], |_, x| activation::elu(&x[0], 1.0))?;
    check("Softplus", &[], |_, x| activation::softplus(&x[0], 1.0, 20.0))?;
    check("Mish", &[], |_, x| activation::mish(&x[0]))?;
    check("PReLU", &["weight"], |_, x| activation::prelu(&x[0], &x[1]))
}

#[test]
fn pools() -> Result<()> {
    check("MaxPool2d", &[], |case, x| max_pool2d(&x[0], &geometry(case)))?;
    check("AvgPool2d", &[], |case, x| {
        let include = case.flag("count_include_pad").unwrap_or(true);
        avg_pool2d(&x[0], &geometry(case), include, None)
    })?;
    check("AdaptiveAvgPool2d", &[], |case, x| {
        let size = case.pair("output_size").expect("an adaptive case names its size");
        adaptive_avg_pool2d(&x[0], size.map(Some))
    })
}

#[test]
fn softmaxes() -> Result<()> {
    check("Softmax", &[], |case, x| softmax(&x[0], dimension(case, &x[0])))?;
    check("LogSoftmax", &[], |case, x| log_softmax(&x[0], dimension(case, &x[0])))
}

#[test]
fn batch_norms() -> Result<()> {
    for kind in ["BatchNorm1d", "BatchNorm2d"] {
        check(kind, &["weight", "bias"], |case, x| {
            let eps = case.number("eps").unwrap_or(1e-5);
            let running = |name: &str| case.tensor(&format!("buffer.{name}"))?.to_dtype(x[0].dtype());
            let (mean, var) = (running("running_mean")?, running("running_var")?);
            if case.mode == "eval" {
                return batch_norm_eval(&x[0], &mean, &var, x.get(1), x.get(2), eps);
            }
            let (y, batch_mean, batch_var) = batch_norm_train(&x[0], x.get(1), x.get(2), eps)?;
            let momentum = case.number("momentum").unwrap_or(0.1);
            let count = (x[0].elem_count() / mean.elem_count()) as f64;
            let update = |running: &Tensor, batch: &Tensor, scale: f64| {
                running.affine(1.0 - momentum, 0.0)? + batch.affine(momentum * scale, 0.0)?
            };
            let (mean, var) =
                (update(&mean, &batch_mean, 1.0)?, update(&var, &batch_var, count / (count - 1.0))?);
            check_close("running mean", &mean, &case.tensor("after.running_mean")?, 1e-5)?;
            check_close("running variance", &var, &case.tensor("after.running_var")?, 1e-5)?;
            Ok(y)
        })?;
    }
    Ok(())
}
