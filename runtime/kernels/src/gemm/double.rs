//! Matrix products in f64: one row of C at a time.

use crate::channels;
use crate::parallel::{cost, for_each_row};
use crate::simd::{Kernel, Simd, dispatch_loops};

use super::matrix::Matrix;
use super::{Product, sizes};

/// Returns the products of several pairs of matrices, `[products, a.rows, b.columns]`.
pub(super) fn multiply_all(products: &[Product<'_, f64>]) -> Vec<f64> {
    let [rows, depth, columns] = sizes(products);
    let mut c = vec![0.; products.len() * rows * columns];
    for_each_row(columns, cost::MIN_SCALAR_MULTIPLY_ADDS.div_ceil(depth.max(1)), &mut c, |index, sums| {
        let Product { a, b } = products[index / rows];
        let row: Vec<f64> = (0..depth).map(|k| a.at(index % rows, k)).collect();
        if b.transposed {
            for (column, sum) in sums.iter_mut().enumerate() {
                [*sum] = channels::sums(&row, b.line(column, [0, depth]), |x, y| [x * y]);
            }
        } else {
            dispatch_loops(Row { row: &row, b, sums });
        }
    });
    c
}

/// Computes a row of C, whose elements are initially 0, from a row of A. B must not be transposed.
struct Row<'a> {
    row: &'a [f64],
    b: Matrix<'a, f64>,
    sums: &'a mut [f64],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { row, b, sums } = self;
        for (k, x) in row.iter().enumerate() {
            for (sum, y) in sums.iter_mut().zip(b.line(k, [0, b.columns])) {
                *sum += x * y;
            }
        }
    }
}
