//! Sums over some dimensions. Sums are computed in f64. The partition into tasks depends only on the shape, so that the
//! results are the same for any number of threads.
//!
//! An axis is *kept* if the result has it, and *reduced* if it is summed. The innermost axis is called the columns. If
//! there are fewer than [`SHORT_ROW`] columns, they are read together with a second axis, the rows. The rows are the
//! innermost reduced axis if the columns are kept, and the innermost kept axis if the columns are reduced.
//!
//! A *total* is the sum for one element of the result. If several tasks share a total, each computes a *partial total*,
//! and the partial totals are added at the end.

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Result, Shape, Storage, Tensor};

use crate::operation::CpuOperand;
use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Kernel, Simd, dispatch_loops};

use super::axes::{Axis, Position, collapse, iteration_count};
use super::map::{DynFormula, Formula, Operands, SHORT_ROW, with_operands};
use super::reader::{BUFFER, ComputeType, Elements, Reader, Run};

/// Applies a formula to operands that broadcast to `shape`, sums its values over the dimensions that have size 1 in
/// `target` or are missing there, and multiplies the sums by `scale`. The result has the shape `target` and the dtype
/// of the operands.
///
/// # Errors
/// Fails if the operands differ in dtype, are not floating point, or do not broadcast to `shape`.
pub(crate) fn sum<const N: usize>(
    op: &str,
    operands: [CpuOperand; N],
    [shape, target]: [&Shape; 2],
    scale: f64,
    formula: &impl Formula<N>,
) -> Result<CpuStorage> {
    let operands = Operands::new(op, operands, shape)?;
    let loops = SumLoops::new(&operands.axes, target.dims());
    let totals = if shape.elem_count() == 0 {
        // The mean of no elements is NaN: its scale is infinite.
        vec![0. * scale; target.elem_count()]
    } else if operands.dtype == DType::F64 {
        loops.totals::<f64>(&operands, scale, formula.is_identity(), &|inputs, out| formula.run(inputs, out))
    } else {
        loops.totals::<f32>(&operands, scale, formula.is_identity(), &|inputs, out| formula.run(inputs, out))
    };
    let totals = Operands {
        elements: [Elements::F64(&totals)],
        starts: [0],
        axes: collapse(&loops.target),
        dtype: operands.dtype,
    };
    Ok(totals.collect(target.elem_count(), &Identity))
}

/// Computes sums like [`sum`] from tensors. The result tracks no gradient.
///
/// # Errors
/// Fails if [`sum`] does, or if a tensor is not on the CPU.
pub(crate) fn sum_tensors<const N: usize>(
    op: &str,
    tensors: [&Tensor; N],
    shapes: [&Shape; 2],
    scale: f64,
    formula: &impl Formula<N>,
) -> Result<Tensor> {
    let storage = with_operands(op, tensors, |operands| sum(op, operands, shapes, scale, formula))?;
    Ok(Tensor::from_storage(Storage::Cpu(storage), shapes[1].clone(), BackpropOp::none(), false))
}

/// The formula that returns its operand.
pub(crate) struct Identity;

// SAFETY: both arms initialize every element.
unsafe impl Formula<1> for Identity {
    fn is_identity(&self) -> bool {
        true
    }

    fn run<E: ComputeType>(&self, [x]: [Run<'_, E>; 1], out: &mut [MaybeUninit<E>]) {
        match x {
            Run::Constant(x) => out.fill(MaybeUninit::new(x)),
            Run::Slice(x) => out.iter_mut().zip(x).for_each(|(out, x)| {
                out.write(*x);
            }),
        }
    }
}

/// The loops of a sum: over the outer kept axes, over the outer reduced axes, and over runs of `rows × columns`
/// elements.
struct SumLoops<const N: usize> {
    /// The outer axes that the result keeps.
    kept: Vec<Axis<N>>,
    /// The outer axes that are summed.
    reduced: Vec<Axis<N>>,
    /// The rows; an axis of size 1 if there are at least [`SHORT_ROW`] columns or no axis remains for the rows. The
    /// rows are kept if the columns are reduced, and reduced if the columns are kept.
    rows: Axis<N>,
    columns: Axis<N>,
    /// Whether the result keeps the columns.
    keeps_columns: bool,
    /// The axes of the result, with their strides in the vector that [`totals`](Self::totals) returns.
    target: Vec<Axis<1>>,
}

/// An axis of the loops, and the dimensions of the operands that were joined into it.
struct JoinedAxis<const N: usize> {
    axis: Axis<N>,
    is_kept: bool,
    dims: Vec<usize>,
}

/// If the innermost axis has fewer elements than this, the longest axis becomes the innermost.
const MIN_INNERMOST: usize = 16;

/// The maximum number of partial totals into which a total is split.
const MAX_SPLITS: usize = 32;

impl<const N: usize> SumLoops<N> {
    fn new(axes: &[Axis<N>], target: &[usize]) -> Self {
        let missing = axes.len() - target.len();
        let mut loop_axes: Vec<JoinedAxis<N>> = axes
            .iter()
            .enumerate()
            .map(|(i, axis)| JoinedAxis {
                axis: *axis,
                is_kept: i >= missing && target[i - missing] == axis.size,
                dims: vec![i],
            })
            .filter(|loop_axis| loop_axis.axis.size != 1)
            .collect();
        // The loops traverse the first operand in the order of its memory.
        loop_axes.sort_by_key(|loop_axis| std::cmp::Reverse(loop_axis.axis.strides[0]));
        let mut loop_axes = join(loop_axes);
        let longest = (0..loop_axes.len()).max_by_key(|i| loop_axes[*i].axis.size).unwrap_or(0);
        if loop_axes.last().is_some_and(|last| last.axis.size < MIN_INNERMOST) {
            let longest = loop_axes.remove(longest);
            loop_axes.push(longest);
        }
        let none = Axis { size: 1, strides: [0; N] };
        let columns = loop_axes.pop().unwrap_or(JoinedAxis { axis: none, is_kept: false, dims: vec![] });
        let (kept, reduced): (Vec<_>, Vec<_>) =
            loop_axes.into_iter().partition(|loop_axis| loop_axis.is_kept);
        // The totals are in the order of the loops.
        let mut strides = vec![0; axes.len()];
        let mut stride = 1;
        let inner_dims = columns.is_kept.then_some(&columns.dims);
        for dim in kept.iter().map(|loop_axis| &loop_axis.dims).chain(inner_dims).flatten().rev() {
            strides[*dim] = stride;
            stride *= axes[*dim].size;
        }
        let target = target.iter().zip(&strides[missing..]);
        let mut loops = Self {
            target: target.map(|(size, stride)| Axis { size: *size, strides: [*stride] }).collect(),
            kept: kept.into_iter().map(|loop_axis| loop_axis.axis).collect(),
            reduced: reduced.into_iter().map(|loop_axis| loop_axis.axis).collect(),
            rows: none,
            keeps_columns: columns.is_kept,
            columns: columns.axis,
        };
        if loops.columns.size < SHORT_ROW {
            let outer = if loops.keeps_columns { &mut loops.reduced } else { &mut loops.kept };
            loops.rows = outer.pop().unwrap_or(none);
        }
        loops
    }

    /// Returns the totals times `scale`, in row-major order of the kept axes. The operands must not be empty.
    fn totals<E: ComputeType>(
        &self,
        operands: &Operands<'_, N>,
        scale: f64,
        is_identity: bool,
        formula: &DynFormula<'_, E, N>,
    ) -> Vec<f64> {
        let [kept, reduced] = [&self.kept, &self.reduced].map(|axes| iteration_count(axes));
        let (rows, columns) = (self.rows.size, self.columns.size);
        // `outputs` is the number of totals, `terms` the number of elements in each total, and `width` the number of
        // totals that are computed together. `steps` is the number of loop iterations that compute a total, which are
        // divided among `splits` tasks.
        let (outputs, terms, width, steps) = if self.keeps_columns {
            (kept * columns, reduced * rows, columns.min(BUFFER), reduced * rows)
        } else if rows > 1 {
            (kept * rows, reduced * columns, 1, reduced)
        } else {
            (kept, reduced * columns, 1, reduced * columns)
        };
        let splits = if outputs < MAX_SPLITS * width {
            (outputs * terms / cost::MIN_READ_ELEMENTS).clamp(1, MAX_SPLITS).min(steps)
        } else {
            1
        };
        let totals_per_task =
            if splits > 1 { outputs } else { width * (cost::MIN_READ_ELEMENTS / (width * terms)).max(1) };
        let mut totals = vec![0.; splits * outputs];
        for_each_chunk(&mut totals, totals_per_task, |index, totals| {
            let first = index * totals_per_task;
            let split = first / outputs;
            let range = split * steps / splits..(split + 1) * steps / splits;
            let mut sums = Sums::new(self, operands, is_identity, formula);
            if self.keeps_columns {
                sums.add_columns(first % outputs, range, totals);
            } else if rows > 1 {
                sums.add_short_rows(first % outputs, range, totals);
            } else {
                sums.add_single_rows(first % outputs, range, totals);
            }
            if splits == 1 {
                totals.iter_mut().for_each(|total| *total *= scale);
            }
        });
        if splits > 1 {
            let (first, others) = totals.split_at_mut(outputs);
            for other in others.chunks_exact(outputs) {
                first.iter_mut().zip(other).for_each(|(total, other)| *total += other);
            }
            first.iter_mut().for_each(|total| *total *= scale);
            totals.truncate(outputs);
        }
        totals
    }
}

/// Joins neighboring axes if each operand can traverse them with a single stride, and both are kept or both reduced.
fn join<const N: usize>(loop_axes: Vec<JoinedAxis<N>>) -> Vec<JoinedAxis<N>> {
    let mut joined: Vec<JoinedAxis<N>> = Vec::with_capacity(loop_axes.len());
    for mut loop_axis in loop_axes {
        if let Some(outer) = joined.last_mut()
            && outer.is_kept == loop_axis.is_kept
            && let [axis] = collapse(&[outer.axis, loop_axis.axis])[..]
        {
            outer.axis = axis;
            outer.dims.append(&mut loop_axis.dims);
        } else {
            joined.push(loop_axis);
        }
    }
    joined
}

/// Sums the values of a formula, on one thread.
struct Sums<'a, E, const N: usize> {
    loops: &'a SumLoops<N>,
    readers: [Reader<'a, E>; N],
    is_identity: bool,
    formula: &'a DynFormula<'a, E, N>,
    /// The offset of the first element of each operand.
    start: [usize; N],
    kept: Position<'a, N>,
    reduced: Position<'a, N>,
    values: [MaybeUninit<E>; BUFFER],
}

impl<'a, E: ComputeType, const N: usize> Sums<'a, E, N> {
    fn new(
        loops: &'a SumLoops<N>,
        operands: &Operands<'a, N>,
        is_identity: bool,
        formula: &'a DynFormula<'a, E, N>,
    ) -> Self {
        let (rows, columns) = (loops.rows, loops.columns);
        let mut index = 0;
        let readers = operands.elements.map(|elements| {
            index += 1;
            let strides = [rows.strides[index - 1], columns.strides[index - 1]];
            Reader::new(elements, [rows.size, columns.size], strides)
        });
        Self {
            loops,
            readers,
            is_identity,
            formula,
            start: operands.starts,
            kept: Position::new(&loops.kept, operands.starts, 0),
            reduced: Position::new(&loops.reduced, operands.starts, 0),
            values: [MaybeUninit::uninit(); BUFFER],
        }
    }

    /// Computes the totals `first..first + totals.len()`, if the columns are kept. `range` selects iterations of
    /// the loop nest of the reduced axes and the rows.
    fn add_columns(&mut self, mut first: usize, range: Range<usize>, mut totals: &mut [f64]) {
        let (rows, columns) = (self.loops.rows.size, self.loops.columns.size);
        // The number of rows that are added together.
        let height = if rows > 1 { (BUFFER / columns).max(1) } else { 1 };
        while !totals.is_empty() {
            let column = first % columns;
            let width = (columns - column).min(BUFFER).min(totals.len());
            let (part, rest) = totals.split_at_mut(width);
            let height = if width == columns { height } else { 1 };
            self.kept.move_to(self.start, first / columns);
            self.reduced.move_to(self.kept.offsets, range.start / rows);
            let mut sums = [0.; BUFFER];
            let mut at = range.start;
            while at < range.end {
                let row = at % rows;
                let count = (height - row % height).min(rows - row).min(range.end - at);
                let values = self.values(row * columns + column, count * width);
                dispatch_loops(Add { values, totals: &mut sums });
                at += count;
                if row + count == rows {
                    self.reduced.advance();
                }
            }
            for sums in sums[..height * width].chunks_exact(width) {
                part.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
            totals = rest;
            first += width;
        }
    }

    /// Computes the totals `first..first + totals.len()`, if the columns are reduced and the rows are kept. `range`
    /// selects iterations of the loop nest of the reduced axes; each iteration also sums over all columns.
    fn add_short_rows(&mut self, mut first: usize, range: Range<usize>, mut totals: &mut [f64]) {
        let (rows, columns) = (self.loops.rows.size, self.loops.columns.size);
        let height = BUFFER / columns;
        while !totals.is_empty() {
            let row = first % rows;
            let count = (height - row % height).min(rows - row).min(totals.len());
            let (part, rest) = totals.split_at_mut(count);
            self.kept.move_to(self.start, first / rows);
            self.reduced.move_to(self.kept.offsets, range.start);
            for _ in range.clone() {
                let values = self.values(row * columns, count * columns);
                dispatch_loops(AddRows { values, columns, totals: part });
                self.reduced.advance();
            }
            totals = rest;
            first += count;
        }
    }

    /// Computes the totals `first..first + totals.len()`, if the columns are reduced and each run is a single row.
    /// `range` selects iterations of the loop nest of the reduced axes and the columns.
    fn add_single_rows(&mut self, first: usize, range: Range<usize>, totals: &mut [f64]) {
        let columns = self.loops.columns.size;
        self.kept.move_to(self.start, first);
        for total in totals {
            self.reduced.move_to(self.kept.offsets, range.start / columns);
            let mut at = range.start;
            while at < range.end {
                let column = at % columns;
                let len = (columns - column).min(BUFFER).min(range.end - at);
                let values = self.values(column, len);
                dispatch_loops(AddRows { values, columns: len, totals: std::slice::from_mut(total) });
                at += len;
                if column + len == columns {
                    self.reduced.advance();
                }
            }
            self.kept.advance();
        }
    }

    /// Returns the values of the formula for the elements `first..first + len` of a run.
    fn values(&mut self, first: usize, len: usize) -> &[E] {
        let offsets = self.reduced.offsets;
        let mut index = 0;
        let inputs = self.readers.each_mut().map(|reader| {
            index += 1;
            reader.read(offsets[index - 1], first, len)
        });
        if self.is_identity
            && let Some(Run::Slice(values)) = inputs.first()
        {
            return values;
        }
        let values = &mut self.values[..len];
        (self.formula)(inputs, values);
        // SAFETY: a formula initializes every element of its output.
        unsafe { &*(std::ptr::from_ref(values) as *const [E]) }
    }
}

/// Adds each value to its total.
struct Add<'a, E> {
    values: &'a [E],
    totals: &'a mut [f64],
}

impl<E: ComputeType> Kernel for Add<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (total, value) in self.totals.iter_mut().zip(self.values) {
            *total += value.to_f64();
        }
    }
}

/// Adds the sum of each row of `columns` values to its total.
struct AddRows<'a, E> {
    values: &'a [E],
    columns: usize,
    totals: &'a mut [f64],
}

/// The number of independent partial sums of a row. The compiler can vectorize additions to independent sums.
const LANES: usize = 16;

impl<E: ComputeType> Kernel for AddRows<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (total, row) in self.totals.iter_mut().zip(self.values.chunks_exact(self.columns)) {
            let (chunks, rest) = row.as_chunks::<LANES>();
            let mut lanes = [0.; LANES];
            for chunk in chunks {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    *lane += value.to_f64();
                }
            }
            for (lane, value) in lanes.iter_mut().zip(rest) {
                *lane += value.to_f64();
            }
            *total += lanes.iter().sum::<f64>();
        }
    }
}
