//! Elementwise operations.

use std::mem::MaybeUninit;

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Result, Shape, Storage, Tensor, bail};
use half::{bf16, f16};

use crate::memory::vec_written_by;
use crate::operation::CpuOperand;
use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Half, Kernel, Simd, dispatch};

use super::axes::{Axis, Position, axes, collapse};
use super::reader::{BUFFER, ComputeType, Elements, Reader, Run, segment_len};

/// A function of `N` numbers that is applied to the elements of `N` operands.
///
/// # Safety
/// [`run`](Self::run) must initialize every element of `out`.
pub(crate) unsafe trait Formula<const N: usize>: Sync {
    /// Computes `out` from the inputs. Each input is one number for all of `out`, or a slice of the length of `out`.
    fn run<E: ComputeType>(&self, inputs: [Run<'_, E>; N], out: &mut [MaybeUninit<E>]);

    /// Returns `true` if the formula returns its first input.
    fn is_identity(&self) -> bool {
        false
    }

    /// Returns the number of elements that one task computes.
    fn task_len(&self) -> usize {
        cost::MIN_ELEMENTS
    }
}

/// Applies a formula to operands that broadcast to `shape`. The result is contiguous and has the dtype of the operands.
///
/// # Errors
/// Fails if the operands differ in dtype, are not floating point, or do not broadcast to `shape`.
pub(crate) fn map<const N: usize>(
    op: &str,
    operands: [CpuOperand; N],
    shape: &Shape,
    formula: &impl Formula<N>,
) -> Result<CpuStorage> {
    let mut operands = Operands::new(op, operands, shape)?;
    operands.axes = collapse(&operands.axes);
    Ok(operands.collect(shape.elem_count(), formula))
}

/// Applies a formula like [`map`] to tensors. The result tracks no gradient.
///
/// # Errors
/// Fails if [`map`] does, or if a tensor is not on the CPU.
pub(crate) fn map_tensors<const N: usize>(
    op: &str,
    tensors: [&Tensor; N],
    shape: &Shape,
    formula: &impl Formula<N>,
) -> Result<Tensor> {
    let storage = with_operands(op, tensors, |operands| map(op, operands, shape, formula))?;
    Ok(Tensor::from_storage(Storage::Cpu(storage), shape.clone(), BackpropOp::none(), false))
}

/// Calls `run` with the storages and layouts of tensors on the CPU.
pub(super) fn with_operands<R, const N: usize>(
    op: &str,
    tensors: [&Tensor; N],
    run: impl FnOnce([CpuOperand; N]) -> Result<R>,
) -> Result<R> {
    let stored = tensors.map(Tensor::storage_and_layout);
    let mut operands = Vec::with_capacity(N);
    for (storage, layout) in &stored {
        match &**storage {
            Storage::Cpu(storage) => operands.push((storage, *layout)),
            _ => bail!("{op}: expected tensors on the CPU"),
        }
    }
    run(crate::operation::to_array(op, &operands)?)
}

/// Applies a formula to slices of f32 and writes every element of `out`. `axes` are the axes of `out`, with the strides
/// of the operands. The first element of `out` is computed from the first element of each operand.
pub(crate) fn map_into<const N: usize>(
    operands: [&[f32]; N],
    axes: &[Axis<N>],
    out: &mut [f32],
    formula: &impl Formula<N>,
) {
    let elements = operands.map(Elements::F32);
    let operands = Operands { elements, starts: [0; N], axes: collapse(axes), dtype: DType::F32 };
    // SAFETY: a formula writes only initialized values, and `MaybeUninit<f32>` has the layout of `f32`.
    let out = unsafe { &mut *(std::ptr::from_mut(out) as *mut [MaybeUninit<f32>]) };
    operands
        .fill(out, formula.task_len(), &|inputs: [Run<'_, f32>; N], out: &mut [_]| formula.run(inputs, out));
}

/// The operands of a formula, broadcast to the shape of the result.
pub(super) struct Operands<'a, const N: usize> {
    pub elements: [Elements<'a>; N],
    /// The offset of the first element of each operand.
    pub starts: [usize; N],
    /// The axes of the result, with the strides of the operands.
    pub axes: Vec<Axis<N>>,
    /// The dtype of the result.
    pub dtype: DType,
}

impl<'a, const N: usize> Operands<'a, N> {
    pub fn new(op: &str, operands: [CpuOperand<'a>; N], shape: &Shape) -> Result<Self> {
        let elements = operands.map(|(storage, _)| Elements::of(op, storage));
        let layouts = operands.map(|(_, layout)| layout.broadcast_as(shape));
        let elements = collect_array(elements)?;
        let layouts = collect_array(layouts)?;
        let dtype = elements.first().map_or(DType::F32, Elements::dtype);
        if let Some(other) = elements.iter().find(|elements| elements.dtype() != dtype) {
            bail!("{op}: expected operands of one dtype, found {dtype:?} and {:?}", other.dtype());
        }
        let strides = layouts.each_ref().map(|layout| layout.stride());
        let axes = axes(shape.dims(), strides);
        Ok(Self { elements, starts: layouts.each_ref().map(|layout| layout.start_offset()), axes, dtype })
    }

    /// Applies a formula and returns the `len` elements of the result.
    pub fn collect(&self, len: usize, formula: &impl Formula<N>) -> CpuStorage {
        let task_len = formula.task_len();
        let single = |inputs: [Run<'_, f32>; N], out: &mut [_]| formula.run(inputs, out);
        let double = |inputs: [Run<'_, f64>; N], out: &mut [_]| formula.run(inputs, out);
        // SAFETY of every call: `fill` passes all of `out` to the formula, which initializes every element.
        #[expect(clippy::undocumented_unsafe_blocks, reason = "the comment above applies to all of them")]
        match self.dtype {
            DType::F64 => {
                CpuStorage::F64(unsafe { vec_written_by(len, |out| self.fill(out, task_len, &double)) })
            }
            DType::F16 => {
                CpuStorage::F16(unsafe { vec_written_by(len, |out| self.fill(out, task_len, &single)) })
            }
            DType::BF16 => {
                CpuStorage::BF16(unsafe { vec_written_by(len, |out| self.fill(out, task_len, &single)) })
            }
            _ => CpuStorage::F32(unsafe { vec_written_by(len, |out| self.fill(out, task_len, &single)) }),
        }
    }

    /// Applies a formula and writes every element of `out`, in tasks of `task_len` elements.
    pub fn fill<E: ComputeType, T: OutputElement<E>>(
        &self,
        out: &mut [MaybeUninit<T>],
        task_len: usize,
        formula: &DynFormula<'_, E, N>,
    ) {
        let nest = Nest::new(&self.axes);
        for_each_chunk(out, task_len, |index, out| self.fill_chunk(&nest, index * task_len, out, formula));
    }

    /// Computes one chunk of the result. `first` is the index of its first element.
    fn fill_chunk<E: ComputeType, T: OutputElement<E>>(
        &self,
        nest: &Nest<'_, N>,
        first: usize,
        mut out: &mut [MaybeUninit<T>],
        formula: &DynFormula<'_, E, N>,
    ) {
        let run_len = nest.rows * nest.columns;
        let mut index = 0;
        let mut readers = self.elements.map(|elements| {
            index += 1;
            Reader::<E>::new(elements, [nest.rows, nest.columns], nest.strides[index - 1])
        });
        let is_buffered = T::IS_BUFFERED || readers.iter().any(Reader::is_buffered);
        let segment_len = if is_buffered { segment_len(nest.rows, nest.columns) } else { run_len };
        let mut position = Position::new(nest.outer, self.starts, first / run_len);
        let mut at = first % run_len;
        while !out.is_empty() {
            let len = (segment_len - at % segment_len).min(run_len - at).min(out.len());
            let (part, rest) = out.split_at_mut(len);
            let mut index = 0;
            let inputs = readers.each_mut().map(|reader| {
                index += 1;
                reader.read(position.offsets[index - 1], at, len)
            });
            T::write(part, |part| formula(inputs, part));
            out = rest;
            at += len;
            if at == run_len {
                position.advance();
                at = 0;
            }
        }
    }
}

/// Returns the values of all results, or the first error.
fn collect_array<T, const N: usize>(results: [Result<T>; N]) -> Result<[T; N]> {
    let results = results.into_iter().collect::<Result<Vec<T>>>()?;
    match results.try_into() {
        Ok(results) => Ok(results),
        Err(_) => bail!("expected {N} results"),
    }
}

/// [`Formula::run`] for one element type.
pub(super) type DynFormula<'a, E, const N: usize> =
    dyn Fn([Run<'_, E>; N], &mut [MaybeUninit<E>]) + Sync + 'a;

/// The loops of an elementwise operation: a nest of outer loops around runs of `rows × columns` elements.
struct Nest<'a, const N: usize> {
    outer: &'a [Axis<N>],
    rows: usize,
    columns: usize,
    /// For each operand, the distances to the next row and to the next column.
    strides: [[usize; 2]; N],
}

/// Rows of fewer elements than this are joined into runs of several rows. For longer rows, one call of the formula for
/// each row costs little.
pub(super) const SHORT_ROW: usize = 128;

impl<'a, const N: usize> Nest<'a, N> {
    fn new(axes: &'a [Axis<N>]) -> Self {
        let none = Axis { size: 1, strides: [0; N] };
        let (outer, rows, columns) = match axes {
            [outer @ .., rows, columns] if columns.size < SHORT_ROW => (outer, *rows, *columns),
            [outer @ .., columns] => (outer, none, *columns),
            [] => (axes, none, none),
        };
        let strides = std::array::from_fn(|i| [rows.strides[i], columns.strides[i]]);
        Self { outer, rows: rows.size, columns: columns.size, strides }
    }
}

/// An element type of results. The results are computed as numbers of type `E` and then converted.
pub(super) trait OutputElement<E>: Copy + Send {
    /// Whether [`write`](Self::write) supports only up to [`BUFFER`] elements.
    const IS_BUFFERED: bool;

    /// Calls `formula` and converts its results to the elements of `out`.
    fn write(out: &mut [MaybeUninit<Self>], formula: impl FnOnce(&mut [MaybeUninit<E>]));
}

macro_rules! output_elements {
    ($($exact:ident)* ; $($half:ident $kind:ident)*) => {
        $(impl OutputElement<$exact> for $exact {
            const IS_BUFFERED: bool = false;

            fn write(out: &mut [MaybeUninit<$exact>], formula: impl FnOnce(&mut [MaybeUninit<$exact>])) {
                formula(out);
            }
        })*
        $(impl OutputElement<f32> for $half {
            const IS_BUFFERED: bool = true;

            fn write(out: &mut [MaybeUninit<$half>], formula: impl FnOnce(&mut [MaybeUninit<f32>])) {
                let mut buffer = [MaybeUninit::<f32>::uninit(); BUFFER];
                let buffer = &mut buffer[..out.len()];
                formula(buffer);
                // SAFETY: a formula initializes every element of its output.
                let from = unsafe { &*(std::ptr::from_ref(buffer) as *const [f32]) };
                let to = out.as_mut_ptr().cast();
                dispatch(Round { half: Half::$kind, from, to });
            }
        })*
    };
}

output_elements! { f32 f64 ; f16 F16 bf16 Bf16 }

/// Rounds the numbers of `from` to 16-bit floats. `to` points to `from.len()` floats.
struct Round<'a> {
    half: Half,
    from: &'a [f32],
    to: *mut u16,
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (index, from) in self.from.chunks(S::LANES).enumerate() {
            // SAFETY: `from` has `from.len()` numbers, and `to` has one element for each of them.
            unsafe {
                let v = simd.load_partial(from.as_ptr(), from.len());
                simd.store_half(self.half, self.to.add(index * S::LANES), from.len(), v);
            }
        }
    }
}
