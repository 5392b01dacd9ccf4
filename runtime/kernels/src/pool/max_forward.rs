//! The forward pass of max pooling. For each output row and each block of its columns, first computes the maximum of
//! each input column over the rows of the windows, and then the maximum of these column maxima for each window.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::separable::Stored;
use crate::simd::{Isa, Lanes, MAX_LANES, Real, Task};

use super::max::{MaxPool, WindowRange, larger};

/// The windows of max pooling, prepared for the forward pass.
pub(super) struct ForwardWindows<R> {
    /// The `[height, width]` of the input.
    input: [usize; 2],
    rows: Vec<Option<WindowRange>>,
    columns: Vec<Option<WindowRange>>,
    blocks: Vec<Block<R>>,
    isa: Isa,
}

impl<R: Real + Stored<Real = R>> ForwardWindows<R> {
    pub fn new(pool: &MaxPool, isa: Isa) -> Self {
        let [rows, columns] =
            [&pool.rows, &pool.columns].map(|axis| axis.iter().map(WindowRange::new).collect::<Vec<_>>());
        let blocks = Block::list(&columns, R::lanes(isa));
        Self { input: pool.input, rows, columns, blocks, isa }
    }

    /// Writes the maximum of each window of several planes, on the calling thread. Writes every element of `y`.
    pub fn write_maxima(&self, x: &[R], y: &mut [MaybeUninit<R>]) {
        R::dispatch(self.isa, PlanesTask { windows: self, x, y });
    }
}

/// Pools several planes.
struct PlanesTask<'a, R> {
    windows: &'a ForwardWindows<R>,
    x: &'a [R],
    y: &'a mut [MaybeUninit<R>],
}

impl<R: Real + Stored<Real = R>> Task<R> for PlanesTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, lanes: L) {
        let Self { windows: ForwardWindows { input: [h, w], rows, columns, blocks, .. }, x, y } = self;
        let mut maxima = vec![R::NEG_INFINITY; *w];
        for (x, y) in x.chunks_exact(h * w).zip(y.chunks_exact_mut(rows.len() * columns.len())) {
            for (rows, y) in rows.iter().zip(y.chunks_exact_mut(columns.len())) {
                let Some(rows) = rows else {
                    y.fill(MaybeUninit::new(R::NEG_INFINITY));
                    continue;
                };
                for block in blocks {
                    let y = &mut y[block.outputs.clone()];
                    if block.taps.is_empty() {
                        write_column_maxima(lanes, x, *rows, &mut maxima);
                        largest_of_windows(&maxima, &columns[block.outputs.clone()], y);
                    } else {
                        largest_of_taps(
                            lanes,
                            column_maxima(lanes, x, *w, *rows, block.start),
                            &block.taps,
                            y,
                        );
                    }
                }
            }
        }
    }
}

/// Neighboring windows of columns.
struct Block<R> {
    outputs: Range<usize>,
    /// The first column of all windows.
    start: usize,
    /// For each tap, the column of each window relative to `start`, for [`Lanes::permute`]. A window with fewer columns
    /// than others repeats its first one. Empty if the columns are not in two vectors, or if there is only one window,
    /// for which vectors do not pay off.
    taps: Vec<[R; MAX_LANES]>,
}

impl<R: Real> Block<R> {
    /// Splits all windows into blocks.
    fn list(windows: &[Option<WindowRange>], lanes: usize) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut first = 0;
        while first < windows.len() {
            let (count, start) = Self::in_two_vectors(&windows[first..], lanes);
            let outputs = first..first + count.max(1);
            first = outputs.end;
            let together: Vec<WindowRange> = windows[outputs.clone()].iter().copied().flatten().collect();
            let taps = if count > 1 { Self::taps(&together, start) } else { Vec::new() };
            blocks.push(Self { outputs, start, taps });
        }
        blocks
    }

    /// Returns the number of windows, from the first one on, whose columns are in two vectors, and the first column of
    /// these windows. With dilation, a later window can have an earlier column.
    fn in_two_vectors(windows: &[Option<WindowRange>], lanes: usize) -> (usize, usize) {
        let mut start = usize::MAX;
        let mut end = 0;
        for (index, window) in windows.iter().enumerate().take(lanes) {
            let Some(window) = window else { return (index, start) };
            let (new_start, new_end) = (start.min(window.first), end.max(window.last() + 1));
            if new_end - new_start > 2 * lanes {
                return (index, start);
            }
            (start, end) = (new_start, new_end);
        }
        (windows.len().min(lanes), start)
    }

    fn taps(windows: &[WindowRange], start: usize) -> Vec<[R; MAX_LANES]> {
        let count = windows.iter().map(|window| window.count).max().unwrap_or(0);
        let tap = |tap: usize| {
            let mut columns = [R::from_position(0); MAX_LANES];
            for (column, window) in columns.iter_mut().zip(windows) {
                let tap = if tap < window.count { tap } else { 0 };
                *column = R::from_position(window.first + tap * window.step - start);
            }
            columns
        };
        (0..count).map(tap).collect()
    }
}

/// Returns the maximum of each column over some rows of the plane `x`, for two vectors of columns beginning at `start`.
/// The columns after the row are zeros.
#[inline(always)]
fn column_maxima<L: Lanes>(
    lanes: L,
    x: &[L::Real],
    width: usize,
    rows: WindowRange,
    start: usize,
) -> [L::V; 2]
where
    L::Real: Stored<Real = L::Real>,
{
    let mut maxima = load_pair(lanes, &x[rows.first * width..][start..width]);
    // A closure, as in an iterator of rows, would be compiled without the instruction set.
    for index in 1..rows.count {
        let x = load_pair(lanes, &x[(rows.first + index * rows.step) * width..][start..width]);
        maxima = [lanes.max_nan(maxima[0], x[0]), lanes.max_nan(maxima[1], x[1])];
    }
    maxima
}

/// Loads two vectors. The lanes after the slice are zeros.
#[inline(always)]
fn load_pair<L: Lanes>(lanes: L, x: &[L::Real]) -> [L::V; 2]
where
    L::Real: Stored<Real = L::Real>,
{
    if x.len() >= 2 * L::LANES {
        // SAFETY: the slice has at least `2 * LANES` elements.
        unsafe { [lanes.load(x.as_ptr()), lanes.load(x.as_ptr().add(L::LANES))] }
    } else {
        let (first, second) = x.split_at(x.len().min(L::LANES));
        [L::Real::load(lanes, first), L::Real::load(lanes, second)]
    }
}

/// Writes the maximum of the taps of each window, whose columns are in two vectors. There is at least one tap.
#[inline(always)]
fn largest_of_taps<L: Lanes>(
    lanes: L,
    columns: [L::V; 2],
    taps: &[[L::Real; MAX_LANES]],
    y: &mut [MaybeUninit<L::Real>],
) where
    L::Real: Stored<Real = L::Real>,
{
    let mut largest = lanes.permute(columns, L::Real::load(lanes, &taps[0]));
    for tap in &taps[1..] {
        largest = lanes.max_nan(largest, lanes.permute(columns, L::Real::load(lanes, tap)));
    }
    L::Real::store(lanes, y, largest);
}

/// Writes the maximum of each column over some rows of the plane `x`.
#[inline(always)]
fn write_column_maxima<L: Lanes>(lanes: L, x: &[L::Real], rows: WindowRange, maxima: &mut [L::Real])
where
    L::Real: Stored<Real = L::Real>,
{
    let width = maxima.len();
    for start in (0..width).step_by(2 * L::LANES) {
        let pair = column_maxima(lanes, x, width, rows, start);
        for (maxima, vector) in maxima[start..].chunks_mut(L::LANES).zip(pair) {
            // SAFETY: a full store needs `LANES` elements; a partial one writes `maxima.len()`.
            unsafe {
                if maxima.len() == L::LANES {
                    lanes.store(maxima.as_mut_ptr(), vector);
                } else {
                    lanes.store_partial(maxima.as_mut_ptr(), maxima.len(), vector);
                }
            }
        }
    }
}

/// Writes the maximum of the elements of each window of columns.
#[inline(always)]
fn largest_of_windows<R: Real>(x: &[R], windows: &[Option<WindowRange>], y: &mut [MaybeUninit<R>]) {
    for (window, y) in windows.iter().zip(y) {
        let mut largest = R::NEG_INFINITY;
        if let Some(WindowRange { first, step, count }) = *window {
            for index in 0..count {
                largest = larger(largest, x[first + index * step]);
            }
        }
        y.write(largest);
    }
}
