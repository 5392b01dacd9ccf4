//! Tests products in all storage orders, with sizes around the block sizes, against sums in f64.

use crate::activation::Activation;
use crate::simd::available;

use super::{BiasActivation, Matrix, multiply};

fn numbers(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * step).sin()).collect()
}

/// Compares the products of one size and one pair of storage orders with sums in f64, with and without an epilogue.
fn check([rows, depth, columns]: [usize; 3], transposed: [bool; 2]) {
    let (a, b) = (numbers(rows * depth, 1.7), numbers(depth * columns, 2.3));
    let bias = numbers(columns, 0.9);
    let a = if transposed[0] { Matrix::new(&a, depth, rows).t() } else { Matrix::new(&a, rows, depth) };
    let b = if transposed[1] { Matrix::new(&b, columns, depth).t() } else { Matrix::new(&b, depth, columns) };
    let at = |m: &Matrix<'_>, i: usize, j: usize| f64::from(m.at(i, j));
    for isa in available() {
        let epilogue = BiasActivation { bias: Some(&bias), activation: Activation::Relu };
        let plain = multiply(isa, a, b, BiasActivation::NONE);
        let results = multiply(isa, a, b, epilogue);
        assert_eq!([plain.len(), results.len()], [rows * columns; 2]);
        for (i, (plain, result)) in plain.iter().zip(&results).enumerate() {
            let (i, j) = (i / columns, i % columns);
            let sum: f64 = (0..depth).map(|k| at(&a, i, k) * at(&b, k, j)).sum();
            let magnitude: f64 = (0..depth).map(|k| (at(&a, i, k) * at(&b, k, j)).abs()).sum();
            assert!(
                (f64::from(*plain) - sum).abs() <= 2e-6 * magnitude,
                "{isa:?}, [{i}, {j}]: expected {sum}, found {plain}"
            );
            let expected = (sum + f64::from(bias[j])).max(0.);
            assert!((f64::from(*result) - expected).abs() <= 2e-6 * (magnitude + 1.), "{isa:?}, [{i}, {j}]");
        }
    }
}

#[test]
fn products_equal_sums_in_f64() {
    let sizes = [
        [1, 1, 1],
        [3, 0, 5],
        [0, 4, 2],
        [5, 70, 3],
        [63, 65, 40],
        [64, 64, 64],
        [65, 130, 67],
        [200, 33, 17],
    ];
    for size in sizes {
        for transposed in [[false, false], [false, true], [true, false], [true, true]] {
            check(size, transposed);
        }
    }
}
