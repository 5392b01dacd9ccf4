//! The costs of the elements of a convolution, in multiply-adds, as `examples/plan_check.rs` measured them on two
//! processors.

use super::winograd::Tile;
use crate::simd::Microarchitecture;

/// The cost of one element of each kind.
pub(super) struct CostTable {
    /// A product of a block of one channel, which waits for its loads; of up to four; of more.
    pub product: [f64; 3],
    /// The vectors of pixels that take as long as one alone, which waits for its own sums.
    pub least_vectors: usize,
    /// Copied into a tile.
    pub copied: f64,
    /// ElementFormat as a result, and as a sum that goes on with the next chunk of channels.
    pub stored: f64,
    pub sum: f64,
    /// Read in place from planes that lie a multiple of a kibibyte apart, and so in the same few sets of a cache.
    pub set_conflict: f64,
    /// A call of the kernel with lanes over pixels.
    pub call: f64,
    pub channel_lanes: ChannelLanes,
    /// Of a depthwise convolution: read, stored with its sum; and each of its planes.
    pub depthwise: [f64; 3],
    /// A product of transformed elements.
    pub transformed_product: f64,
    /// A transformed weight, and what one costs more beyond those that the last cache keeps for a core.
    pub transformed_weight: [f64; 2],
    /// A position of a tile on its way in: of tiles of 2×2, 4×4 and 6×6 outputs, and with stride 2 of 2×2 and 4×4.
    pub position_in: [f64; 5],
    /// What it costs more where a block's are too many for the second cache beside the rest; and where they are too
    /// many for it by themselves, each time that a group of panels reads it.
    pub far_position: f64,
    pub farther_position: f64,
    /// A position on its way out.
    pub position_out: f64,
    /// Transposed from tiles of channels into an NCHW result, and the part of that which an NCHWc one costs; a channel
    /// of a run of tiles.
    pub transposed: f64,
    pub transposed_nchwc: f64,
    pub run: f64,
    /// Split from a dilated image or joined into one; each plane that is.
    pub split: f64,
    pub split_plane: f64,
}

/// The costs of lanes over channels: a product; a result or sum that is stored; an element that is copied into a tile;
/// a weight; a call.
pub(super) struct ChannelLanes {
    pub product: f64,
    pub stored: f64,
    pub copied: f64,
    pub weight: f64,
    pub call: f64,
}

/// The weights that the last cache keeps for a core.
pub(super) const NEAR_WEIGHTS: f64 = 2e6;
/// The positions of a block that the second cache has room for beside the rest, and by themselves.
pub(super) const NEAR_POSITIONS: usize = 130_000;
pub(super) const MOST_POSITIONS: usize = 400_000;
/// A weight to transform, where it is for one call alone.
pub(super) const PACKED: f64 = 30.;

const ZEN_5: CostTable = CostTable {
    product: [4.5, 1.03, 0.91],
    least_vectors: 2,
    copied: 11.,
    stored: 4.6,
    sum: 3.4,
    set_conflict: 7.,
    call: 27e3,
    channel_lanes: ChannelLanes { product: 0.95, stored: 4.6, copied: 6., weight: 5., call: 27e3 },
    depthwise: [4., 16.2, 1800.],
    transformed_product: 1.04,
    transformed_weight: [5., 7.5],
    position_in: [11.9, 13.3, 15.3, 11.9, 11.9],
    far_position: 4.,
    farther_position: 0.,
    position_out: 4.4,
    transposed: 27.1,
    transposed_nchwc: 0.5,
    run: 253.,
    split: 40.,
    split_plane: 1240.,
};

const EMERALD_RAPIDS: CostTable = CostTable {
    product: [3.5, 1.04, 1.04],
    least_vectors: 1,
    copied: 18.,
    stored: 6.8,
    sum: 28.,
    set_conflict: 1.2,
    call: 980.,
    channel_lanes: ChannelLanes { product: 1.04, stored: 6.8, copied: 9., weight: 5., call: 980. },
    depthwise: [7.1, 23., 1300.],
    transformed_product: 0.88,
    transformed_weight: [8.8, 3.5],
    position_in: [38., 39., 40., 46., 64.],
    far_position: 16.,
    farther_position: 4.,
    position_out: 6.1,
    transposed: 34.,
    transposed_nchwc: 0.5,
    run: 160.,
    split: 52.,
    split_plane: 1800.,
};

impl CostTable {
    /// Returns the table of the processor that stands for a microarchitecture.
    pub const fn of(maker: Microarchitecture) -> &'static Self {
        match maker {
            Microarchitecture::Intel => &EMERALD_RAPIDS,
            Microarchitecture::Other => &ZEN_5,
        }
    }

    pub const fn position_in(&self, tile: Tile) -> f64 {
        let [two, four, six, strided_two, strided_four] = self.position_in;
        match tile {
            Tile::Two => two,
            Tile::Four => four,
            Tile::Six => six,
            Tile::StridedTwo => strided_two,
            Tile::StridedFour => strided_four,
        }
    }
}
