//! The launches of each variant.

use super::Options;
use super::hopper::{Hopper, PaddedLayout};
use super::sizes::int;
use super::tiles::{self, ComputeUnits, Depthwise, Direct, Tile};
use crate::conv::ConvShape;
use crate::cuda::{Arg, Buffer, Launch, Program};
use candle_core::{DType, Result, bail};

/// The convolution for which launches are created: its shape, dtype and epilogue.
pub struct Call<'a> {
    pub shape: &'a ConvShape,
    pub dtype: DType,
    pub options: &'a Options,
    /// The structure `ConvSizes` of `sizes.cuh`, as a kernel argument.
    pub sizes: Arg,
}

impl Call<'_> {
    /// Returns the launch of a depthwise kernel.
    pub fn depthwise(&self, kernel: Depthwise) -> Result<Launch> {
        let shape = self.shape;
        // A thread computes a strip: `kernel.rows` neighboring pixels of one column.
        let strips = shape.output[0].div_ceil(kernel.rows);
        Ok(Launch {
            module: "conv_depthwise",
            kernel: kernel.kernel,
            grid: image_grid(shape, shape.out_channels * strips * shape.output[1])?,
            block: [Depthwise::THREADS as u32, 1, 1],
            shared: 0,
            args: self.args([Arg::Operand(0), Arg::Operand(1)], [self.sizes.clone()]),
        })
    }

    /// Returns the launch of a direct kernel.
    pub fn direct(&self, kernel: Direct) -> Result<Launch> {
        let partition = GridPartition::of(self.shape, [kernel.channels, Direct::PIXELS], 1, 1);
        Ok(Launch {
            module: "conv_direct",
            kernel: kernel.kernel,
            grid: partition.grid(self.shape)?,
            block: [Direct::THREADS as u32, 1, 1],
            shared: unsigned(kernel.shared(self.shape.depth()))?,
            args: self.args([Arg::Operand(0), Arg::Operand(1)], [self.sizes.clone(), partition.arg()?]),
        })
    }

    /// Adds the launches of an implicit GEMM and their scratch memory to the program.
    pub fn implicit_gemm(&self, tile: Tile, slices: usize, program: &mut Program) -> Result<()> {
        let partition = GridPartition::of_tile(self.shape, &tile, slices);
        let operands = if tile.is_packed() {
            let elements = tile.packed_elements(self.shape);
            let packed = elements.map(|elements| scratch(program, elements, self.dtype));
            program.launches.extend(self.pack(&tile, &packed)?);
            packed
        } else if tile.pads_weight(self.shape) {
            let elements = self.shape.out_channels * tile.weight_row(self.shape);
            let padded = scratch(program, elements, self.dtype);
            program.launches.push(self.pad_weight(&tile, &padded)?);
            [Arg::Operand(0), padded]
        } else {
            [Arg::Operand(0), Arg::Operand(1)]
        };
        let weight_row = match tile.units {
            ComputeUnits::Scalar => None,
            ComputeUnits::TensorCores(_) => Some(Arg::Int(int(tile.weight_row(self.shape))?)),
        };
        let sliced = partition.slices > 1;
        let partial = if sliced {
            let dtype = if self.dtype == DType::F64 { DType::F64 } else { DType::F32 };
            scratch(program, partition.slices * self.shape.output_elements(), dtype)
        } else {
            Arg::Absent
        };
        let step = tile.row_step(self.shape).into_iter().map(int).collect::<Result<_>>().map(Arg::Ints)?;
        let settings = [partial.clone(), self.sizes.clone(), partition.arg()?, step];
        program.launches.push(Launch {
            module: tile.module,
            kernel: tile.kernel,
            grid: partition.grid(self.shape)?,
            block: [unsigned(tile.threads)?, 1, 1],
            shared: unsigned(tile.shared)?,
            args: self.args(operands, settings.into_iter().chain(weight_row)),
        });
        if sliced {
            program.launches.push(self.add_slices(partial, partition.slices)?);
        }
        Ok(())
    }

    /// Adds the launches of a kernel for compute capability 9.0, and the scratch memory for the packed weight, to the
    /// program.
    pub fn hopper(&self, kernel: Hopper, program: &mut Program) -> Result<()> {
        let Some(layout) = PaddedLayout::of(self.shape, &kernel) else {
            bail!("conv2d: {} does not support this convolution", kernel.kernel)
        };
        let elements = kernel.packed_elements(self.shape, &layout);
        let groups = self.shape.geometry.groups;
        let packed = scratch(program, elements, self.dtype);
        // A thread packs one channel vector.
        let vectors = elements / kernel.vector_channels() / groups;
        program.launches.push(Launch {
            module: "conv_hopper_pack",
            kernel: kernel.pack(),
            grid: [unsigned(vectors.div_ceil(Hopper::PACK_THREADS))?, grid_height(groups), 1],
            block: [Hopper::PACK_THREADS as u32, 1, 1],
            shared: 0,
            args: vec![Arg::Operand(1), packed.clone(), self.sizes.clone(), layout.arg()?],
        });
        program.launches.push(Launch {
            module: kernel.module,
            kernel: kernel.kernel,
            grid: [block_count(&[layout.channel_tiles, layout.position_tiles, groups])?, 1, 1],
            block: [Hopper::THREADS as u32, 1, 1],
            shared: unsigned(kernel.shared(&layout))?,
            args: self
                .args([Arg::Operand(0), packed], [self.sizes.clone(), layout.arg()?, layout.taps_arg()?]),
        });
        Ok(())
    }

    /// Returns the launches that pack the input and the weight for `tile`.
    fn pack(&self, tile: &Tile, packed: &[Arg; 2]) -> Result<[Launch; 2]> {
        let Some(kernels) = tiles::pack_kernels(self.dtype) else {
            bail!("conv2d: expected f32, f16 or bf16 for tensor cores, found {:?}", self.dtype)
        };
        let ConvShape { batch, out_channels, input, kernel, geometry, .. } = *self.shape;
        let channels = tile.packed_channels(self.shape);
        let pixel_tiles = (input[0] * input[1]).div_ceil(tiles::PACK_TILE);
        let blocks = [batch, geometry.groups, pixel_tiles, channels.div_ceil(tiles::PACK_TILE)];
        let weight_row_blocks = (kernel[0] * kernel[1] * channels).div_ceil(tiles::PACK_THREADS);
        // In shared memory, each row of the input's tile is padded by 4 bytes. Packing the weight needs no shared
        // memory.
        let shared = [unsigned(tiles::PACK_TILE * (tiles::PACK_TILE * self.dtype.size_in_bytes() + 4))?, 0];
        let grids =
            [[block_count(&blocks)?, 1, 1], [unsigned(weight_row_blocks)?, grid_height(out_channels), 1]];
        let launch = |i: usize| Launch {
            module: "conv_pack",
            kernel: kernels[i],
            grid: grids[i],
            block: [tiles::PACK_THREADS as u32, 1, 1],
            shared: shared[i],
            args: vec![Arg::Operand(i), packed[i].clone(), self.sizes.clone()],
        };
        Ok([launch(0), launch(1)])
    }

    /// Returns the launch that pads the rows of the weight.
    fn pad_weight(&self, tile: &Tile, padded: &Arg) -> Result<Launch> {
        let Some(kernel) = tiles::pad_kernel(self.dtype) else {
            bail!("conv2d: expected f16 or bf16 for padded weight rows, found {:?}", self.dtype)
        };
        let row = tile.weight_row(self.shape);
        let blocks = unsigned(row.div_ceil(tiles::PACK_THREADS))?;
        Ok(Launch {
            module: "conv_pack",
            kernel,
            grid: [blocks, grid_height(self.shape.out_channels), 1],
            block: [tiles::PACK_THREADS as u32, 1, 1],
            shared: 0,
            args: vec![Arg::Operand(1), padded.clone(), self.sizes.clone(), Arg::Int(int(row)?)],
        })
    }

    /// Returns the launch that adds the sums of the slices, `partial`, and applies the epilogue.
    fn add_slices(&self, partial: Arg, slices: usize) -> Result<Launch> {
        let Some(kernel) = tiles::slices_kernel(self.dtype) else {
            bail!("conv2d: expected f32, f64, f16 or bf16 on a CUDA device, found {:?}", self.dtype)
        };
        let shape = self.shape;
        Ok(Launch {
            module: "conv_slices",
            kernel,
            grid: image_grid(shape, shape.out_channels * shape.output[0] * shape.output[1])?,
            block: [Depthwise::THREADS as u32, 1, 1],
            shared: 0,
            args: self.args([partial], [self.sizes.clone(), Arg::Int(int(slices)?)]),
        })
    }

    /// Returns the arguments of a kernel that applies the epilogue: `operands`, the scale, the shift, the residual, the
    /// output, `settings` and the activation, in this order.
    fn args(
        &self,
        operands: impl IntoIterator<Item = Arg>,
        settings: impl IntoIterator<Item = Arg>,
    ) -> Vec<Arg> {
        let epilogue = self.options.operands().into_iter().chain([Arg::Output(0)]);
        let activation = self.options.activation.arguments();
        operands.into_iter().chain(epilogue).chain(settings).chain(activation).collect()
    }
}

/// Adds a scratch buffer to the program. Returns the argument that refers to it.
fn scratch(program: &mut Program, elements: usize, dtype: DType) -> Arg {
    program.scratch.push(Buffer { elements, dtype });
    Arg::Scratch(program.scratch.len() - 1)
}

/// The partition of a convolution into blocks, one for each group, channel tile, pixel tile and slice: the structure
/// `GridPartition` of `tiles.cuh`.
pub struct GridPartition {
    /// The number of tiles along the output channels of a group.
    pub channel_tiles: usize,
    /// The number of tiles along the output pixels of the batch.
    pub pixel_tiles: usize,
    /// The number of slices of the depth.
    pub slices: usize,
    /// The number of steps of the kernel's loop in a slice.
    pub slice_steps: usize,
}

impl GridPartition {
    /// Returns the partition for an implicit GEMM kernel and at most `slices` slices.
    pub fn of_tile(shape: &ConvShape, tile: &Tile, slices: usize) -> Self {
        Self::of(shape, [tile.channels, tile.pixels], tile.steps(shape), slices)
    }

    /// Returns the partition into tiles of `channels` × `pixels` and at most `slices` slices. `steps` is the number of
    /// steps of the kernel's loop along the whole depth.
    ///
    /// There are fewer than `slices` slices if some of them would have no steps.
    pub fn of(shape: &ConvShape, [channels, pixels]: [usize; 2], steps: usize, slices: usize) -> Self {
        let slice_steps = steps.div_ceil(slices.max(1)).max(1);
        Self {
            channel_tiles: shape.group_out_channels().div_ceil(channels),
            pixel_tiles: (shape.batch * shape.output[0] * shape.output[1]).div_ceil(pixels),
            slices: steps.div_ceil(slice_steps).max(1),
            slice_steps,
        }
    }

    /// Returns the structure as a kernel argument.
    fn arg(&self) -> Result<Arg> {
        let fields = [self.channel_tiles, self.pixel_tiles, self.slices, self.slice_steps];
        fields.into_iter().map(int).collect::<Result<_>>().map(Arg::Ints)
    }

    /// Returns the number of blocks.
    pub fn blocks(&self, shape: &ConvShape) -> usize {
        self.channel_tiles * self.pixel_tiles * self.slices * shape.geometry.groups
    }

    fn grid(&self, shape: &ConvShape) -> Result<[u32; 3]> {
        let factors = [self.channel_tiles, self.pixel_tiles, self.slices, shape.geometry.groups];
        Ok([block_count(&factors)?, 1, 1])
    }
}

/// Returns a grid with one row of blocks for each image. With [`Depthwise::THREADS`] threads in each block, a row has
/// at least `threads` threads.
fn image_grid(shape: &ConvShape, threads: usize) -> Result<[u32; 3]> {
    Ok([unsigned(threads.div_ceil(Depthwise::THREADS))?, grid_height(shape.batch), 1])
}

/// Returns the height of a grid for `rows` rows. If there are more rows than CUDA's maximum height, each block loops
/// over several rows.
fn grid_height(rows: usize) -> u32 {
    rows.min(65_535) as u32
}

/// Returns the product of the factors as a grid size.
fn block_count(factors: &[usize]) -> Result<u32> {
    unsigned(factors.iter().fold(1usize, |product, n| product.saturating_mul(*n)))
}

/// Converts a size of a [`Launch`] to `u32`. Fails if the size does not fit in an `int`.
fn unsigned(value: usize) -> Result<u32> {
    int(value).map(i32::unsigned_abs)
}
