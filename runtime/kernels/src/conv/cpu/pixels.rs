//! The elements of images as they are stored, f32 or halves: kernels widen them where they read them, into
//! registers or small pieces that stay in cache, and round results where they store them.

use crate::simd::{Half, Isa, Simd};
use candle_core::WithDType;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::borrow::Cow;

use super::finite::{are_finite, is_finite};

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Single,
    Half(Half),
}

/// An element that these kernels read, compute with in f32, and write.
pub(in crate::conv) trait Element: WithDType + Default {
    const STORED: Stored;

    fn pixels(elements: &[Self]) -> Pixels<'_>;

    /// In f32, copied only where they are of another type.
    fn widened(elements: &[Self]) -> Cow<'_, [f32]>;

    fn round(x: f32) -> Self;
}

impl Element for f32 {
    const STORED: Stored = Stored::Single;

    fn pixels(elements: &[Self]) -> Pixels<'_> {
        Pixels::Single(elements)
    }

    fn widened(elements: &[Self]) -> Cow<'_, [f32]> {
        Cow::Borrowed(elements)
    }

    fn round(x: f32) -> Self {
        x
    }
}

macro_rules! half_element {
    ($type:ident, $half:ident) => {
        impl Element for $type {
            const STORED: Stored = Stored::Half(Half::$half);

            fn pixels(elements: &[Self]) -> Pixels<'_> {
                Pixels::Half(Half::$half, elements.reinterpret_cast())
            }

            fn widened(elements: &[Self]) -> Cow<'_, [f32]> {
                Cow::Owned(elements.iter().map(|x| x.to_f32()).collect())
            }

            fn round(x: f32) -> Self {
                Self::from_f32(x)
            }
        }
    };
}

half_element!(f16, F16);
half_element!(bf16, Bf16);

/// The elements of an image tensor, or of a weight.
#[derive(Clone, Copy, Debug)]
pub enum Pixels<'a> {
    Single(&'a [f32]),
    /// The bits of halves.
    Half(Half, &'a [u16]),
}

impl<'a> From<&'a [f32]> for Pixels<'a> {
    fn from(elements: &'a [f32]) -> Self {
        Self::Single(elements)
    }
}

impl<'a> Pixels<'a> {
    pub(in crate::conv) fn len(self) -> usize {
        match self {
            Self::Single(elements) => elements.len(),
            Self::Half(_, elements) => elements.len(),
        }
    }

    pub(in crate::conv) fn stored(self) -> Stored {
        match self {
            Self::Single(_) => Stored::Single,
            Self::Half(half, _) => Stored::Half(half),
        }
    }

    /// Where they begin.
    pub(in crate::conv) fn source(self) -> Source {
        match self {
            Self::Single(elements) => Source::Single(elements.as_ptr()),
            Self::Half(half, elements) => Source::Half(half, elements.as_ptr()),
        }
    }

    /// All of them in f32, copied only where they are halves.
    pub(in crate::conv) fn widened(self) -> Cow<'a, [f32]> {
        match self {
            Self::Single(elements) => Cow::Borrowed(elements),
            Self::Half(half, elements) => Cow::Owned(elements.iter().map(|x| half.widen(*x)).collect()),
        }
    }

    /// Whether none is infinite or NaN.
    pub(in crate::conv) fn is_finite(self, isa: Isa) -> bool {
        match self {
            Self::Single(elements) => is_finite(elements, isa),
            Self::Half(half, elements) => are_finite(half, elements),
        }
    }
}

/// A place among the elements of an image.
#[derive(Clone, Copy)]
pub(in crate::conv) enum Source {
    Single(*const f32),
    Half(Half, *const u16),
}

impl Source {
    /// `elements` on, or before where the sum wraps around; it may lie anywhere until it is read.
    #[inline(always)]
    pub fn at(self, elements: usize) -> Self {
        match self {
            Self::Single(from) => Self::Single(from.wrapping_add(elements)),
            Self::Half(half, from) => Self::Half(half, from.wrapping_add(elements)),
        }
    }

    /// The first `lanes` elements, widened; zero in all other lanes.
    ///
    /// # Safety
    /// They are in bounds, and no more than a vector has.
    #[inline(always)]
    pub unsafe fn load<S: Simd>(self, simd: S, lanes: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Single(from) if lanes == S::LANES => simd.load(from),
                Self::Single(from) => simd.load_partial(from, lanes),
                Self::Half(half, from) => simd.load_half(half, from, lanes),
            }
        }
    }
}

/// A place among the elements of the output. The tasks that share it write disjoint elements.
#[derive(Clone, Copy)]
pub(in crate::conv) enum Output {
    Single(*mut f32),
    Half(Half, *mut u16),
}

// SAFETY: whoever has it writes elements of its own, and reads no others.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Of elements stored in this way, from `first` on, an address of one of them.
    pub fn of<E: Element>(first: *mut E) -> Self {
        match E::STORED {
            Stored::Single => Self::Single(first.cast()),
            Stored::Half(half) => Self::Half(half, first.cast()),
        }
    }

    #[inline(always)]
    pub fn at(self, elements: usize) -> Self {
        match self {
            Self::Single(to) => Self::Single(to.wrapping_add(elements)),
            Self::Half(half, to) => Self::Half(half, to.wrapping_add(elements)),
        }
    }

    /// Stores the first `lanes` lanes, rounded.
    ///
    /// # Safety
    /// There are so many elements, and nobody else refers to them.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(self, simd: S, lanes: usize, value: S::V) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Single(to) if lanes == S::LANES => simd.store(to, value),
                Self::Single(to) => simd.store_partial(to, lanes, value),
                Self::Half(half, to) => simd.store_half(half, to, lanes, value),
            }
        }
    }
}

/// Widens `count` halves.
///
/// # Safety
/// `from` has so many, and `to` room for a vector more.
#[inline(always)]
pub(super) unsafe fn widen_all<S: Simd>(simd: S, half: Half, from: *const u16, count: usize, to: *mut f32) {
    for i in (0..count).step_by(S::LANES) {
        // SAFETY: the caller's promise.
        unsafe { simd.store(to.add(i), simd.load_half(half, from.add(i), S::LANES.min(count - i))) }
    }
}

/// Rounds `count` numbers to halves.
///
/// # Safety
/// `from` has so many, and `to` room for them.
#[inline(always)]
pub(super) unsafe fn round_all<S: Simd>(simd: S, half: Half, from: *const f32, count: usize, to: *mut u16) {
    for i in (0..count).step_by(S::LANES) {
        let lanes = S::LANES.min(count - i);
        // SAFETY: the caller's promise.
        unsafe {
            let value = if lanes == S::LANES {
                simd.load(from.add(i))
            } else {
                simd.load_partial(from.add(i), lanes)
            };
            simd.store_half(half, to.add(i), lanes, value);
        }
    }
}
