//! Tests of arithmetic with broadcasting, unary functions, sums and means: agreement with candle for random shapes,
//! strides and dtypes, and gradients against finite differences.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce_kernels::arithmetic::{Binary, Unary, binary, mean, mean_keepdim, sum, sum_keepdim, unary};

use crate::common::{Rng, check_close, check_gradients, config, fail, gradients, restride, values};

const BINARY: [Binary; 4] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div];

const UNARY: [Unary; 12] = [
    Unary::Neg,
    Unary::Abs,
    Unary::Sqr,
    Unary::Sqrt,
    Unary::Exp,
    Unary::Log,
    Unary::Affine { factor: -1.5, offset: 0.25 },
    Unary::Quotient { numerator: 3. },
    Unary::Powf { exponent: 1.7 },
    Unary::Powf { exponent: 2. },
    Unary::Powf { exponent: -1. },
    Unary::Clamp { min: 0.6004, max: 1.3003 },
];

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

fn candle_binary(op: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match op {
        Binary::Add => a.broadcast_add(b),
        Binary::Sub => a.broadcast_sub(b),
        Binary::Mul => a.broadcast_mul(b),
        Binary::Div => a.broadcast_div(b),
    }
}

fn candle_unary(op: Unary, x: &Tensor) -> Result<Tensor> {
    match op {
        Unary::Neg => x.neg(),
        Unary::Abs => x.abs(),
        Unary::Sqr => x.sqr(),
        Unary::Sqrt => x.sqrt(),
        Unary::Exp => x.exp(),
        Unary::Log => x.log(),
        Unary::Affine { factor, offset } => x.affine(factor, offset),
        Unary::Quotient { numerator } => x.recip()? * numerator,
        Unary::Powf { exponent } => x.powf(exponent),
        Unary::Clamp { min, max } => x.clamp(min, max),
    }
}

/// Returns a view with the same elements. Layout 0 is the tensor itself, layout 1 reverses the order of the dimensions
/// in memory, layout 2 has zeros before and after each row, and layout 3 has both properties.
fn with_strides(x: &Tensor, layout: usize) -> Result<Tensor> {
    let x = if layout % 2 == 1 { restride(x)? } else { x.clone() };
    let Some(last) = x.rank().checked_sub(1).filter(|_| layout >= 2) else { return Ok(x) };
    let size = x.dims()[last];
    let padded = x.contiguous()?.pad_with_zeros(last, 3, 2)?;
    let padded = if layout == 3 { restride(&padded)? } else { padded };
    padded.narrow(last, 3, size)
}

/// Generates two shapes that can be broadcast to a common shape. The second shape may lack leading dimensions.
fn broadcastable_shapes(max_size: usize) -> impl Strategy<Value = [Vec<usize>; 2]> {
    let dims = prop::collection::vec((0..max_size, any::<bool>(), any::<bool>()), 0..5);
    (dims, 0usize..3).prop_map(|(dims, missing_dims)| {
        let a: Vec<usize> = dims.iter().map(|(size, is_one, _)| if *is_one { 1 } else { *size }).collect();
        let b: Vec<usize> = dims.iter().map(|(size, _, is_one)| if *is_one { 1 } else { *size }).collect();
        [a, b[missing_dims.min(b.len())..].to_vec()]
    })
}

/// Returns random numbers, some of them replaced by zeros, infinities and NaN.
fn with_special_values(numbers: &mut Rng, shape: &[usize]) -> Result<Tensor> {
    let x = numbers.tensor(shape, 4.);
    let special = [0., -0., f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let data: Vec<f64> = values(&x)?
        .into_iter()
        .map(|x| {
            // Choose one of 30 numbers, so that each special value replaces about one element in 30.
            let choice = ((numbers.uniform() + 1.) * 15.) as usize;
            special.get(choice).copied().unwrap_or(x)
        })
        .collect();
    Tensor::from_vec(data, shape, &Device::Cpu)
}

/// Checks that all elements are equal, including the signs of zeros. NaN equals NaN.
fn check_equal(label: &str, actual: &Tensor, expected: &Tensor) -> Result<()> {
    assert_eq!((actual.dims(), actual.dtype()), (expected.dims(), expected.dtype()), "{label}");
    for (i, (actual, expected)) in values(actual)?.into_iter().zip(values(expected)?).enumerate() {
        let same = actual.to_bits() == expected.to_bits() || actual.is_nan() && expected.is_nan();
        assert!(same, "{label}: element {i}: expected {expected}, found {actual}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn arithmetic_agrees_with_candle(
        [a, b] in broadcastable_shapes(7),
        layouts in prop::array::uniform2(0usize..4),
        dtype in prop::sample::select(&DTYPES[..]),
        seed: u64,
    ) {
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let a = with_special_values(&mut numbers, &a)?.to_dtype(dtype)?;
            let b = with_special_values(&mut numbers, &b)?.to_dtype(dtype)?;
            for op in BINARY {
                let expected = candle_binary(op, &a, &b)?;
                let y = binary(op, &with_strides(&a, layouts[0])?, &with_strides(&b, layouts[1])?)?;
                check_equal(op.name(), &y, &expected)?;
                assert!(y.is_contiguous());
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn gradients_of_arithmetic_agree_with_finite_differences(
        [a, b] in broadcastable_shapes(4),
        layouts in prop::array::uniform2(0usize..4),
        op in prop::sample::select(&BINARY[..]),
        seed: u64,
    ) {
        let mut numbers = Rng::new(seed);
        // Keep divisors away from zero.
        let inputs = [numbers.tensor(&a, 1.), numbers.tensor(&b, 0.5).affine(1., 1.5).map_err(fail)?];
        let run = |x: &[Tensor]| {
            binary(op, &with_strides(&x[0], layouts[0])?, &with_strides(&x[1], layouts[1])?)
        };
        check_gradients(run, &inputs).map_err(fail)?;
    }

    #[test]
    fn functions_agree_with_candle(
        shape in prop::collection::vec(0usize..7, 0..4),
        layout in 0usize..4,
        dtype in prop::sample::select(&DTYPES[..]),
        seed: u64,
    ) {
        let check = || -> Result<()> {
            let x = with_special_values(&mut Rng::new(seed), &shape)?.to_dtype(dtype)?;
            for op in UNARY {
                // In f16 and bf16, candle also rounds the constants of a function, so the reference uses f32.
                let (tolerance, wide) = match dtype {
                    DType::F16 => (1e-3, DType::F32),
                    DType::BF16 => (8e-3, DType::F32),
                    dtype => (1e-6, dtype),
                };
                let expected = candle_unary(op, &x.to_dtype(wide)?)?.to_dtype(dtype)?;
                let y = unary(op, &with_strides(&x, layout)?)?;
                assert_eq!(y.dtype(), dtype);
                check_close(&format!("{op:?} of {dtype:?}"), &y, &expected, tolerance)?;
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn gradients_of_functions_agree_with_finite_differences(
        shape in prop::collection::vec(0usize..4, 0..4),
        layout in 0usize..4,
        op in prop::sample::select(&UNARY[..]),
        seed: u64,
    ) {
        // The inputs are positive multiples of 0.01. The kinks of the functions lie between such multiples.
        let steps = Rng::new(seed).tensor(&shape, 70.).round().map_err(fail)?;
        let x = steps.affine(0.01, 1.).map_err(fail)?;
        check_gradients(|x| unary(op, &with_strides(&x[0], layout)?), &[x]).map_err(fail)?;
    }

    #[test]
    fn sums_and_means_agree_with_candle(
        shape in prop::collection::vec(1usize..7, 1..5),
        summed in prop::collection::vec(any::<bool>(), 5),
        layout in 0usize..4,
        dtype in prop::sample::select(&DTYPES[..]),
        seed: u64,
    ) {
        let check = || -> Result<()> {
            let dims: Vec<usize> = (0..shape.len()).filter(|dim| summed[*dim]).collect();
            let x = Rng::new(seed).tensor(&shape, 2.).to_dtype(dtype)?;
            let strided = with_strides(&x, layout)?;
            let exact = x.to_dtype(DType::F64)?;
            let tolerance = match dtype {
                DType::F64 => 1e-12,
                DType::F32 => 1e-6,
                DType::F16 => 1e-3,
                _ => 8e-3,
            };
            for (y, expected) in [
                (sum(&strided, &dims[..])?, exact.sum(&dims[..])?),
                (sum_keepdim(&strided, &dims[..])?, exact.sum_keepdim(&dims[..])?),
                (mean(&strided, &dims[..])?, exact.mean(&dims[..])?),
                (mean_keepdim(&strided, &dims[..])?, exact.mean_keepdim(&dims[..])?),
            ] {
                assert_eq!(y.dtype(), dtype);
                check_close(&format!("{dims:?} of {shape:?}"), &y, &expected, tolerance)?;
            }
            let x = [exact];
            check_gradients(|x| sum(&with_strides(&x[0], layout)?, &dims[..]), &x)?;
            check_gradients(|x| mean_keepdim(&with_strides(&x[0], layout)?, &dims[..]), &x)
        };
        check().map_err(fail)?;
    }
}

/// Pairs of shapes for every kind of broadcasting. The results are larger than a kernel's buffer or one task.
const LARGE: [[&[usize]; 2]; 13] = [
    [&[2, 5, 60, 60], &[2, 5, 60, 60]],
    [&[2, 5, 60, 60], &[1, 5, 1, 1]],
    [&[2, 5, 60, 60], &[2, 5, 1, 1]],
    [&[2, 300, 7, 7], &[300, 1, 1]],
    [&[2, 300, 2, 2], &[300, 1, 1]],
    [&[700, 50], &[50]],
    [&[70, 1000], &[1000]],
    [&[70, 1000], &[70, 1]],
    [&[5000, 3], &[5000, 1]],
    [&[5000, 3], &[3]],
    [&[40_001], &[1]],
    [&[200, 1], &[1, 300]],
    [&[3, 1, 200, 40], &[1, 4, 1, 40]],
];

#[test]
fn large_tensors_agree_with_candle() -> Result<()> {
    let mut numbers = Rng::new(4);
    for [a, b] in LARGE {
        for dtype in DTYPES {
            let a = numbers.tensor(a, 2.).to_dtype(dtype)?;
            let b = numbers.tensor(b, 2.).to_dtype(dtype)?;
            // The four operations use the four layouts of `with_strides`.
            for (layout, op) in BINARY.into_iter().enumerate() {
                let label = format!("{op:?} of {:?} and {:?}", a.dims(), b.dims());
                let expected = candle_binary(op, &a, &b)?;
                check_equal(&label, &binary(op, &a, &b)?, &expected)?;
                check_equal(&label, &binary(op, &with_strides(&a, layout)?, &b)?, &expected)?;
                check_equal(&label, &binary(op, &a, &with_strides(&b, layout)?)?, &expected)?;
                check_equal(&label, &binary(op, &b, &a)?, &candle_binary(op, &b, &a)?)?;
            }
            // The gradients are sums over the broadcast dimensions.
            let output_grad =
                numbers.tensor(candle_binary(Binary::Mul, &a, &b)?.dims(), 1.).to_dtype(dtype)?;
            let inputs = [a, b];
            let (_, ours) = gradients(|x| binary(Binary::Mul, &x[0], &x[1]), &inputs, &output_grad)?;
            let exact = [inputs[0].to_dtype(DType::F64)?, inputs[1].to_dtype(DType::F64)?];
            let in_f64 = |x: &[Tensor]| x[0].broadcast_mul(&x[1]);
            let (_, candle) = gradients(in_f64, &exact, &output_grad.to_dtype(DType::F64)?)?;
            let tolerance = match dtype {
                DType::F64 => 1e-10,
                DType::F32 => 1e-5,
                DType::F16 => 2e-3,
                _ => 1e-2,
            };
            for (ours, candle) in ours.iter().zip(&candle) {
                check_close(&format!("{:?}", inputs[1].dims()), ours, candle, tolerance)?;
            }
        }
    }
    Ok(())
}

#[test]
fn large_sums_agree_with_candle() -> Result<()> {
    let mut numbers = Rng::new(9);
    let cases: [(&[usize], &[usize]); 9] = [
        (&[300_001], &[0]),
        (&[3, 200_000], &[1]),
        (&[2, 30, 50, 50], &[2, 3]),
        (&[2, 30, 50, 50], &[0, 2, 3]),
        (&[20_000, 24], &[0]),
        (&[20_000, 3], &[0]),
        (&[20_000, 3], &[1]),
        (&[4, 9000, 6], &[0, 2]),
        (&[3, 2, 40_000], &[0]),
    ];
    for (shape, dims) in cases {
        let exact = numbers.tensor(shape, 1.);
        for dtype in DTYPES {
            let x = exact.to_dtype(dtype)?;
            let expected = x.to_dtype(DType::F64)?.sum(dims)?;
            let tolerance = match dtype {
                DType::F64 => 1e-11,
                DType::F32 => 1e-6,
                DType::F16 => 1e-3,
                _ => 8e-3,
            };
            for layout in 0..4 {
                let y = sum(&with_strides(&x, layout)?, dims)?;
                check_close(&format!("{dims:?} of {shape:?}"), &y, &expected, tolerance)?;
            }
        }
    }
    Ok(())
}

#[test]
fn empty_tensors_have_gradients_and_means() -> Result<()> {
    let inputs =
        [Tensor::zeros((0, 3), DType::F64, &Device::Cpu)?, Tensor::ones((1, 3), DType::F64, &Device::Cpu)?];
    let output_grad = Tensor::zeros((0, 3), DType::F64, &Device::Cpu)?;
    for op in BINARY {
        let (y, grads) = gradients(|x| binary(op, &x[0], &x[1]), &inputs, &output_grad)?;
        assert_eq!((y.dims(), grads[0].dims()), (&[0, 3][..], &[0, 3][..]));
        assert_eq!(values(&grads[1])?, [0.; 3]);
    }
    assert_eq!(values(&sum(&inputs[0], 0)?)?, [0.; 3]);
    assert!(values(&mean(&inputs[0], 0)?)?.iter().all(|x| x.is_nan()));
    assert_eq!(sum(&inputs[0], 1)?.dims(), [0]);
    Ok(())
}

#[test]
fn kinks_have_the_gradients_of_pytorch() -> Result<()> {
    let x = [Tensor::new(&[-1f64, 0., 2., f64::NAN], &Device::Cpu)?];
    let one = x[0].ones_like()?;
    let slopes = |op| -> Result<Vec<f64>> { values(&gradients(|x| unary(op, &x[0]), &x, &one)?.1[0]) };
    assert_eq!(slopes(Unary::Abs)?, [-1., 0., 1., 0.]);
    assert_eq!(slopes(Unary::Clamp { min: 0., max: 2. })?, [0., 1., 1., 0.]);
    Ok(())
}

#[test]
fn errors_name_shapes_and_dtypes() -> Result<()> {
    let zeros = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, &Device::Cpu);
    let message = |op, a: &Tensor, b: &Tensor| binary(op, a, b).unwrap_err().to_string();
    let [a, b] = [zeros(&[2, 3], DType::F32)?, zeros(&[2, 4], DType::F32)?];
    assert!(message(Binary::Sub, &a, &b).starts_with("cannot subtract shapes [2, 3] and [2, 4]"));
    let error = message(Binary::Mul, &a, &zeros(&[3], DType::F16)?);
    assert!(error.starts_with("cannot multiply tensors of different dtypes, F32 and F16"), "{error}");
    let integers = zeros(&[3], DType::U32)?;
    assert!(message(Binary::Div, &integers, &integers).contains("found U32"));
    assert!(unary(Unary::Exp, &integers).unwrap_err().to_string().contains("found U32"));
    assert!(sum(&a, 2).is_err());
    Ok(())
}

#[test]
fn integers_are_computed_by_candle() -> Result<()> {
    let x = Tensor::new(&[1i64, -2, 3], &Device::Cpu)?;
    assert_eq!(binary(Binary::Mul, &x, &x)?.to_vec1::<i64>()?, [1, 4, 9]);
    assert_eq!(unary(Unary::Abs, &x)?.to_vec1::<i64>()?, [1, 2, 3]);
    assert_eq!(sum(&x, 0)?.to_scalar::<i64>()?, 2);
    Ok(())
}
