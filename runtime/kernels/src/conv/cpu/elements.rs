//! The elements of images as they are stored: f32, f16 or bf16. Kernels convert f16 and bf16 to f32 when they load
//! them, into registers or small buffers that stay in cache, and round results when they store them.

use std::borrow::Cow;

use candle_core::WithDType;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::simd::{Half, Isa, Simd, halves_are_finite, is_finite};

/// The storage format of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementFormat {
    /// 32-bit floats.
    F32,
    /// f16 or bf16.
    Half(Half),
}

/// An element type that the kernels load, widen to f32, and store.
pub(in crate::conv) trait Element: WithDType + Default {
    const FORMAT: ElementFormat;

    /// Returns the slice as [`Elements`].
    fn elements(elements: &[Self]) -> Elements<'_>;

    /// Rounds `x` to this type.
    fn round(x: f32) -> Self;
}

impl Element for f32 {
    const FORMAT: ElementFormat = ElementFormat::F32;

    fn elements(elements: &[Self]) -> Elements<'_> {
        Elements::F32(elements)
    }

    fn round(x: f32) -> Self {
        x
    }
}

macro_rules! half_element {
    ($type:ident, $half:ident) => {
        impl Element for $type {
            const FORMAT: ElementFormat = ElementFormat::Half(Half::$half);

            fn elements(elements: &[Self]) -> Elements<'_> {
                Elements::Half(Half::$half, elements.reinterpret_cast())
            }

            fn round(x: f32) -> Self {
                Self::from_f32(x)
            }
        }
    };
}

half_element!(f16, F16);
half_element!(bf16, Bf16);

/// The elements of an image tensor, a weight, or a vector with one number per channel.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// The bits of numbers of f16 or bf16.
    Half(Half, &'a [u16]),
}

impl<'a> From<&'a [f32]> for Elements<'a> {
    fn from(elements: &'a [f32]) -> Self {
        Self::F32(elements)
    }
}

impl<'a> Elements<'a> {
    pub(in crate::conv) fn len(self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::Half(_, elements) => elements.len(),
        }
    }

    /// Returns the elements of a tensor that is always f32, such as an `Nchwc` input.
    pub(in crate::conv) fn as_f32(self) -> &'a [f32] {
        match self {
            Self::F32(elements) => elements,
            Self::Half(..) => unreachable!("expected f32 elements"),
        }
    }

    /// Returns the address of the first element.
    pub(in crate::conv) fn as_ptr(self) -> ElementPtr {
        match self {
            Self::F32(elements) => ElementPtr::F32(elements.as_ptr()),
            Self::Half(half, elements) => ElementPtr::Half(half, elements.as_ptr()),
        }
    }

    /// Returns all elements in f32, copied only if they are f16 or bf16.
    pub(in crate::conv) fn widened(self) -> Cow<'a, [f32]> {
        match self {
            Self::F32(elements) => Cow::Borrowed(elements),
            Self::Half(half, elements) => Cow::Owned(elements.iter().map(|x| half.widen(*x)).collect()),
        }
    }

    /// Returns `true` if no element is infinite or NaN.
    pub(in crate::conv) fn is_finite(self, isa: Isa) -> bool {
        match self {
            Self::F32(elements) => is_finite(elements, isa),
            Self::Half(half, elements) => halves_are_finite(half, elements),
        }
    }
}

/// The address of an element of an image.
#[derive(Clone, Copy)]
pub(in crate::conv) enum ElementPtr {
    F32(*const f32),
    Half(Half, *const u16),
}

// SAFETY: the elements are only read.
unsafe impl Send for ElementPtr {}
// SAFETY: as above.
unsafe impl Sync for ElementPtr {}

impl ElementPtr {
    /// Returns the address that is `elements` elements further on. The address may wrap around or be out of bounds if
    /// it is not read.
    #[inline(always)]
    pub fn at(self, elements: usize) -> Self {
        match self {
            Self::F32(from) => Self::F32(from.wrapping_add(elements)),
            Self::Half(half, from) => Self::Half(half, from.wrapping_add(elements)),
        }
    }

    /// Returns the first `lanes` elements, widened, and zeros in the other lanes.
    ///
    /// # Safety
    /// The elements are in bounds, and `lanes ≤ LANES`.
    #[inline(always)]
    pub unsafe fn load<S: Simd>(self, simd: S, lanes: usize) -> S::V {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match self {
                Self::F32(from) if lanes == S::LANES => simd.load(from),
                Self::F32(from) => simd.load_partial(from, lanes),
                Self::Half(half, from) => simd.load_half(half, from, lanes),
            }
        }
    }
}

/// The address of an element of the output. The tasks that share it write disjoint elements.
#[derive(Clone, Copy)]
pub(in crate::conv) enum OutputPtr {
    F32(*mut f32),
    Half(Half, *mut u16),
}

// SAFETY: tasks write disjoint elements, and a task reads only elements that it has written.
unsafe impl Send for OutputPtr {}
// SAFETY: as above.
unsafe impl Sync for OutputPtr {}

impl OutputPtr {
    /// Returns the address of the element `first`.
    pub fn of<E: Element>(first: *mut E) -> Self {
        match E::FORMAT {
            ElementFormat::F32 => Self::F32(first.cast()),
            ElementFormat::Half(half) => Self::Half(half, first.cast()),
        }
    }

    /// Returns the address of an element of an output that is always f32, such as an `Nchwc` output.
    #[inline(always)]
    pub fn as_f32(self) -> *mut f32 {
        match self {
            Self::F32(to) => to,
            Self::Half(..) => unreachable!("expected an f32 output"),
        }
    }

    /// Returns the address that is `elements` elements further on.
    #[inline(always)]
    pub fn at(self, elements: usize) -> Self {
        match self {
            Self::F32(to) => Self::F32(to.wrapping_add(elements)),
            Self::Half(half, to) => Self::Half(half, to.wrapping_add(elements)),
        }
    }

    /// Stores the first `lanes` lanes, rounded.
    ///
    /// # Safety
    /// The elements are in bounds, and no other task accesses them.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(self, simd: S, lanes: usize, value: S::V) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match self {
                Self::F32(to) if lanes == S::LANES => simd.store(to, value),
                Self::F32(to) => simd.store_partial(to, lanes, value),
                Self::Half(half, to) => simd.store_half(half, to, lanes, value),
            }
        }
    }
}

/// Copies `count` elements, and converts them from the format of `from` to that of `to`.
///
/// # Safety
/// `from` and `to` have `count` elements. No other task accesses the elements of `to`.
#[inline(always)]
pub(super) unsafe fn convert_all<S: Simd>(simd: S, from: ElementPtr, count: usize, to: OutputPtr) {
    for i in (0..count).step_by(S::LANES) {
        let lanes = S::LANES.min(count - i);
        // SAFETY: guaranteed by the caller.
        unsafe { to.at(i).store(simd, lanes, from.at(i).load(simd, lanes)) }
    }
}
