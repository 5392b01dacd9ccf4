//! Reads runs of a strided operand as slices of f32 or f64.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result};
use half::{bf16, f16};

use crate::element::not_a_float;
use crate::elementwise::MapElement;
use crate::simd::{Half, Kernel, Simd, dispatch};

/// The maximum number of elements in the buffer of a [`Reader`].
pub(super) const BUFFER: usize = 512;

/// The elements of an operand's storage.
#[derive(Clone, Copy)]
pub(crate) enum Elements<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> Elements<'a> {
    /// Returns the elements of a storage. Fails if they are not floating point.
    pub fn of(op: &str, storage: &'a CpuStorage) -> Result<Self> {
        match storage {
            CpuStorage::F32(x) => Ok(Self::F32(x)),
            CpuStorage::F64(x) => Ok(Self::F64(x)),
            CpuStorage::F16(x) => Ok(Self::F16(x)),
            CpuStorage::BF16(x) => Ok(Self::Bf16(x)),
            other => Err(not_a_float(op, other.dtype())),
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::F16(_) => DType::F16,
            Self::Bf16(_) => DType::BF16,
        }
    }
}

/// A number type that formulas compute in: f64 for f64, f32 for all other dtypes.
pub(crate) trait ComputeType: MapElement {
    /// Returns the elements if they have this type.
    fn slice(elements: Elements<'_>) -> Option<&[Self]>;

    /// Converts the elements `start`, `start + stride`, … and stores them in `to`.
    fn copy(elements: Elements<'_>, start: usize, stride: usize, to: &mut [Self]);
}

impl ComputeType for f32 {
    fn slice(elements: Elements<'_>) -> Option<&[f32]> {
        if let Elements::F32(x) = elements { Some(x) } else { None }
    }

    fn copy(elements: Elements<'_>, start: usize, stride: usize, to: &mut [f32]) {
        match elements {
            Elements::F32(x) if stride == 1 => to.copy_from_slice(&x[start..][..to.len()]),
            Elements::F32(x) => copy_strided(x, start, stride, to, |x| x),
            Elements::F64(x) => copy_strided(x, start, stride, to, |x| x as f32),
            Elements::F16(x) if stride == 1 => {
                dispatch(Widen { half: Half::F16, from: bits(&x[start..][..to.len()]), to });
            }
            Elements::F16(x) => copy_strided(x, start, stride, to, f16::to_f32),
            Elements::Bf16(x) if stride == 1 => {
                dispatch(Widen { half: Half::Bf16, from: bits(&x[start..][..to.len()]), to });
            }
            Elements::Bf16(x) => copy_strided(x, start, stride, to, bf16::to_f32),
        }
    }
}

impl ComputeType for f64 {
    fn slice(elements: Elements<'_>) -> Option<&[f64]> {
        if let Elements::F64(x) = elements { Some(x) } else { None }
    }

    fn copy(elements: Elements<'_>, start: usize, stride: usize, to: &mut [f64]) {
        match elements {
            Elements::F32(x) => copy_strided(x, start, stride, to, f64::from),
            Elements::F64(x) if stride == 1 => to.copy_from_slice(&x[start..][..to.len()]),
            Elements::F64(x) => copy_strided(x, start, stride, to, |x| x),
            Elements::F16(x) => copy_strided(x, start, stride, to, f16::to_f64),
            Elements::Bf16(x) => copy_strided(x, start, stride, to, bf16::to_f64),
        }
    }
}

/// Converts the elements `start`, `start + stride`, … of `x` and stores them in `to`.
fn copy_strided<T: Copy, E>(x: &[T], start: usize, stride: usize, to: &mut [E], convert: impl Fn(T) -> E) {
    if stride == 0 {
        let x = x[start];
        return to.iter_mut().for_each(|to| *to = convert(x));
    }
    for (to, x) in to.iter_mut().zip(x[start..].iter().step_by(stride)) {
        *to = convert(*x);
    }
}

/// `f16` or `bf16`, which have the layout of `u16`.
pub(super) trait HalfType: Copy {}
impl HalfType for f16 {}
impl HalfType for bf16 {}

/// Returns the bits of 16-bit floats.
fn bits<T: HalfType>(x: &[T]) -> &[u16] {
    // SAFETY: `f16` and `bf16` have the layout of `u16`.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
}

/// Converts 16-bit floats to `f32`.
struct Widen<'a> {
    half: Half,
    from: &'a [u16],
    to: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (from, to) in self.from.chunks(S::LANES).zip(self.to.chunks_mut(S::LANES)) {
            assert!(from.len() == to.len());
            // SAFETY: `from` and `to` have equal lengths of at most `LANES`.
            unsafe {
                let v = simd.load_half(self.half, from.as_ptr(), from.len());
                if to.len() == S::LANES {
                    simd.store(to.as_mut_ptr(), v);
                } else {
                    simd.store_partial(to.as_mut_ptr(), to.len(), v);
                }
            }
        }
    }
}

/// An operand of a formula for some consecutive elements of the result.
#[derive(Clone, Copy)]
pub(crate) enum Run<'a, E> {
    /// The same number for all elements.
    Constant(E),
    /// One number for each element.
    Slice(&'a [E]),
}

impl<E: Copy> Run<'_, E> {
    /// Returns `len` elements.
    pub fn to_vec(self, len: usize) -> Vec<E> {
        match self {
            Self::Constant(x) => vec![x; len],
            Self::Slice(x) => x.to_vec(),
        }
    }
}

/// Reads an operand in runs of `rows × columns` elements. If the elements must be copied to the buffer, a run is read
/// in segments (see [`segment_len`]).
pub(super) struct Reader<'a, E> {
    elements: Elements<'a>,
    access: Access,
    columns: usize,
    /// The distances to the next row and to the next column.
    strides: [usize; 2],
    buffer: Vec<E>,
    /// With [`Access::Repeated`], the offset of the row that the buffer holds, or `None` before the first read.
    repeated: Option<usize>,
}

/// The way in which a reader gets the elements of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Access {
    /// All elements of a run are the same number.
    Constant,
    /// A run is a slice of the storage.
    Direct,
    /// All rows of a run are equal. The buffer holds copies of one row.
    Repeated,
    /// The elements are copied from the storage to the buffer.
    Gathered,
}

impl<'a, E: ComputeType> Reader<'a, E> {
    pub fn new(elements: Elements<'a>, [rows, columns]: [usize; 2], strides: [usize; 2]) -> Self {
        let access = match strides {
            _ if strides[1] == 0 && (rows == 1 || strides[0] == 0) => Access::Constant,
            [row, 1] if (rows == 1 || row == columns) && E::slice(elements).is_some() => Access::Direct,
            [0, _] if rows > 1 => Access::Repeated,
            _ => Access::Gathered,
        };
        let buffer = match access {
            Access::Constant | Access::Direct => 0,
            Access::Repeated | Access::Gathered => segment_len(rows, columns),
        };
        Self { elements, access, columns, strides, buffer: vec![E::ZERO; buffer], repeated: None }
    }

    /// Returns `true` if the reader copies elements to its buffer. Then [`read`](Self::read) must not be called for
    /// ranges that cross a multiple of [`segment_len`].
    pub fn is_buffered(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Returns the elements `first..first + len` of the run that begins at the offset `base` of the storage.
    #[inline]
    pub fn read(&mut self, base: usize, first: usize, len: usize) -> Run<'_, E> {
        match self.access {
            Access::Constant => {
                let mut number = [E::ZERO];
                E::copy(self.elements, base, 0, &mut number);
                Run::Constant(number[0])
            }
            Access::Direct => {
                let elements = E::slice(self.elements).unwrap_or_default();
                Run::Slice(&elements[base + first..][..len])
            }
            Access::Repeated => {
                if self.repeated != Some(base) {
                    self.gather(base, 0, self.buffer.len());
                    self.repeated = Some(base);
                }
                Run::Slice(&self.buffer[first % self.buffer.len()..][..len])
            }
            Access::Gathered => {
                self.gather(base, first, len);
                Run::Slice(&self.buffer[..len])
            }
        }
    }

    /// Copies the elements `first..first + len` of a run to the buffer.
    fn gather(&mut self, base: usize, first: usize, len: usize) {
        let [row_stride, column_stride] = self.strides;
        let (mut row, mut column) = (first / self.columns, first % self.columns);
        let mut to = &mut self.buffer[..len];
        while !to.is_empty() {
            let (part, rest) = to.split_at_mut((self.columns - column).min(to.len()));
            E::copy(self.elements, base + row * row_stride + column * column_stride, column_stride, part);
            to = rest;
            row += 1;
            column = 0;
        }
    }
}

/// Returns the length of a segment: the part of a run that the buffer can hold, at most [`BUFFER`] elements. If a run
/// has several rows and a row fits in the buffer, a segment is a whole number of rows.
pub(super) fn segment_len(rows: usize, columns: usize) -> usize {
    if rows == 1 || columns > BUFFER { BUFFER } else { BUFFER - BUFFER % columns }
}
