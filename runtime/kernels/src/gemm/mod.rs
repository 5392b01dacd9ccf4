//! Matrix products.
//!
//! - [`multiply`] computes `C = epilogue(A · B)` for matrices that are not packed. It packs blocks of B on the fly
//!   (`blocked`). If C has few rows or few columns, and the rows of A and the columns of B are contiguous, it computes
//!   dot products without packing B (`gemv`). [`multiply_by_packed`] computes the same sums with a [`PackedB`] that the
//!   caller keeps for further products.
//!   [`MatrixElement::multiply_all`] multiplies several pairs of matrices at once, in f32 or in f64 (`double`).
//! - [`multiply_packed`] multiplies operands that the caller has packed, as Winograd's transforms do (`packed`).
//! - [`RegisterTile`] has the inner loop of `blocked` and `packed`. Convolutions also use it, in the forward pass and
//!   in gradients that are computed as matrix products.
//!
//! The names are those of BLIS, but the blocks are smaller: `MR × NR` sums are in registers, and a block of `KC` rows
//! and `NC` columns of B stays in the L1 cache while it is multiplied by `MC` rows of A.

mod blocked;
mod double;
mod epilogue;
mod gemv;
mod matrix;
mod packed;
mod packed_b;
mod register_tile;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;

pub(crate) use blocked::multiply_by_packed;
pub(crate) use epilogue::BiasActivation;
pub(crate) use matrix::Matrix;
pub(crate) use packed::{PackedFactors, RowGroups, multiply_packed, panels_at_once};
pub(crate) use packed_b::PackedB;
pub(crate) use register_tile::{Columns, RegisterTile, Rows, consecutive};

use crate::element::Element;
use crate::simd::{Isa, isa};

/// The minimum numbers of rows and columns of C for which packing B pays off.
const MIN_PACKED: [usize; 2] = [64, 16];

/// The factors of a matrix product.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, T = f32> {
    pub a: Matrix<'a, T>,
    pub b: Matrix<'a, T>,
}

/// Returns `epilogue(a · b)`, `[a.rows, b.columns]` in row-major order.
///
/// The order of the additions in a sum depends only on the shape, not on the number of threads.
pub(crate) fn multiply(isa: Isa, a: Matrix<'_>, b: Matrix<'_>, epilogue: BiasActivation<'_>) -> Vec<f32> {
    multiply_all(isa, &[Product { a, b }], epilogue)
}

/// Returns several products of the same sizes and storage orders, one after another.
pub(crate) fn multiply_each(isa: Isa, products: &[Product<'_>]) -> Vec<f32> {
    multiply_all(isa, products, BiasActivation::NONE)
}

/// Returns the results of [`multiply`] for several products of the same sizes and storage orders, one after another.
fn multiply_all(isa: Isa, products: &[Product<'_>], epilogue: BiasActivation<'_>) -> Vec<f32> {
    let Some(Product { a, b }) = products.first() else {
        return vec![];
    };
    assert_eq!(a.columns, b.rows, "the columns of `a` must equal the rows of `b`");
    let is_empty = a.rows * a.columns * b.columns == 0;
    if is_empty || !a.transposed && b.transposed && !packs_b(sizes(products)) {
        return gemv::multiply_all(isa, products, epilogue);
    }
    blocked::multiply_all(isa, products, epilogue)
}

/// Returns `true` if packing B pays off for A with contiguous rows and B with contiguous columns. `sizes` are the
/// numbers of rows of A, of columns of A and of columns of B.
pub(crate) fn packs_b([rows, depth, columns]: [usize; 3]) -> bool {
    depth > 0 && rows >= MIN_PACKED[0] && columns >= MIN_PACKED[1]
}

/// Returns the numbers of rows of A, of columns of A and of columns of B, which are the same in all products.
fn sizes<T>(products: &[Product<'_, T>]) -> [usize; 3] {
    products.first().map_or([0; 3], |Product { a, b }| [a.rows, a.columns, b.columns])
}

/// An element type of matrices.
pub(crate) trait MatrixElement: Element {
    /// Returns the products of several pairs of matrices, `[products, a.rows, b.columns]`. All products must have
    /// the same sizes and storage orders.
    fn multiply_all(products: &[Product<'_, Self>]) -> Vec<Self>;
}

impl MatrixElement for f32 {
    fn multiply_all(products: &[Product<'_>]) -> Vec<Self> {
        multiply_each(isa(), products)
    }
}

impl MatrixElement for f64 {
    fn multiply_all(products: &[Product<'_, Self>]) -> Vec<Self> {
        double::multiply_all(products)
    }
}
