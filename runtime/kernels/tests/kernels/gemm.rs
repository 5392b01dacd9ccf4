//! Tests matrix products in all storage orders, with sizes around the block sizes, against sums in f64.

use sconce_kernels::activation::Activation;
use sconce_kernels::testing::{available, multiply_with};

fn numbers(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * step).sin()).collect()
}

/// Compares the products of one size and one pair of storage orders with sums in f64, with and without an epilogue.
fn check(sizes @ [rows, depth, columns]: [usize; 3], transposed: [bool; 2]) {
    let (a, b) = (numbers(rows * depth, 1.7), numbers(depth * columns, 2.3));
    let bias = numbers(columns, 0.9);
    let a_at = |i: usize, k: usize| f64::from(a[if transposed[0] { k * rows + i } else { i * depth + k }]);
    let b_at = |k: usize, j: usize| f64::from(b[if transposed[1] { j * depth + k } else { k * columns + j }]);
    let on = |isa, bias, activation| multiply_with(isa, [&a, &b], sizes, transposed, bias, activation);
    for isa in available() {
        let plain = on(isa, None, Activation::Identity);
        let results = on(isa, Some(&bias), Activation::Relu);
        assert_eq!([plain.len(), results.len()], [rows * columns; 2]);
        for (i, (plain, result)) in plain.iter().zip(&results).enumerate() {
            let (i, j) = (i / columns, i % columns);
            let sum: f64 = (0..depth).map(|k| a_at(i, k) * b_at(k, j)).sum();
            let magnitude: f64 = (0..depth).map(|k| (a_at(i, k) * b_at(k, j)).abs()).sum();
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
