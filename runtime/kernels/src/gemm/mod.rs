//! Matrix products in f32.
//!
//! - [`multiply`] computes `C = epilogue(A · B)` for matrices in memory. It packs panels of B on the fly (`blocked`),
//!   or computes dot products without packing B if A has few rows (`gemv`).
//! - [`multiply_packed`] multiplies operands that the caller has packed, as Winograd's transforms do (`packed`).
//! - [`RegisterTile`] is the inner loop of `blocked` and `packed`. Convolutions use it too, and so do their gradients
//!   if they are computed as matrix products.
//!
//! The names are those of BLIS: `MR × NR` sums are in registers, and `KC` rows of a panel of `NC` columns of B stay in
//! the L1 cache while they are multiplied by `MC` rows of A.

mod blocked;
mod epilogue;
mod gemv;
mod matrix;
mod packed;
mod register_tile;

pub(crate) use epilogue::BiasActivation;
pub(crate) use matrix::Matrix;
pub(crate) use packed::{PackedFactors, RowGroups, multiply_packed, panels_at_once};
pub(crate) use register_tile::{Columns, RegisterTile, Rows, consecutive};

use crate::simd::Isa;

use gemv::Gemv;

/// The minimum numbers of rows and columns of C for which packing B pays off.
const MIN_PACKED: [usize; 2] = [64, 16];

/// Returns `epilogue(a · b)`, `[a.rows, b.columns]` in row-major order.
///
/// The order of the additions in a sum depends only on the shape, not on the number of threads.
pub(crate) fn multiply(isa: Isa, a: Matrix<'_>, b: Matrix<'_>, epilogue: BiasActivation<'_>) -> Vec<f32> {
    assert_eq!(a.columns, b.rows, "the columns of `a` must equal the rows of `b`");
    let small = a.rows < MIN_PACKED[0] || b.columns < MIN_PACKED[1];
    if a.rows * a.columns * b.columns == 0 || small && !a.transposed && b.transposed {
        return Gemv { a, b, epilogue }.run(isa);
    }
    blocked::multiply(isa, a, b, epilogue)
}

#[cfg(test)]
mod tests;
