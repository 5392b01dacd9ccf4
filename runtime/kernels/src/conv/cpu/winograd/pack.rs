//! The weight, transformed by `G` on both sides and packed for the matrix product.

use std::mem::MaybeUninit;

use crate::memory::{AlignedVec, CACHE_LINE_FLOATS};
use crate::parallel::for_each_chunk;
use crate::simd::{Kernel, Simd, dispatch_loops};

use super::scheme::{F2, F4, F6, Scheme, Strided2, Strided4};

/// The number of output channels of a panel, which equals the number of floats in a cache line.
pub(super) const PANEL: usize = CACHE_LINE_FLOATS;

/// The size of a tile of outputs, and the stride of the convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WinogradTile {
    /// 2×2 outputs from 16 products.
    Two,
    /// 4×4 outputs from 36 products.
    Four,
    /// 6×6 outputs from 64 products.
    Six,
    /// 2×2 outputs with stride 2, from 25 products.
    StridedTwo,
    /// 4×4 outputs with stride 2, from 81 products.
    StridedFour,
}

impl WinogradTile {
    /// All tiles.
    pub const ALL: [Self; 5] = [Self::Two, Self::Four, Self::Six, Self::StridedTwo, Self::StridedFour];

    /// Returns the number of rows of outputs, which is also the number of columns.
    pub const fn outputs(self) -> usize {
        match self {
            Self::Two | Self::StridedTwo => 2,
            Self::Four | Self::StridedFour => 4,
            Self::Six => 6,
        }
    }

    /// Returns the stride on both axes.
    pub const fn stride(self) -> usize {
        match self {
            Self::Two | Self::Four | Self::Six => 1,
            Self::StridedTwo | Self::StridedFour => 2,
        }
    }

    /// Returns the maximum number of input channels for which the relative error of sums stays well below 2·10⁻⁵.
    /// Larger tiles are less accurate.
    pub const fn max_channels(self) -> usize {
        match self {
            Self::Two | Self::StridedTwo => 1 << 15,
            Self::Four | Self::StridedFour => 1 << 12,
            Self::Six => 768,
        }
    }

    /// Returns the number of positions of a transformed tile. It equals the number of input pixels that a tile reads,
    /// and the number of products of a tile for each pair of an input and an output channel.
    pub const fn positions(self) -> usize {
        ((self.outputs() - 1) * self.stride() + 3).pow(2)
    }
}

/// A weight `[out_channels, in_channels, 3, 3]`, transformed and packed as
/// `[out_channels / PANEL][position][in_channel][PANEL]`, with zeros after the last output channel.
pub(super) struct PackedWinograd {
    pub(super) tile: WinogradTile,
    pub(super) out_channels: usize,
    pub(super) in_channels: usize,
    pub(super) floats: AlignedVec,
}

impl PackedWinograd {
    /// Transforms a contiguous weight `[out_channels, in_channels, 3, 3]` in f64, and packs the result.
    ///
    /// # Panics
    /// Panics if `weight` does not have `out_channels · in_channels · 9` elements.
    pub fn new(weight: &[f32], out_channels: usize, in_channels: usize, tile: WinogradTile) -> Self {
        assert_eq!(
            weight.len(),
            out_channels * in_channels * 9,
            "expected a weight [out_channels, in_channels, 3, 3]"
        );
        let panel_len = tile.positions() * in_channels * PANEL;
        let count = out_channels.div_ceil(PANEL) * panel_len;
        let write = |floats: &mut [MaybeUninit<f32>]| {
            for_each_chunk(floats, panel_len, |panel, floats| {
                let from = panel * PANEL * in_channels * 9;
                let weight = &weight[from..weight.len().min(from + PANEL * in_channels * 9)];
                dispatch_loops(Panel { tile, weight, in_channels, floats });
            });
        };
        // SAFETY: each panel initializes all of its floats.
        let floats = unsafe { AlignedVec::written_by(count, write) };
        Self { tile, out_channels, in_channels, floats }
    }
}

/// The weights of up to [`PANEL`] output channels, and the panel of the packed weight to which they are written.
struct Panel<'a> {
    tile: WinogradTile,
    weight: &'a [f32],
    in_channels: usize,
    floats: &'a mut [MaybeUninit<f32>],
}

/// One number for each output channel of a panel.
type PanelRow = [f64; PANEL];

impl Kernel for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.tile {
            WinogradTile::Two => self.pack::<F2, 2, 4>(),
            WinogradTile::Four => self.pack::<F4, 4, 6>(),
            WinogradTile::Six => self.pack::<F6, 6, 8>(),
            WinogradTile::StridedTwo => self.pack::<Strided2, 2, 5>(),
            WinogradTile::StridedFour => self.pack::<Strided4, 4, 9>(),
        }
    }
}

impl Panel<'_> {
    /// Initializes `floats`, `[position][in_channel][PANEL]`.
    #[inline(always)]
    fn pack<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(self) {
        let Self { weight, in_channels, floats, .. } = self;
        let mut filters = [[0.; PANEL]; 9];
        for channel in 0..in_channels {
            for (lane, weight) in weight.chunks_exact(in_channels * 9).enumerate() {
                for tap in 0..9 {
                    filters[tap][lane] = f64::from(weight[channel * 9 + tap]);
                }
            }
            // `G g`, and from it `G g Gᵀ`.
            let mut rows = [[[0.; PANEL]; 3]; IN];
            for (row, factors) in rows.iter_mut().zip(&F::FILTER) {
                for x in 0..3 {
                    row[x] = dot(factors, [&filters[x], &filters[3 + x], &filters[6 + x]]);
                }
            }
            for (y, [a, b, c]) in rows.iter().enumerate() {
                for (x, factors) in F::FILTER.iter().enumerate() {
                    let sums = dot(factors, [a, b, c]);
                    let to = &mut floats[((y * IN + x) * in_channels + channel) * PANEL..][..PANEL];
                    for (to, sum) in to.iter_mut().zip(&sums) {
                        to.write(*sum as f32);
                    }
                }
            }
        }
    }
}

/// Returns `factors[0] · a + factors[1] · b + factors[2] · c` for each output channel of a panel.
#[inline(always)]
fn dot(factors: &[f64; 3], [a, b, c]: [&PanelRow; 3]) -> PanelRow {
    let mut sums = [0.; PANEL];
    for (lane, sum) in sums.iter_mut().enumerate() {
        *sum = factors[0] * a[lane] + factors[1] * b[lane] + factors[2] * c[lane];
    }
    sums
}
