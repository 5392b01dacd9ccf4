//! Compares the methods of `Signal` with the golden data of PyTorch's tensor methods: outputs and gradients.

use sconce::prelude::*;

use crate::cases::{Case, golden_tests};
use crate::common::{check_close, gradients};

/// Returns the integers of an argument: a number, or a list of numbers.
fn integers(case: &Case, name: &str) -> Vec<isize> {
    let value = &case.args[name];
    let integer =
        |value: &serde_json::Value| value.as_i64().expect("the argument should be an integer") as isize;
    value.as_array().map_or_else(|| vec![integer(value)], |list| list.iter().map(integer).collect())
}

fn integer(case: &Case, name: &str) -> isize {
    integers(case, name)[0]
}

fn number(case: &Case, name: &str) -> f64 {
    case.number(name).expect("the case should have this number")
}

/// Joins the parts, each multiplied by its position, so that the result depends on their order.
fn join(parts: Vec<Signal>, dim: isize) -> Signal {
    cat(parts.into_iter().zip(1..).map(|(part, position)| part * position), dim)
}

/// Calls the method of the case.
fn call(case: &Case, x: &Signal) -> Signal {
    let dim = || integer(case, "dim");
    match case.args["method"].as_str().expect("the case should name a method") {
        "relu" => x.relu(),
        "sigmoid" => x.sigmoid(),
        "tanh" => x.tanh(),
        "softmax" => x.softmax(dim()),
        "log_softmax" => x.log_softmax(dim()),
        "t" => x.t(),
        "view" => x.view(integers(case, "shape")),
        "reshape" => x.reshape(integers(case, "shape")),
        "permute" => x.permute(integers(case, "dims")),
        "expand" => x.expand(integers(case, "shape")),
        "sum" => x.sum(integers(case, "dims")),
        "sum_keepdim" => x.sum_keepdim(integers(case, "dims")),
        "mean" => x.mean(integers(case, "dims")),
        "var" => x.var_with(integers(case, "dims"), number(case, "correction")),
        "std" => x.std(integers(case, "dims")),
        "flatten" => x.flatten(integer(case, "start"), integer(case, "end")),
        "split" => {
            let sizes: Vec<usize> = integers(case, "sizes").into_iter().map(|size| size as usize).collect();
            let parts = match sizes[..] {
                [size] => x.split(size, dim()),
                _ => x.split(sizes, dim()),
            };
            join(parts, dim())
        }
        "chunk" => join(x.chunk(case.size("chunks"), dim()), dim()),
        "select" => x.select(dim(), integer(case, "index")),
        "index_select" => {
            let indices: Vec<i64> = integers(case, "indices").into_iter().map(|index| index as i64).collect();
            x.index_select(dim(), &Tensor::new(indices, &Device::Cpu).expect("the list should be a tensor"))
        }
        "roll" => x.roll(integers(case, "shifts"), integers(case, "dims")),
        "where" => x.gt(number(case, "number")).where_cond(x * 2, number(case, "number")),
        "masked_fill" => x.masked_fill(x.le(number(case, "number")), -3.),
        other => panic!("no such method: {other}"),
    }
}

/// Compares `x` with `other` by the method of the case.
fn compare(case: &Case, x: &Signal, other: &Signal) -> Signal {
    match case.args["method"].as_str().expect("the case should name a method") {
        "eq" => x.eq(other),
        "ne" => x.ne(other),
        "lt" => x.lt(other),
        "le" => x.le(other),
        "gt" => x.gt(other),
        "ge" => x.ge(other),
        other => panic!("no such comparison: {other}"),
    }
}

/// Checks the shape of the result for a signal without numbers.
fn check_shape(case: &Case, shape: &Signal, expected: &Tensor) -> Result<()> {
    assert!(shape.is_meta(), "{shape:?} of {}", case.label());
    assert_eq!((shape.dims()?, shape.dtype()?), (expected.dims(), expected.dtype()), "{}", case.label());
    Ok(())
}

fn meta(tensor: &Tensor) -> Signal {
    Signal::meta(tensor.shape(), tensor.dtype())
}

fn check(case: &Case) -> Result<()> {
    let (input, output) = (case.tensor("input")?, case.tensor("output")?);
    if let Some(other) = case.find("other")? {
        for dtype in [DType::F64, DType::F32, DType::I64] {
            let x = Signal::from(input.to_dtype(dtype)?);
            let other = Signal::from(other.to_dtype(dtype)?);
            let y = compare(case, &x, &other).into_tensor()?;
            check_shape(case, &compare(case, &meta(&input.to_dtype(dtype)?), &other), &y)?;
            assert_eq!(y.dtype(), DType::U8, "{}", case.label());
            check_close(&case.label(), &y.to_dtype(DType::F64)?, &output, 0.)?;
        }
        return Ok(());
    }
    for dtype in [DType::F64, DType::F32] {
        let method = |inputs: &[Tensor]| Ok(call(case, &Signal::from(&inputs[0])).into_tensor()?);
        let output_grad = case.tensor("grad_output")?.to_dtype(dtype)?;
        let (found, grads) = gradients(method, &[input.to_dtype(dtype)?], &output_grad)?;
        check_close(&case.label(), &found, &output, 1e-5)?;
        check_shape(case, &call(case, &meta(&input.to_dtype(dtype)?)), &found)?;
        check_close(&case.label(), &grads[0], &case.tensor("grad.input")?, 1e-5)?;
    }
    Ok(())
}

golden_tests! {
    methods: "methods", 110 => check;
}

#[test]
fn halves_are_reduced_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let x = Signal::from(Tensor::full(3000f32, (2, 49), &Device::Cpu)?.to_dtype(dtype)?);
        let values = |y: Signal| y.into_tensor()?.to_dtype(DType::F32)?.to_vec1::<f32>().map_err(Error::from);
        let mean = values(x.mean(1))?;
        assert!(mean.iter().all(|mean| (mean - 3000.).abs() < 10.), "{dtype:?}: {mean:?}");
        // The variances are not finite in f16.
        let x = Signal::from(Tensor::new(&[[-300f32, 300.], [0., 1000.]], &Device::Cpu)?.to_dtype(dtype)?);
        let std = values(x.std(1))?;
        assert!((std[0] - 424.26).abs() < 2. && (std[1] - 707.1).abs() < 4., "{dtype:?}: {std:?}");
        let x = Signal::from(
            Tensor::cat(
                &[Tensor::zeros(48, DType::F32, &Device::Cpu)?, Tensor::new(&[300f32], &Device::Cpu)?],
                0,
            )?
            .to_dtype(dtype)?,
        );
        let var = values(x.var(0).unsqueeze(0))?;
        assert!((var[0] - 1836.7).abs() < 10., "{dtype:?}: {var:?}");
    }
    Ok(())
}
