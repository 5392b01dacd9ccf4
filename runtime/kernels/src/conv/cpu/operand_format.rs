//! The 32-bit words of an input tile: f32 numbers, or pairs of bf16 that one instruction multiplies and adds. Halves
//! (f16 or bf16) are converted to words channel by channel, in a buffer that stays in cache.

use std::borrow::Cow;
use std::ops::Range;

use crate::conv::ConvShape;
use crate::simd::{self, Half, Isa, Simd};

use super::elements::{ElementFormat, ElementPtr, Elements};

/// How a kernel reads elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperandFormat {
    /// f32, as stored.
    F32,
    /// f16 or bf16, widened to f32.
    Widened,
    /// Pairs of bf16 from two neighboring channels of a group. If the number of channels is odd, the last one is paired
    /// with zeros.
    Bf16Pairs,
}

impl OperandFormat {
    /// Returns the format for operands that are stored as `stored`. bf16 is read in pairs if the processor multiplies
    /// pairs and a group has more than one input channel.
    pub fn of(stored: ElementFormat, shape: &ConvShape, isa: Isa) -> Self {
        match stored {
            ElementFormat::F32 => Self::F32,
            ElementFormat::Half(Half::Bf16) if shape.group_in_channels() > 1 && simd::has_pairs(isa) => {
                Self::Bf16Pairs
            }
            ElementFormat::Half(_) => Self::Widened,
        }
    }

    /// Returns `shape` with one input channel for each word of the format: a pair of channels counts as one.
    pub fn shape_in_words(self, shape: &ConvShape) -> ConvShape {
        match self {
            Self::F32 | Self::Widened => *shape,
            Self::Bf16Pairs => {
                let in_channels = shape.geometry.groups * shape.group_in_channels().div_ceil(2);
                ConvShape { in_channels, ..*shape }
            }
        }
    }

    /// Returns the words of a weight `[out_channels, in_channels / groups, kernel height, kernel width]`.
    pub fn of_weight<'a>(self, shape: &ConvShape, weight: Elements<'a>) -> Cow<'a, [f32]> {
        match (self, weight) {
            (Self::Bf16Pairs, Elements::Half(_, weight)) => pair_channels(shape, weight).into(),
            _ => weight.widened(),
        }
    }
}

/// Returns words that each hold the weights of two neighboring input channels.
fn pair_channels(shape: &ConvShape, weight: &[u16]) -> Vec<f32> {
    let taps = shape.kernel[0] * shape.kernel[1];
    let word = |even: u16, odd: u16| f32::from_bits(u32::from(odd) << 16 | u32::from(even));
    let mut words = Vec::with_capacity(weight.len().div_ceil(2) + shape.out_channels * taps);
    for filter in weight.chunks_exact(shape.depth().max(1)) {
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
    /// Returns the number of words of the buffer that [`convert_window`] needs: the window and one vector, because
    /// stores may pass the end of the window.
    pub fn words(&self, lanes: usize) -> usize {
        self.rows.len() * self.columns.len() + lanes
    }
}

/// The rows of an input channel, one word per column.
#[derive(Clone, Copy)]
pub(super) struct ChannelRows {
    /// The address of row 0 and column 0 of the input, even if the window does not contain them.
    pub first: *const f32,
    /// The distance from one row to the next.
    pub pitch: usize,
}

/// Converts a window of the channel `even` to words. With `PAIRS`, pairs it with the channel `odd`, or with zeros if
/// `odd` is `None`. Returns the words, which lie in `buffer`.
///
/// # Safety
/// The channels contain the window, in rows of `width`; `buffer` has [`Window::words`] words.
#[inline(always)]
pub(super) unsafe fn convert_window<S: Simd, const PAIRS: bool>(
    simd: S,
    even: ElementPtr,
    odd: Option<ElementPtr>,
    window: &Window,
    width: usize,
    buffer: *mut f32,
) -> ChannelRows {
    let pitch = window.columns.len();
    for (i, row) in window.rows.clone().enumerate() {
        for x in (0..pitch).step_by(S::LANES) {
            let (at, lanes) = (row * width + window.columns.start + x, S::LANES.min(pitch - x));
            // SAFETY: guaranteed by the caller; words beyond the end of a row are overwritten by the next row.
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
    ChannelRows { first: buffer.wrapping_sub(window.rows.start * pitch + window.columns.start), pitch }
}
