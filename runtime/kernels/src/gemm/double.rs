//! Matrix products in f64, computed one row of C at a time. Gradient checks use them.

use crate::parallel::{cost, for_each_row};
use crate::simd::{Kernel, Simd, dispatch_loops};

use super::{Product, sizes};

/// Returns the products of several pairs of matrices, `[products, a.rows, b.columns]`.
pub(super) fn multiply_all(products: &[Product<'_, f64>]) -> Vec<f64> {
    let [rows, depth, columns] = sizes(products);
    let mut c = vec![0.; products.len() * rows * columns];
    for_each_row(columns, cost::SCALAR_MULTIPLY_ADDS.div_ceil(depth.max(1)), &mut c, |index, sums| {
        dispatch_loops(Row { product: products[index / rows], row: index % rows, sums });
    });
    c
}

/// Computes a row of C, whose elements are initially 0.
struct Row<'a> {
    product: Product<'a, f64>,
    row: usize,
    sums: &'a mut [f64],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Product { a, b } = self.product;
        if b.transposed {
            for (column, sum) in self.sums.iter_mut().enumerate() {
                let column = b.line(column, [0, b.rows]);
                *sum = column.iter().enumerate().map(|(k, y)| a.at(self.row, k) * y).sum();
            }
            return;
        }
        for k in 0..a.columns {
            let x = a.at(self.row, k);
            let row = b.line(k, [0, b.columns]);
            self.sums.iter_mut().zip(row).for_each(|(sum, y)| *sum += x * y);
        }
    }
}
