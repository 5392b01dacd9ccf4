//! The loops over all units of one step, and its matrix products.

use super::cell::{Cell, GATES, SAVED, STATES};
use crate::element::Element;
use crate::float::Float;
use crate::simd::{Kernel, Simd};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result};

/// The new state of every unit of a step; rows are the batch.
pub(super) struct Values<'a, C, T> {
    pub cell: C,
    pub hidden: usize,
    /// `[batch, gates · hidden]` each.
    pub x: &'a [T],
    pub h: &'a [T],
    /// `[batch, hidden]` for each state, the old one, replaced by the new one.
    pub state: [&'a mut [T]; STATES],
    /// `[batch, saved · hidden]`
    pub saved: &'a mut [T],
}

/// The gradients of a step.
pub(super) struct Gradients<'a, C, T> {
    pub cell: C,
    pub hidden: usize,
    pub saved: &'a [T],
    /// That of the new state, replaced by that of the old one apart from the matrix product.
    pub state: [&'a mut [T]; STATES],
    pub dx: &'a mut [T],
    /// Empty where it would be the same as `dx`.
    pub dh: &'a mut [T],
}

impl<C: Cell, T: Element> Kernel for Values<'_, C, T> {
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
                let before = [first[j], if C::STATES > 1 { second[j] } else { T::ZERO }];
                let (after, kept) = cell.value(at(&x, C::GATES, j), at(&h, C::GATES, j), before);
                first[j] = after[0];
                if C::STATES > 1 {
                    second[j] = after[1];
                }
                for i in 0..C::SAVED {
                    saved[i][j] = kept[i];
                }
            }
        }
    }
}

impl<C: Cell, T: Element> Kernel for Gradients<'_, C, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { cell, hidden, saved, state: [first, second], dx, dh } = self;
        for row in 0..first.len() / hidden {
            let saved: [&[T]; SAVED] = blocks(saved, row, C::SAVED, hidden);
            let [first] = blocks_mut::<1, T>(first, row, 1, hidden);
            let [second] = blocks_mut::<1, T>(second, row, C::STATES - 1, hidden);
            let dx: [&mut [T]; GATES] = blocks_mut(dx, row, C::GATES, hidden);
            let own = if C::ADDITIVE { 0 } else { C::GATES };
            let dh: [&mut [T]; GATES] = blocks_mut(dh, row, own, hidden);
            for j in 0..hidden {
                let grad = [first[j], if C::STATES > 1 { second[j] } else { T::ZERO }];
                let (x, h, before) = cell.gradient(at(&saved, C::SAVED, j), grad);
                first[j] = before[0];
                if C::STATES > 1 {
                    second[j] = before[1];
                }
                for i in 0..C::GATES {
                    dx[i][j] = x[i];
                }
                for i in 0..own {
                    dh[i][j] = h[i];
                }
            }
        }
    }
}

/// The first `used` blocks of a row of as many, each `width` long; the others are empty.
#[inline(always)]
fn blocks<const N: usize, T>(data: &[T], row: usize, used: usize, width: usize) -> [&[T]; N] {
    let row = &data[row * used * width..];
    std::array::from_fn(|i| if i < used { &row[i * width..][..width] } else { &[] })
}

/// The same for writing.
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

/// Element `j` of each of the first `used` blocks.
#[inline(always)]
fn at<const N: usize, T: Float>(blocks: &[&[T]; N], used: usize, j: usize) -> [T; N] {
    std::array::from_fn(|i| if i < used { blocks[i][j] } else { T::ZERO })
}

/// `left · right`, `[m, k] · [k, n]`, the right one in any layout.
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
