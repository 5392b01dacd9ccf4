//! A convolution problem and the algorithms that support it.

use crate::conv::ConvShape;
use crate::exact::is_exact;
use crate::layout::Layout;
use crate::simd::{Isa, Microarchitecture};

use super::elements::ElementFormat;
use super::winograd::WinogradTile;
use super::{depthwise, pixel_lanes};

/// Everything that the choice of an algorithm depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvProblem {
    /// The sizes, stride, padding, dilation and groups.
    pub shape: ConvShape,
    /// The element type of input, weight, residual and output.
    pub format: ElementFormat,
    /// The layout of the input.
    pub input: Layout,
    /// The layout of the output and of the residual.
    pub output: Layout,
    /// Whether the packed weight is cached between calls.
    pub weight_cached: bool,
    /// The instruction set.
    pub isa: Isa,
    /// The microarchitecture, which determines the costs.
    pub microarchitecture: Microarchitecture,
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Depthwise convolution, row by row, without an input tile.
    Depthwise,
    /// Register tiles of output channels × vectors of pixels. The pixels are read from an input tile.
    PixelLanes,
    /// [`PixelLanes`](Self::PixelLanes) for a pointwise convolution. Reads the pixels from the input instead of an
    /// input tile.
    PixelLanesInPlace,
    /// Register tiles of pixels × vectors of output channels.
    ChannelLanes,
    /// Winograd convolution of a 3×3 kernel.
    Winograd(WinogradTile),
    /// The reference algorithm, which follows the definition and supports every problem.
    Reference,
}

impl Algorithm {
    fn all() -> impl Iterator<Item = Self> {
        let direct = [Self::Depthwise, Self::PixelLanes, Self::PixelLanesInPlace, Self::ChannelLanes];
        direct.into_iter().chain(WinogradTile::ALL.map(Self::Winograd)).chain([Self::Reference])
    }
}

impl ConvProblem {
    /// Returns the algorithms that support the problem. The last is [`Algorithm::Reference`].
    pub fn candidates(&self) -> impl Iterator<Item = Algorithm> + '_ {
        Algorithm::all().filter(|algorithm| self.is_supported_by(*algorithm))
    }

    /// Returns the register-tile algorithm for the layouts, or [`Algorithm::Reference`] if there is none. Register
    /// tiles sum the products in the definition of a convolution, so, unlike Winograd, they support inputs that are not
    /// finite.
    pub(super) fn register_tile_algorithm(&self) -> Algorithm {
        match (self.input, self.output) {
            (Layout::Nchw, Layout::Nchw) => Algorithm::PixelLanes,
            (_, Layout::Nchwc) if self.shape.geometry.groups == 1 => Algorithm::ChannelLanes,
            _ => Algorithm::Reference,
        }
    }

    /// Returns `true` if `algorithm` supports the problem.
    pub(super) fn is_supported_by(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Depthwise => depthwise::supports(self),
            Algorithm::PixelLanesInPlace => {
                self.register_tile_algorithm() == Algorithm::PixelLanes
                    && self.format == ElementFormat::F32
                    && pixel_lanes::reads_in_place(&self.shape, self.isa)
            }
            Algorithm::PixelLanes | Algorithm::ChannelLanes => self.register_tile_algorithm() == algorithm,
            Algorithm::Winograd(tile) => self.is_supported_by_winograd(tile),
            Algorithm::Reference => true,
        }
    }

    /// Returns `true` if Winograd supports the problem. A dilated convolution is split into undilated ones, which only
    /// the `Nchw` layout supports.
    fn is_supported_by_winograd(&self, tile: WinogradTile) -> bool {
        let ConvShape { kernel, in_channels, geometry, .. } = self.shape;
        let [dilation_y, dilation_x] = geometry.dilation;
        let can_be_split = self.input == Layout::Nchw && dilation_y == dilation_x && tile.stride() == 1;
        self.input == self.output
            && kernel == [3; 2]
            && geometry.stride == [tile.stride(); 2]
            && geometry.groups == 1
            && (geometry.dilation == [1; 2] || can_be_split)
            && in_channels <= tile.max_channels()
            && !is_exact()
    }
}
