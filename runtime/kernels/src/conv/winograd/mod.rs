//! Winograd's convolution (Lavin & Gray, 2016) for 3×3 kernels with stride 1 or 2, in f32: fewer products
//! than the definition has, for a few additions more.
//!
//! The output is cut into tiles of m×m; a tile needs (m + 2)² products a channel pair in place of 9m², with
//! stride 2 (2m + 1)².
//! Tiles go block by block through three steps, each block small enough for a core's caches:
//!
//! 1. `transform`: `v = Bᵀ d B`, the (m + 2)² *positions* of each tile of the input;
//! 2. [`gemm`](crate::gemm): at each position the matrix product `m = v u` with the transformed weight (`pack`);
//! 3. `transform` again: `y = Aᵀ m A`, then scale, shift, residual and activation, and to memory.
//!
//! Every sum runs in one order, whatever the number of threads and the split into blocks, so results
//! are bit-equal for all of them. A tile's outputs all depend on all of its (m + 2)² inputs, so an
//! infinity or NaN in one of them makes the whole tile NaN, where the definition confines it to the
//! outputs whose kernel covers it; and an infinity becomes a NaN.

mod blocked;
mod grid;
mod pack;
mod scheme;
mod strip;
mod transform;
mod work;

pub use pack::{PackedWinograd, Tile};

use super::ConvGeometry;
pub use super::cpu::Elements;
use super::cpu::{ElementPtr, OutputPtr};
use crate::activation::Activation;
use crate::layout::Layout;
use crate::simd::Isa;
use grid::Grid;
use scheme::{F2, F4, F6, Strided2, Strided4};
use std::sync::atomic::{AtomicBool, Ordering};
pub(super) use transform::strip_tiles;
use work::Work;
pub(super) use work::{BLOCK_TILES, GROUP_OUTPUTS};

/// What the convolution is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The images of the batch.
    pub batch: usize,
    /// The channels of the input.
    pub in_channels: usize,
    /// The channels of the output.
    pub out_channels: usize,
    /// Height and width.
    pub input: [usize; 2],
    /// Zeros before and after the input on each axis: `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
}

impl Shape {
    /// The output's height and width, zero where the padded input is smaller than the kernel.
    fn output(&self, stride: usize) -> [usize; 2] {
        let geometry = ConvGeometry { padding: self.padding, stride: [stride; 2], ..ConvGeometry::default() };
        geometry.output_size(self.input, [3, 3]).unwrap_or([0; 2])
    }
}

/// What happens to a sum before it is stored: `activation((sum * scale[c] + shift[c]) + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `[out_channels]`.
    pub scale: Option<&'a [f32]>,
    /// `[out_channels]`.
    pub shift: Option<&'a [f32]>,
    /// As the output.
    pub residual: Option<Elements<'a>>,
    /// Applied last.
    pub activation: Activation,
}

/// Everything that the threads share.
struct Operands<'a> {
    shape: Shape,
    grid: Grid,
    input: ElementPtr,
    packed: &'a PackedWinograd,
    epilogue: Epilogue<'a>,
    output: OutputPtr,
    /// Whether the images keep the channels of a vector together: `[batch, ⌈channels / lanes⌉, height, width,
    /// lanes]`, zeros in the lanes after the last channel.
    blocked: bool,
    /// Whether some sum in a blocked output is not finite.
    infinite: AtomicBool,
}

// SAFETY: the input and the residual are only read, and each output belongs to one task.
unsafe impl Sync for Operands<'_> {}

/// Convolves `input` `[batch, in_channels, height, width]`, contiguous, into `output`
/// `[batch, out_channels, height, width]`, all of which it initialises.
///
/// # Panics
/// Where a slice's length does not fit the shape.
#[cfg(any(test, feature = "testing"))]
pub fn run(
    isa: Isa,
    shape: &Shape,
    input: &[f32],
    packed: &PackedWinograd,
    epilogue: &Epilogue<'_>,
    output: &mut [std::mem::MaybeUninit<f32>],
) {
    assert_eq!(output.len(), elements(shape, packed.tile, 1));
    let output = OutputPtr::F32(output.as_mut_ptr().cast());
    // SAFETY: the output has just been measured, and is borrowed.
    unsafe { run_to(isa, Layout::Nchw, shape, input.into(), packed, epilogue, output) };
}

/// Does the same as [`run`] for any elements, in a layout that input, residual and output have in common.
///
/// Returns whether all sums of an NCHWc output are finite. If not, operands that are not finite may have spread further
/// than by the definition: every number of the input that a sum depends on is in it with a factor that is not zero.
///
/// # Safety
/// `output` has the elements of the shape's output, and nothing else refers to them.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub(super) unsafe fn run_to(
    isa: Isa,
    layout: Layout,
    shape: &Shape,
    input: Elements<'_>,
    packed: &PackedWinograd,
    epilogue: &Epilogue<'_>,
    output: OutputPtr,
) -> bool {
    check(shape, input, packed, epilogue, layout.block(isa.lanes()));
    start(isa, shape, input, packed, epilogue, output, layout == Layout::Nchwc)
}

/// The elements of an output whose channels come in blocks of `lanes`.
fn elements(shape: &Shape, tile: Tile, lanes: usize) -> usize {
    let [height, width] = shape.output(tile.stride());
    shape.batch * shape.out_channels.next_multiple_of(lanes) * height * width
}

/// The kernels' bounds all follow from these: channels come in blocks of `lanes`.
fn check(shape: &Shape, input: Elements<'_>, packed: &PackedWinograd, epilogue: &Epilogue<'_>, lanes: usize) {
    let output = elements(shape, packed.tile, lanes);
    let inputs = shape.in_channels.next_multiple_of(lanes);
    assert_eq!([packed.out_channels, packed.in_channels], [shape.out_channels, shape.in_channels]);
    assert_eq!(input.len(), shape.batch * inputs * shape.input[0] * shape.input[1]);
    assert!(epilogue.residual.is_none_or(|r| r.len() == output));
    assert!([epilogue.scale, epilogue.shift].into_iter().flatten().all(|x| x.len() == shape.out_channels));
}

fn start(
    isa: Isa,
    shape: &Shape,
    input: Elements<'_>,
    packed: &PackedWinograd,
    epilogue: &Epilogue<'_>,
    output: OutputPtr,
    blocked: bool,
) -> bool {
    let tile = packed.tile;
    let grid = Grid::new(shape.batch, shape.output(tile.stride()), tile.outputs());
    if grid.count() * shape.out_channels == 0 {
        return true;
    }
    let (input, epilogue) = (input.as_ptr(), *epilogue);
    let infinite = AtomicBool::new(false);
    let operands = Operands { shape: *shape, grid, input, packed, epilogue, output, blocked, infinite };
    match packed.tile {
        Tile::Two => Work::new(isa, F2, &operands).run(),
        Tile::Four => Work::new(isa, F4, &operands).run(),
        Tile::Six => Work::new(isa, F6, &operands).run(),
        Tile::StridedTwo => Work::new(isa, Strided2, &operands).run(),
        Tile::StridedFour => Work::new(isa, Strided4, &operands).run(),
    }
    !operands.infinite.load(Ordering::Relaxed)
}
