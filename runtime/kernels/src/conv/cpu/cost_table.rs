//! The costs from which the time of an algorithm is estimated. They were measured on two processors with
//! `examples/plan_check.rs`. Their unit is a multiply-add of f32.

use crate::simd::Microarchitecture;

use super::winograd::WinogradTile;

/// The costs of one processor. Most fields are the cost of one element, product, call or plane. Fields whose docs do
/// not name an algorithm belong to the kernel with lanes over pixels.
pub(super) struct CostTable {
    /// A product in a register tile of one output channel, of two to four channels, and of more channels.
    pub product: [f64; 3],
    /// An image with fewer vectors of pixels than this costs as much as an image with this many, because its register
    /// tiles have too few independent sums to hide the latency of a multiply-add.
    pub min_vectors: usize,
    /// An element copied into an input tile.
    pub copied: f64,
    /// An element stored as a result.
    pub stored: f64,
    /// An element stored as a sum, to which the next chunk of channels adds its products.
    pub stored_sum: f64,
    /// An element read in place from planes whose distance is a multiple of 1 KiB, which causes cache-set conflicts.
    pub set_conflict: f64,
    /// A call of the kernel with lanes over pixels.
    pub call: f64,
    /// The costs of the kernel with lanes over output channels.
    pub channel_lanes: ChannelLanes,
    /// Depthwise: an element read, an element summed and stored, and a plane.
    pub depthwise: [f64; 3],
    /// Winograd: a product of transformed elements.
    pub transformed_product: f64,
    /// Winograd: a transformed weight that is read, and the surcharge for each weight beyond the first [`LLC_WEIGHTS`].
    pub transformed_weight: [f64; 2],
    /// Winograd: a transformed input element, for each [`WinogradTile`] in the order of its variants.
    pub transformed_input: [f64; 5],
    /// Winograd: the surcharge for a transformed input element if its block of tiles has more than
    /// [`SHARED_L2_ELEMENTS`] such elements.
    pub beyond_shared_l2: f64,
    /// Winograd: the surcharge for a transformed input element if its block of tiles has more than
    /// [`WHOLE_L2_ELEMENTS`] such elements. Charged once for each group of
    /// [`GROUP_CHANNELS`](super::winograd::GROUP_CHANNELS) output channels, because each group reads the element.
    pub beyond_whole_l2: f64,
    /// Winograd: an element of the matrix products, which the output transform reads.
    pub matrix_product: f64,
    /// Winograd: an element of an `Nchw` result, which is transposed from vectors of channels.
    pub nchw_result: f64,
    /// Winograd: the cost of an element of an `Nchwc` result, as a fraction of `nchw_result`.
    pub nchwc_result_fraction: f64,
    /// Winograd: one channel of a strip of neighboring tiles that are transformed together.
    pub strip: f64,
    /// Dilated Winograd: an element that is copied from the input to a phase, or from a phase to the output.
    pub split: f64,
    /// Dilated Winograd: a channel of a phase of the input or output.
    pub split_plane: f64,
}

/// The costs of lanes over channels.
pub(super) struct ChannelLanes {
    /// A product in a panel of one vector of output channels, and in a panel of two vectors, which uses each broadcast
    /// input element twice.
    pub product: [f64; 2],
    /// An element stored as a result or as a sum.
    pub stored: f64,
    /// An element copied into an input tile.
    pub copied: f64,
    /// A weight that is read.
    pub weight: f64,
    /// A call of the kernel.
    pub call: f64,
}

/// The number of transformed weights that fit in a core's share of the last-level cache.
pub(super) const LLC_WEIGHTS: f64 = 2e6;
/// The number of transformed input elements that fit in a core's L2 cache beside other data.
pub(super) const SHARED_L2_ELEMENTS: usize = 130_000;
/// The number of transformed input elements that fit in a core's L2 cache if it holds nothing else.
pub(super) const WHOLE_L2_ELEMENTS: usize = 400_000;
/// The cost of computing one transformed weight. Charged if the packed weight is not cached between calls.
pub(super) const WEIGHT_TRANSFORM: f64 = 30.;

const ZEN_5: CostTable = CostTable {
    product: [4.5, 1.03, 0.91],
    min_vectors: 2,
    copied: 11.,
    stored: 4.6,
    stored_sum: 3.4,
    set_conflict: 7.,
    call: 27e3,
    channel_lanes: ChannelLanes { product: [1.4, 1.15], stored: 4.6, copied: 6., weight: 5., call: 27e3 },
    depthwise: [4., 16.2, 1800.],
    transformed_product: 1.04,
    transformed_weight: [5., 7.5],
    transformed_input: [11.9, 13.3, 15.3, 11.9, 11.9],
    beyond_shared_l2: 4.,
    beyond_whole_l2: 0.,
    matrix_product: 4.4,
    nchw_result: 27.1,
    nchwc_result_fraction: 0.5,
    strip: 253.,
    split: 40.,
    split_plane: 1240.,
};

const EMERALD_RAPIDS: CostTable = CostTable {
    product: [3.5, 1.04, 1.04],
    min_vectors: 1,
    copied: 18.,
    stored: 6.8,
    stored_sum: 28.,
    set_conflict: 1.2,
    call: 980.,
    channel_lanes: ChannelLanes { product: [1.5, 1.25], stored: 6.8, copied: 9., weight: 5., call: 980. },
    depthwise: [7.1, 23., 1300.],
    transformed_product: 0.88,
    transformed_weight: [8.8, 3.5],
    transformed_input: [38., 39., 40., 46., 64.],
    beyond_shared_l2: 16.,
    beyond_whole_l2: 4.,
    matrix_product: 6.1,
    nchw_result: 34.,
    nchwc_result_fraction: 0.5,
    strip: 160.,
    split: 52.,
    split_plane: 1800.,
};

impl CostTable {
    /// Returns the table for a microarchitecture.
    pub const fn of(microarchitecture: Microarchitecture) -> &'static Self {
        match microarchitecture {
            Microarchitecture::Intel => &EMERALD_RAPIDS,
            Microarchitecture::Other => &ZEN_5,
        }
    }

    /// Returns the cost of a transformed input element.
    pub const fn transformed_input(&self, tile: WinogradTile) -> f64 {
        self.transformed_input[tile as usize]
    }
}
