//! Compares products of batches of matrices with candle's products in f64, and their gradients with finite differences.

use candle_core::{D, DType, Result, Tensor};
use proptest::prelude::*;
use sconce_kernels::matmul;

use crate::common::{Rng, check_close, check_gradients, config, fail, restride};

/// The number of storage orders of [`with_order`].
const ORDERS: usize = 5;

/// Returns a tensor equal to `x` in one of the storage orders: contiguous rows (0) or columns (1), the same with gaps
/// between the rows (2) or columns (3), or the reversed order of all dimensions (4).
fn with_order(x: &Tensor, order: usize) -> Result<Tensor> {
    let narrowed = |x: &Tensor| {
        let (last, len) = (x.rank() - 1, x.dim(D::Minus1)?);
        Tensor::cat(&[x, x, x], last)?.narrow(last, len, len)
    };
    match order {
        0 => x.contiguous(),
        1 => x.t()?.contiguous()?.t(),
        2 => narrowed(x),
        3 => narrowed(&x.t()?)?.t(),
        _ => restride(x),
    }
}

/// Computes the product with candle, which needs equal leading dimensions.
fn expected(a: &Tensor, b: &Tensor, batch: &[usize]) -> Result<Tensor> {
    let full = |x: &Tensor| x.broadcast_as([batch, &x.dims()[x.rank() - 2..]].concat())?.contiguous();
    full(a)?.matmul(&full(b)?)
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn products_agree_with_candle(
        sizes in [1..130usize, 1..80, 1..80], heads in 1..4usize, broadcast in [any::<bool>(), any::<bool>()],
        orders in [0..ORDERS, 0..ORDERS], seed: u64,
    ) {
        let [rows, depth, columns] = sizes;
        let mut numbers = Rng::new(seed);
        let batch = [2, heads];
        let a_batch = if broadcast[0] { vec![heads] } else { batch.to_vec() };
        let b_batch = if broadcast[1] { vec![2, 1] } else { batch.to_vec() };
        let a = numbers.tensor(&[&a_batch[..], &[rows, depth]].concat(), 1.);
        let b = numbers.tensor(&[&b_batch[..], &[depth, columns]].concat(), 1.);
        let check = || {
            let expected = expected(&a, &b, &batch)?;
            let (a, b) = (with_order(&a, orders[0])?, with_order(&b, orders[1])?);
            let exact = [(DType::F64, 1e-12), (DType::F32, 2e-5)];
            let halves = [(DType::F16, 2e-2), (DType::BF16, 0.2)];
            for (dtype, tolerance) in [exact, halves].concat() {
                let actual = matmul(&a.to_dtype(dtype)?, &b.to_dtype(dtype)?)?;
                assert_eq!(actual.dtype(), dtype);
                check_close(&format!("{dtype:?}"), &actual.to_dtype(DType::F64)?, &expected, tolerance)?;
            }
            Ok(())
        };
        check().map_err(|error: candle_core::Error| fail(error))?;
    }

    #[test]
    fn gradients_agree_with_finite_differences(
        sizes in [1..5usize, 1..5, 1..5], broadcast in [any::<bool>(), any::<bool>()], orders in [0..ORDERS, 0..ORDERS],
        seed: u64,
    ) {
        let [rows, depth, columns] = sizes;
        let mut numbers = Rng::new(seed);
        let a_batch: &[usize] = if broadcast[0] { &[3] } else { &[2, 3] };
        let b_batch: &[usize] = if broadcast[1] { &[2, 1] } else { &[2, 3] };
        let a = numbers.tensor(&[a_batch, &[rows, depth]].concat(), 1.);
        let b = numbers.tensor(&[b_batch, &[depth, columns]].concat(), 1.);
        let product = |x: &[Tensor]| matmul(&with_order(&x[0], orders[0])?, &with_order(&x[1], orders[1])?);
        check_gradients(product, &[a, b]).map_err(fail)?;
    }
}

/// Each product has several blocks of rows and several blocks of columns.
#[test]
fn several_large_products_agree_with_candle() -> Result<()> {
    let mut numbers = Rng::new(3);
    let (a, b) = (numbers.tensor(&[3, 700, 130], 1.), numbers.tensor(&[3, 130, 150], 1.));
    let expected = a.matmul(&b)?;
    for orders in (0..ORDERS).flat_map(|a| (0..ORDERS).map(move |b| [a, b])) {
        let (a, b) = (with_order(&a, orders[0])?, with_order(&b, orders[1])?);
        let actual = matmul(&a.to_dtype(DType::F32)?, &b.to_dtype(DType::F32)?)?.to_dtype(DType::F64)?;
        check_close(&format!("{orders:?}"), &actual, &expected, 2e-5)?;
    }
    Ok(())
}

#[test]
fn empty_products_have_the_right_shape() -> Result<()> {
    for [rows, depth, columns] in [[0, 3, 2], [2, 0, 3], [2, 3, 0]] {
        let mut numbers = Rng::new(1);
        let (a, b) = (numbers.tensor(&[2, rows, depth], 1.), numbers.tensor(&[2, depth, columns], 1.));
        for dtype in [DType::F32, DType::F64] {
            let product = matmul(&a.to_dtype(dtype)?, &b.to_dtype(dtype)?)?;
            assert_eq!(product.dims(), [2, rows, columns]);
            assert_eq!(product.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?, 0.);
        }
    }
    Ok(())
}

#[test]
fn mismatched_operands_are_errors() {
    let tensor = |shape: &[usize]| Rng::new(1).tensor(shape, 1.);
    for (a, b) in [(&[2, 3][..], &[2, 3][..]), (&[3], &[3, 2]), (&[2, 2, 3], &[3, 3, 2])] {
        let error = matmul(&tensor(a), &tensor(b)).expect_err("the shapes do not match").to_string();
        assert!(error.contains(&format!("found {a:?} and {b:?}")), "{error}");
    }
    let half = tensor(&[2, 2]).to_dtype(DType::F16).expect("f64 converts to f16");
    let error = matmul(&tensor(&[2, 2]), &half).expect_err("the dtypes differ").to_string();
    assert!(error.contains("expected operands of the same dtype, found F64 and F16"), "{error}");
}
