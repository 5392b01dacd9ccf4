//! What the 32-bit words of a tile are: numbers of f32, or pairs of bf16 that one instruction multiplies and
//! adds. Halves become words channel by channel, in a buffer that stays in cache.

use super::elements::{ElementFormat, ElementPtr, Elements};
use crate::conv::ConvShape;
use crate::simd::{self, Half, Isa, Simd};
use std::borrow::Cow;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperandFormat {
    /// Of the input as it is.
    F32,
    /// Halves, widened.
    Widened,
    /// The bf16 of two neighbouring channels of a group, of the second a zero where there is none.
    Bf16Pairs,
}

impl OperandFormat {
    /// Pairs where the machine and the operands have them.
    pub fn of(stored: ElementFormat, shape: &ConvShape, isa: Isa) -> Self {
        match stored {
            ElementFormat::F32 => Self::F32,
            ElementFormat::Half(Half::Bf16) if shape.group_inputs() > 1 && simd::has_pairs(isa) => {
                Self::Bf16Pairs
            }
            ElementFormat::Half(_) => Self::Widened,
        }
    }

    /// The shape with a channel for each word.
    pub fn shape(self, shape: &ConvShape) -> ConvShape {
        match self {
            Self::F32 | Self::Widened => *shape,
            Self::Bf16Pairs => {
                let in_channels = shape.geometry.groups * shape.group_inputs().div_ceil(2);
                ConvShape { in_channels, ..*shape }
            }
        }
    }

    /// The words of a weight `[out_channels, in_channels / groups, kernel]`.
    pub fn of_weight<'a>(self, shape: &ConvShape, weight: Elements<'a>) -> Cow<'a, [f32]> {
        match (self, weight) {
            (Self::Bf16Pairs, Elements::Half(_, weight)) => paired(shape, weight).into(),
            _ => weight.widened(),
        }
    }
}

fn paired(shape: &ConvShape, weight: &[u16]) -> Vec<f32> {
    let taps = shape.kernel[0] * shape.kernel[1];
    let word = |even: u16, odd: u16| f32::from_bits(u32::from(odd) << 16 | u32::from(even));
    let mut words = Vec::with_capacity(weight.len().div_ceil(2) + shape.out_channels * taps);
    for filter in weight.chunks_exact(shape.taps().max(1)) {
        for pair in filter.chunks(2 * taps) {
            let (even, odd) = pair.split_at(taps);
            words.extend(
                even.iter().enumerate().map(|(i, even)| word(*even, odd.get(i).copied().unwrap_or(0))),
            );
        }
    }
    words
}

/// The rows and columns of the input that the patch of a task reads.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Window {
    /// The words of its buffer, which may be written a vector too far.
    pub fn words(&self, lanes: usize) -> usize {
        self.rows.len() * self.columns.len() + lanes
    }
}

/// The rows of a channel of words, a word a column.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// Where the first row and column of the input would be.
    pub first: *const f32,
    /// From one row to the next.
    pub pitch: usize,
}

/// Makes words of a window of the channel at `even`, with `PAIRS` and of that at `odd`, if there is one.
///
/// # Safety
/// The channels have the window, in rows of `width`; `buffer` has as many words as the window says.
#[inline(always)]
pub(super) unsafe fn read<S: Simd, const PAIRS: bool>(
    simd: S,
    even: ElementPtr,
    odd: Option<ElementPtr>,
    window: &Window,
    width: usize,
    buffer: *mut f32,
) -> Rows {
    let pitch = window.columns.len();
    for (i, row) in window.rows.clone().enumerate() {
        for x in (0..pitch).step_by(S::LANES) {
            let (at, lanes) = (row * width + window.columns.start + x, S::LANES.min(pitch - x));
            // SAFETY: the caller's promise; what is written beyond the row is written again with the next.
            unsafe {
                let mut word = even.at(at).load(simd, lanes);
                if PAIRS {
                    let odd = odd.map_or_else(|| simd.zero(), |odd| odd.at(at).load(simd, lanes));
                    word = simd.pair(word, odd);
                }
                simd.store(buffer.add(i * pitch + x), word);
            }
        }
    }
    Rows { first: buffer.wrapping_sub(window.rows.start * pitch + window.columns.start), pitch }
}
