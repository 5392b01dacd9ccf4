//! The weight, transformed by `G` on both sides and laid out as the matrix product reads it.

use super::scheme::{F2, F4, F6, Scheme};
use rayon::prelude::*;

/// The floats of a cache line, and the output channels that one step of the product handles.
pub(super) const PANEL: usize = 16;

/// A cache line of floats.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [f32; PANEL]);

impl Line {
    pub const ZERO: Self = Self([0.; PANEL]);

    pub fn floats(lines: &[Self]) -> &[f32] {
        // SAFETY: a line is `PANEL` floats without padding.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * PANEL) }
    }

    pub fn floats_mut(lines: &mut [Self]) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * PANEL) }
    }
}

/// The size of a tile of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 2×2 outputs from 16 products.
    Two,
    /// 4×4 outputs from 36 products.
    Four,
    /// 6×6 outputs from 64 products.
    Six,
}

impl Tile {
    /// The rows, or columns, of outputs.
    pub const fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Six => 6,
        }
    }

    /// The products a channel pair takes.
    pub const fn positions(self) -> usize {
        (self.outputs() + 2).pow(2)
    }
}

/// A weight `[out_channels, in_channels, 3, 3]`, transformed and packed as
/// `[out_channels / PANEL][position][in_channel][PANEL]`, zeros after the last output channel.
#[derive(Clone, Debug)]
pub struct PackedWinograd {
    pub(super) tile: Tile,
    pub(super) out_channels: usize,
    pub(super) in_channels: usize,
    pub(super) lines: Vec<Line>,
}

impl PackedWinograd {
    /// Transforms `weight` `[out_channels, in_channels, 3, 3]`, contiguous, in double precision.
    ///
    /// # Panics
    /// Where `weight` has another number of elements.
    pub fn new(weight: &[f32], out_channels: usize, in_channels: usize, tile: Tile) -> Self {
        assert_eq!(weight.len(), out_channels * in_channels * 9, "weight is not [out, in, 3, 3]");
        let panels = out_channels.div_ceil(PANEL);
        let mut lines = vec![Line([0.; PANEL]); panels * tile.positions() * in_channels];
        if !lines.is_empty() {
            let panel_lines = tile.positions() * in_channels;
            lines.par_chunks_mut(panel_lines).zip(weight.par_chunks(PANEL * in_channels * 9)).for_each(
                |(panel, weight)| match tile {
                    Tile::Two => pack_panel::<F2, 2, 4>(weight, in_channels, panel),
                    Tile::Four => pack_panel::<F4, 4, 6>(weight, in_channels, panel),
                    Tile::Six => pack_panel::<F6, 6, 8>(weight, in_channels, panel),
                },
            );
        }
        Self { tile, out_channels, in_channels, lines }
    }

    /// The size of the tiles it was made for.
    pub fn tile(&self) -> Tile {
        self.tile
    }
}

fn pack_panel<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    weight: &[f32],
    in_channels: usize,
    panel: &mut [Line],
) {
    for (lane, filters) in weight.chunks_exact(in_channels * 9).enumerate() {
        for (channel, filter) in filters.chunks_exact(9).enumerate() {
            let transformed = transform_filter::<F, OUT, IN>(filter);
            for (position, value) in transformed.as_flattened().iter().enumerate() {
                panel[position * in_channels + channel].0[lane] = *value as f32;
            }
        }
    }
}

/// `G g Gᵀ`.
fn transform_filter<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    filter: &[f32],
) -> [[f64; IN]; IN] {
    let dot = |g: [f64; 3], x: [f64; 3]| g[0] * x[0] + g[1] * x[1] + g[2] * x[2];
    let columns: [[f64; 3]; IN] = F::FILTER
        .map(|g| std::array::from_fn(|x| dot(g, std::array::from_fn(|y| f64::from(filter[y * 3 + x])))));
    columns.map(|row| F::FILTER.map(|g| dot(g, row)))
}
