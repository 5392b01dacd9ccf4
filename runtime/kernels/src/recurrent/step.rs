//! The loops over all units of one step, and the matrix products.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result};

use crate::element::Element;
use crate::float::Float;
use crate::simd::{Kernel, Simd};

use super::cell::{Cell, GATES, SAVED, STATES};

/// Computes the new state of all units of a step.
pub(super) struct ForwardStep<'a, C, T> {
    pub cell: C,
    pub hidden: usize,
    /// For each gate, the input multiplied by the input weights, `[batch, gates · hidden]`.
    pub x: &'a [T],
    /// For each gate, the hidden state multiplied by the recurrent weights, `[batch, gates · hidden]`.
    pub h: &'a [T],
    /// The old states, `[batch, hidden]` each, which are replaced by the new states.
    pub state: [&'a mut [T]; STATES],
    /// The values saved for the gradient, `[batch, saved · hidden]`.
    pub saved: &'a mut [T],
}

/// Computes the gradients of a step.
pub(super) struct BackwardStep<'a, C, T> {
    pub cell: C,
    pub hidden: usize,
    pub saved: &'a [T],
    /// The gradients of the new states. The kernel replaces them with the gradients of the old states, without the part
    /// that passes through [`ForwardStep::h`]. The caller adds that part.
    pub state: [&'a mut [T]; STATES],
    pub dx: &'a mut [T],
    /// The gradient of [`ForwardStep::h`], or empty if it equals `dx`.
    pub dh: &'a mut [T],
}

impl<C: Cell, T: Element> Kernel for ForwardStep<'_, C, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { cell, hidden, x, h, state: [first, second], saved } = self;
        for row in 0..first.len() / hidden {
            let x: [&[T]; GATES] = blocks(x, row, C::GATES, hidden);
            let h: [&[T]; GATES] = blocks(h, row, C::GATES, hidden);
            let [first] = blocks_mut::<1, T>(first, row, 1, hidden);
            let [second] = blocks_mut::<1, T>(second, row, C::STATES - 1, hidden);
            let saved: [&mut [T]; SAVED] = blocks_mut(saved, row, C::SAVED, hidden);
            for j in 0..hidden {
                let old = [first[j], if C::STATES > 1 { second[j] } else { T::ZERO }];
                let x = unit(&x, C::GATES, j);
                let (new, values) = cell.value(x, unit(&h, C::GATES, j), old);
                first[j] = new[0];
                if C::STATES > 1 {
                    second[j] = new[1];
                }
                for i in 0..C::SAVED {
                    saved[i][j] = values[i];
                }
            }
        }
    }
}

impl<C: Cell, T: Element> Kernel for BackwardStep<'_, C, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { cell, hidden, saved, state: [first, second], dx, dh } = self;
        for row in 0..first.len() / hidden {
            let saved: [&[T]; SAVED] = blocks(saved, row, C::SAVED, hidden);
            let [first] = blocks_mut::<1, T>(first, row, 1, hidden);
            let [second] = blocks_mut::<1, T>(second, row, C::STATES - 1, hidden);
            let dx: [&mut [T]; GATES] = blocks_mut(dx, row, C::GATES, hidden);
            let dh_gates = if C::ADDITIVE { 0 } else { C::GATES };
            let dh: [&mut [T]; GATES] = blocks_mut(dh, row, dh_gates, hidden);
            for j in 0..hidden {
                let grad = [first[j], if C::STATES > 1 { second[j] } else { T::ZERO }];
                let (x, h, old) = cell.gradient(unit(&saved, C::SAVED, j), grad);
                first[j] = old[0];
                if C::STATES > 1 {
                    second[j] = old[1];
                }
                for i in 0..C::GATES {
                    dx[i][j] = x[i];
                }
                for i in 0..dh_gates {
                    dh[i][j] = h[i];
                }
            }
        }
    }
}

/// Returns the `used` blocks of length `width` that make up a row. The remaining slices of the array are empty.
#[inline(always)]
fn blocks<const N: usize, T>(data: &[T], row: usize, used: usize, width: usize) -> [&[T]; N] {
    let row = &data[row * used * width..];
    std::array::from_fn(|i| if i < used { &row[i * width..][..width] } else { &[] })
}

/// Like [`blocks`], for writing.
#[inline(always)]
fn blocks_mut<const N: usize, T>(data: &mut [T], row: usize, used: usize, width: usize) -> [&mut [T]; N] {
    let mut rest = &mut data[row * used * width..];
    std::array::from_fn(|i| {
        if i >= used {
            return &mut [][..];
        }
        let (block, tail) = std::mem::take(&mut rest).split_at_mut(width);
        rest = tail;
        block
    })
}

/// Returns element `j` of each of the first `used` blocks, and zeros for the remaining ones.
#[inline(always)]
fn unit<const N: usize, T: Float>(blocks: &[&[T]; N], used: usize, j: usize) -> [T; N] {
    std::array::from_fn(|i| if i < used { blocks[i][j] } else { T::ZERO })
}

/// Returns the matrix product `left · right`, `[m, k] · [k, n]`.
pub(super) fn product<T: Element>(
    left: Vec<T>,
    left_layout: &Layout,
    right: &CpuStorage,
    right_layout: &Layout,
) -> Result<Vec<T>> {
    let (m, k) = left_layout.shape().dims2()?;
    let n = right_layout.shape().dims2()?.1;
    if m == 0 || n == 0 || k == 0 {
        return Ok(vec![T::ZERO; m * n]);
    }
    let left = T::to_cpu_storage_owned(left);
    let product = left.matmul(right, (1, m, n, k), left_layout, right_layout)?;
    Ok(T::cpu_storage_as_slice(&product)?.to_vec())
}
