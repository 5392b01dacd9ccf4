//! Matrix products in f32.
//!
//! - [`multiply`] computes `C = epilogue(A · B)` of matrices in memory. It packs panels of B as it goes (`blocked`),
//!   or, if A has few rows, computes dot products without packing (`gemv`).
//! - [`multiply_packed`] multiplies operands that the caller has packed, as Winograd's transforms do (`packed`).
//! - [`RegisterTile`] is the inner loop of both, and of those gradients of convolutions that are matrix products.
//!
//! The names are those of BLIS: `MR × NR` sums are in registers, `KC` rows of a panel of `NC` columns of B stay in the
//! first-level cache while `MC` rows of A meet them.

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

/// With fewer rows or columns than these, packing B costs more than it saves.
const LEAST_PACKED: [usize; 2] = [64, 16];

/// Returns `epilogue(a · b)`, `[a.rows, b.columns]` in row-major order.
///
/// The order of the additions of a sum depends on the shape alone, not on the number of threads.
pub(crate) fn multiply(isa: Isa, a: Matrix<'_>, b: Matrix<'_>, epilogue: BiasActivation<'_>) -> Vec<f32> {
    assert_eq!(a.columns, b.rows, "the inner dimensions differ");
    let small = a.rows < LEAST_PACKED[0] || b.columns < LEAST_PACKED[1];
    if a.rows * a.columns * b.columns == 0 || small && !a.transposed && b.transposed {
        return Gemv { a, b, epilogue }.run(isa);
    }
    blocked::multiply(isa, a, b, epilogue)
}

#[cfg(test)]
mod tests;
