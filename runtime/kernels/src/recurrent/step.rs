//! One step of all hidden units. The rows of the batch are computed in parallel, and the units of a row in vectors.

use std::ops::Deref;

use crate::element::Element;
use crate::gemm::MatrixElement;
use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Kernel, Simd, VectorLoop, Vectors, dispatch, dispatch_loops, run_vector_loop};

use super::cell::{Cell, Gates, Saved, States};

/// Computes the new state of all units of a step.
pub(super) struct ForwardStep<'a, C, T> {
    pub cell: C,
    pub hidden: usize,
    /// For each gate, the input multiplied by the input weights, `[batch, gates · hidden]`.
    pub x: &'a [T],
    /// For each gate, the hidden state multiplied by the recurrent weights, `[batch, gates · hidden]`.
    pub h: &'a [T],
    /// The old states, `[batch, hidden]` each, which are replaced by the new states.
    pub state: States<&'a mut [T]>,
    /// The values saved for the gradient, `[batch, saved · hidden]`.
    pub saved: &'a mut [T],
}

/// Computes the gradients of a step.
pub(super) struct BackwardStep<'a, C, T> {
    pub cell: C,
    pub hidden: usize,
    /// The values that [`ForwardStep`] saved.
    pub saved: &'a [T],
    /// The gradients of the new states. The kernel replaces them with the gradients of the old states, without the part
    /// that passes through [`ForwardStep::h`]. The caller adds that part.
    pub state: States<&'a mut [T]>,
    /// The gradient of [`ForwardStep::x`].
    pub dx: &'a mut [T],
    /// The gradient of [`ForwardStep::h`], or empty if it equals `dx`.
    pub dh: &'a mut [T],
}

impl<C: Cell, T: StepElement> ForwardStep<'_, C, T> {
    pub fn run(self) {
        let Self { cell, hidden, x, h, state: [first, second], saved } = self;
        let batch = first.len() / hidden;
        let (x, h) = (rows(x, batch), rows(h, batch));
        let states = rows_mut(first, batch).zip(rows_mut(second, batch));
        let rows = x.zip(h).zip(states).zip(rows_mut(saved, batch));
        let mut rows: Vec<_> = rows
            .map(|(((x, h), (first, second)), saved)| ForwardRow {
                cell,
                x: blocks(x, hidden),
                h: blocks(h, hidden),
                state: [first, second],
                saved: blocks_mut(saved, hidden),
            })
            .collect();
        for_each_chunk(&mut rows, cost::MIN_LIBRARY_CALL_ELEMENTS.div_ceil(hidden), |_, rows| {
            T::dispatch(Rows(rows));
        });
    }
}

impl<C: Cell, T: StepElement> BackwardStep<'_, C, T> {
    pub fn run(self) {
        let Self { cell, hidden, saved, state: [first, second], dx, dh } = self;
        let batch = first.len() / hidden;
        let states = rows_mut(first, batch).zip(rows_mut(second, batch));
        let gradients = rows_mut(dx, batch).zip(rows_mut(dh, batch));
        let mut rows: Vec<_> = rows(saved, batch)
            .zip(states)
            .zip(gradients)
            .map(|((saved, (first, second)), (dx, dh))| BackwardRow {
                cell,
                saved: blocks(saved, hidden),
                state: [first, second],
                dx: blocks_mut(dx, hidden),
                dh: blocks_mut(dh, hidden),
            })
            .collect();
        for_each_chunk(&mut rows, cost::MIN_LIBRARY_CALL_ELEMENTS.div_ceil(hidden), |_, rows| {
            T::dispatch(Rows(rows));
        });
    }
}

/// The operands of [`ForwardStep`] for one element of the batch. Each slice has one number for each hidden unit. Slices
/// that the cell does not use are empty.
pub(super) struct ForwardRow<'a, C, T> {
    cell: C,
    x: Gates<&'a [T]>,
    h: Gates<&'a [T]>,
    state: States<&'a mut [T]>,
    saved: Saved<&'a mut [T]>,
}

/// The operands of [`BackwardStep`] for one element of the batch.
pub(super) struct BackwardRow<'a, C, T> {
    cell: C,
    saved: Saved<&'a [T]>,
    state: States<&'a mut [T]>,
    dx: Gates<&'a mut [T]>,
    dh: Gates<&'a mut [T]>,
}

/// Returns the rows of a matrix with `batch` rows. The rows may be empty.
fn rows<T>(data: &[T], batch: usize) -> impl Iterator<Item = &[T]> {
    let len = data.len() / batch.max(1);
    (0..batch).map(move |row| &data[row * len..][..len])
}

/// Like [`rows`], for writing.
fn rows_mut<T>(data: &mut [T], batch: usize) -> impl Iterator<Item = &mut [T]> {
    let len = data.len() / batch.max(1);
    let mut rest = data;
    (0..batch).map(move |_| {
        let (row, tail) = std::mem::take(&mut rest).split_at_mut(len);
        rest = tail;
        row
    })
}

/// Splits a row into blocks of length `width`. The remaining slices of the array are empty.
fn blocks<const N: usize, T>(row: &[T], width: usize) -> [&[T]; N] {
    let mut blocks = row.chunks_exact(width);
    std::array::from_fn(|_| blocks.next().unwrap_or(&[]))
}

/// Like [`blocks`], for writing.
fn blocks_mut<const N: usize, T>(row: &mut [T], width: usize) -> [&mut [T]; N] {
    let mut blocks = row.chunks_exact_mut(width);
    std::array::from_fn(|_| blocks.next().unwrap_or(&mut []))
}

/// Rows of the batch that one task computes.
struct Rows<'a, R>(&'a mut [R]);

/// A row of the batch, with the operands of the forward or of the backward step.
trait Row {
    fn run<S: Simd>(&mut self, simd: S);
}

impl<R: Row> Kernel for Rows<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in self.0 {
            row.run(simd);
        }
    }
}

impl<C: Cell, T: StepElement> Row for ForwardRow<'_, C, T> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S) {
        T::forward(simd, self);
    }
}

impl<C: Cell, T: StepElement> Row for BackwardRow<'_, C, T> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S) {
        T::backward(simd, self);
    }
}

/// An element type of recurrent layers: f32 is computed as vectors, f64 number by number.
pub(super) trait StepElement: MatrixElement {
    /// Runs a kernel that calls the other functions of this trait.
    fn dispatch<K: Kernel>(kernel: K) -> K::Output;
    /// Computes the new states and the saved values of a row.
    fn forward<S: Simd, C: Cell>(simd: S, row: &mut ForwardRow<C, Self>);
    /// Computes the gradients of a row.
    fn backward<S: Simd, C: Cell>(simd: S, row: &mut BackwardRow<C, Self>);
}

impl StepElement for f32 {
    fn dispatch<K: Kernel>(kernel: K) -> K::Output {
        dispatch(kernel)
    }

    #[inline(always)]
    fn forward<S: Simd, C: Cell>(simd: S, row: &mut ForwardRow<C, f32>) {
        run_vector_loop(simd, row.state[0].len(), RowLoop { simd, row });
    }

    #[inline(always)]
    fn backward<S: Simd, C: Cell>(simd: S, row: &mut BackwardRow<C, f32>) {
        run_vector_loop(simd, row.state[0].len(), RowLoop { simd, row });
    }
}

impl StepElement for f64 {
    fn dispatch<K: Kernel>(kernel: K) -> K::Output {
        dispatch_loops(kernel)
    }

    #[inline(always)]
    fn forward<S: Simd, C: Cell>(_: S, row: &mut ForwardRow<C, f64>) {
        for j in 0..row.state[0].len() {
            let state = row.state.each_ref().map(|state| element(state, j));
            let (x, h) = (row.x.map(|x| element(x, j)), row.h.map(|h| element(h, j)));
            let (state, saved) = row.cell.value(x, h, state);
            set(&mut row.state, j, state);
            set(&mut row.saved, j, saved);
        }
    }

    #[inline(always)]
    fn backward<S: Simd, C: Cell>(_: S, row: &mut BackwardRow<C, f64>) {
        for j in 0..row.state[0].len() {
            let grad = row.state.each_ref().map(|state| element(state, j));
            let (dx, dh, state) = row.cell.gradient(row.saved.map(|saved| element(saved, j)), grad);
            set(&mut row.state, j, state);
            set(&mut row.dx, j, dx);
            set(&mut row.dh, j, dh);
        }
    }
}

/// Returns the element of the unit `j`, or 0 if the slice is empty.
fn element<T: Element>(slice: &[T], j: usize) -> T {
    slice.get(j).copied().unwrap_or(T::ZERO)
}

/// Sets the element of the unit `j` in all slices that are not empty.
fn set<T, const N: usize>(slices: &mut [&mut [T]; N], j: usize, values: [T; N]) {
    for (slice, value) in slices.iter_mut().zip(values) {
        if let Some(slot) = slice.get_mut(j) {
            *slot = value;
        }
    }
}

/// A row whose units are computed as vectors.
trait VectorRow {
    /// Computes the `N` vectors of units that begin at unit `at`. Must be `#[inline(always)]`.
    fn compute<S: Simd, const N: usize>(&mut self, simd: S, at: usize, access: impl Access<S, N>);
}

impl<C: Cell> VectorRow for ForwardRow<'_, C, f32> {
    #[inline(always)]
    fn compute<S: Simd, const N: usize>(&mut self, simd: S, at: usize, access: impl Access<S, N>) {
        let state = load_all(simd, access, at, &self.state);
        let x = load_all(simd, access, at, &self.x);
        let h = load_all(simd, access, at, &self.h);
        let (state, saved) = self.cell.value(x, h, state);
        store_all(access, at, state, &mut self.state);
        store_all(access, at, saved, &mut self.saved);
    }
}

impl<C: Cell> VectorRow for BackwardRow<'_, C, f32> {
    #[inline(always)]
    fn compute<S: Simd, const N: usize>(&mut self, simd: S, at: usize, access: impl Access<S, N>) {
        let grad = load_all(simd, access, at, &self.state);
        let saved = load_all(simd, access, at, &self.saved);
        let (dx, dh, state) = self.cell.gradient(saved, grad);
        store_all(access, at, state, &mut self.state);
        store_all(access, at, dx, &mut self.dx);
        store_all(access, at, dh, &mut self.dh);
    }
}

/// The loop over the vectors of a row.
struct RowLoop<'r, S, R> {
    simd: S,
    row: &'r mut R,
}

impl<S: Simd, R: VectorRow> VectorLoop<S> for RowLoop<'_, S, R> {
    #[inline(always)]
    unsafe fn body<const N: usize>(&mut self, at: usize) {
        self.row.compute::<S, N>(self.simd, at, WholeVectors);
    }

    #[inline(always)]
    unsafe fn remainder(&mut self, at: usize, n: usize) {
        self.row.compute::<S, 1>(self.simd, at, FirstLanes(n));
    }
}

// The loops over slices have no closures. A closure is compiled without the instruction set, so the compiler could not
// inline vector instructions into it.

/// Loads the vectors that begin at the element `at` of each slice.
#[inline(always)]
fn load_all<S: Simd, const N: usize, const SLICES: usize>(
    simd: S,
    access: impl Access<S, N>,
    at: usize,
    slices: &[impl Deref<Target = [f32]>; SLICES],
) -> [Vectors<S, N>; SLICES] {
    let mut vectors = [Vectors::splat(simd, 0.); SLICES];
    for (vectors, slice) in vectors.iter_mut().zip(slices) {
        *vectors = access.load(simd, slice, at);
    }
    vectors
}

/// Stores vectors from the element `at` of each slice on.
#[inline(always)]
fn store_all<S: Simd, const N: usize, const SLICES: usize>(
    access: impl Access<S, N>,
    at: usize,
    vectors: [Vectors<S, N>; SLICES],
    slices: &mut [&mut [f32]; SLICES],
) {
    for (vectors, slice) in vectors.into_iter().zip(slices) {
        access.store(vectors, slice, at);
    }
}

/// Loads and stores vectors of a slice. Loads from an empty slice return zeros, and stores to it do nothing.
trait Access<S: Simd, const N: usize>: Copy {
    fn load(self, simd: S, slice: &[f32], at: usize) -> Vectors<S, N>;
    fn store(self, vectors: Vectors<S, N>, slice: &mut [f32], at: usize);
}

/// Accesses `N` whole vectors.
#[derive(Clone, Copy)]
struct WholeVectors;

impl<S: Simd, const N: usize> Access<S, N> for WholeVectors {
    #[inline(always)]
    fn load(self, simd: S, slice: &[f32], at: usize) -> Vectors<S, N> {
        if slice.is_empty() {
            return Vectors::splat(simd, 0.);
        }
        let slice = &slice[at..at + N * S::LANES];
        // SAFETY: the slice has `N` vectors.
        unsafe { Vectors::load(simd, slice.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, vectors: Vectors<S, N>, slice: &mut [f32], at: usize) {
        if slice.is_empty() {
            return;
        }
        let slice = &mut slice[at..at + N * S::LANES];
        // SAFETY: the slice has `N` vectors.
        unsafe { vectors.store(slice.as_mut_ptr()) }
    }
}

/// Accesses a partial vector. The field is the number of lanes.
#[derive(Clone, Copy)]
struct FirstLanes(usize);

impl<S: Simd> Access<S, 1> for FirstLanes {
    #[inline(always)]
    fn load(self, simd: S, slice: &[f32], at: usize) -> Vectors<S> {
        if slice.is_empty() {
            return Vectors::splat(simd, 0.);
        }
        let lanes = &slice[at..at + self.0.min(S::LANES)];
        // SAFETY: the slice has these lanes.
        unsafe { Vectors::load_partial(simd, lanes.as_ptr(), lanes.len()) }
    }

    #[inline(always)]
    fn store(self, vectors: Vectors<S>, slice: &mut [f32], at: usize) {
        if slice.is_empty() {
            return;
        }
        let lanes = &mut slice[at..at + self.0.min(S::LANES)];
        // SAFETY: the slice has room for these lanes.
        unsafe { vectors.store_partial(lanes.as_mut_ptr(), lanes.len()) }
    }
}
