//! Swin-T (Liu et al. 2021, <https://arxiv.org/abs/2103.14030>), with the parameter names of torchvision's checkpoints.

use sconce::prelude::*;

use super::vit::Mlp;

/// The number of channels, of blocks and of attention heads of each stage.
const STAGES: [(usize, usize, usize); 4] = [(96, 2, 3), (192, 2, 6), (384, 6, 12), (768, 2, 24)];

/// The number of rows and of columns of a window, and the number of its positions.
const WINDOW: usize = 7;
const POSITIONS: usize = WINDOW * WINDOW;

/// Appends zeros to `x`, `[batch, height, width, channels]`, so that `multiple` divides height and width.
fn pad_to_multiple(x: &Signal, multiple: usize) -> Result<Signal> {
    let (_, height, width, _) = x.dims4()?;
    let [bottom, right] = [height, width].map(|size| (size.next_multiple_of(multiple) - size) as isize);
    if [bottom, right] == [0, 0] {
        return Ok(x.clone());
    }
    Ok(pad(x.permute((0, 3, 1, 2)), (0, right, 0, bottom), PadMode::ZEROS).permute((0, 2, 3, 1)))
}

/// Splits `[batch, height, width, channels]` into `[batch, windows, positions, channels]`.
fn windows(x: Signal) -> Result<Signal> {
    let (batch, height, width, channels) = x.dims4()?;
    let x = x.reshape((batch, height / WINDOW, WINDOW, width / WINDOW, WINDOW, channels));
    Ok(x.permute((0, 1, 3, 2, 4, 5)).reshape((batch, (), POSITIONS, channels)))
}

/// Returns, for each pair of positions of a window, the row of the table of biases for their distance.
fn relative_position_index() -> Result<Tensor> {
    let place = |i| (i / WINDOW * (2 * WINDOW - 1) + i % WINDOW) as i64;
    let center = place(POSITIONS - 1);
    let pairs = (0..POSITIONS).flat_map(|i| (0..POSITIONS).map(move |j| center + place(i) - place(j)));
    Ok(Tensor::from_iter(pairs, &Device::Cpu)?)
}

/// Returns the mask to add to the scores `[batch, windows, heads, positions, positions]` in shifted windows, so that no
/// position attends to another that was not its neighbor before the shift.
fn mask(x: &Signal, sizes: [usize; 2], shifts: [usize; 2]) -> Result<Signal> {
    // An axis has three regions: the pixels before the last window, its first pixels, and the shifted ones.
    let region = |axis: usize, i: usize| match shifts[axis] {
        0 => 0,
        shift => u8::from(i + WINDOW >= sizes[axis]) + u8::from(i + shift >= sizes[axis]),
    };
    let [height, width] = sizes;
    let regions = (0..height).flat_map(|y| (0..width).map(move |x| 3 * region(0, y) + region(1, x)));
    let regions = Tensor::from_iter(regions, &x.device()?)?.reshape((1, height, width, 1))?;
    let regions = windows(regions.into())?.unsqueeze(2);
    Ok(regions.ne(regions.transpose(-1, -2)).to_dtype(x.dtype()?) * -100)
}

/// Attention within windows, which are shifted by `shift` rows and columns.
#[derive(Module)]
#[module(args(width: usize, heads: usize, shift: usize), forward = |x| {
    let (batch, height, width, channels) = x.dims4()?;
    let x = pad_to_multiple(&x, WINDOW)?;
    let sizes = [x.dim(1)?, x.dim(2)?];
    // A single window is not shifted.
    let shifts = sizes.map(|size| if size > WINDOW { shift } else { 0 });
    let [rows, columns] = shifts.map(|shift| shift as isize);
    let x = windows(x.roll([-rows, -columns], (1, 2)))?;

    let bias = Signal::from(relative_position_bias_table).index_select(0, relative_position_index);
    let mut bias = bias.reshape((POSITIONS, POSITIONS, heads)).permute((2, 0, 1));
    if shifts != [0, 0] {
        bias += mask(&x, sizes, shifts)?;
    }
    let split = |x: Signal| x.reshape((batch, (), POSITIONS, heads, channels / heads)).transpose(2, 3);
    let qkv: [Signal; 3] = qkv(x).chunk(3, -1);
    let [query, key, value] = qkv.map(split);
    let x = proj(scaled_dot_product_attention(query, key, value, bias).transpose(2, 3).flatten(3, 4));

    let x = x.reshape((batch, sizes[0] / WINDOW, sizes[1] / WINDOW, WINDOW, WINDOW, channels));
    let x = x.permute((0, 1, 3, 2, 4, 5)).reshape((batch, sizes[0], sizes[1], channels));
    x.roll([rows, columns], (1, 2)).narrow(1, 0, height).narrow(2, 0, width)
})]
pub struct ShiftedWindowAttention {
    #[param(((2 * WINDOW - 1).pow(2), heads), init = normal(0., 0.02))]
    relative_position_bias_table: Tensor,
    #[buffer(POSITIONS * POSITIONS, init = self::relative_position_index()?)]
    relative_position_index: Tensor,
    #[layer(width, 3 * width)]
    qkv: Linear,
    #[layer(width, width)]
    proj: Linear,
    #[module(skip = heads)]
    heads: usize,
    #[module(skip = shift)]
    shift: usize,
}

/// Attention and MLP, each after a layer norm and with a residual connection.
#[derive(Module)]
#[module(args(width: usize, heads: usize, shift: usize, p: f64), forward = |x| {
    let x = stochastic_depth(attn(norm1(x))) + x;
    stochastic_depth(mlp(norm2(x))) + x
})]
pub struct Block {
    #[layer(width)]
    norm1: LayerNorm,
    #[layer(width, heads, shift)]
    attn: ShiftedWindowAttention,
    #[layer(p, "row")]
    stochastic_depth: StochasticDepth,
    #[layer(width)]
    norm2: LayerNorm,
    #[layer(width, 4 * width, 0.)]
    mlp: Mlp,
}

/// A part of the network before its head: the stem, the blocks of a stage, or the merging of patches before a stage.
#[derive(Module)]
#[module(args(index: usize))]
#[allow(clippy::large_enum_variant, reason = "a network has few parts")]
pub enum Part {
    /// Divides an image into patches of 4×4 pixels.
    #[module(when = index == 0)]
    Stem(
        #[layer(3, STAGES[0].0, 4, stride = 4)] Conv2d,
        #[layer([0, 2, 3, 1])] Permute,
        #[layer(STAGES[0].0)] LayerNorm,
    ),
    /// The blocks of a stage, every second of which shifts its windows. The probability with which stochastic depth
    /// drops a block grows linearly over the 12 blocks of the network, from 0 to 0.2.
    #[module(when = index % 2 == 1)]
    Stage(
        #[layer(STAGES[index / 2].0, STAGES[index / 2].2, i % 2 * (WINDOW / 2),
            0.2 * (blocks_before(index / 2) + i) as f64 / 11.; for i in 0..STAGES[index / 2].1)]
        #[module(rename = "{0..}")]
        Vec<Block>,
    ),
    /// Joins patches of 2×2 pixels, and doubles the number of channels.
    #[module(forward = |x| {
        let (batch, height, width, channels) = x.dims4()?;
        let shape = (batch, height.div_ceil(2), 2, width.div_ceil(2), 2, channels);
        reduction(norm(pad_to_multiple(&x, 2)?.reshape(shape).permute((0, 1, 3, 4, 2, 5)).flatten(3, 5)))
    })]
    Merging {
        /// Halves the number of joined channels.
        #[layer(4 * STAGES[index / 2 - 1].0, STAGES[index / 2].0, bias = false)]
        reduction: Linear,
        /// Normalizes the joined channels.
        #[layer(4 * STAGES[index / 2 - 1].0)]
        norm: LayerNorm,
    },
}

/// Returns the number of blocks in the stages before `stage`.
fn blocks_before(stage: usize) -> usize {
    STAGES[..stage].iter().map(|(_, blocks, _)| blocks).sum()
}

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(args(classes: usize = 1000), forward = |x| head(norm(features(x)).mean((1, 2))))]
pub struct SwinTransformer {
    #[layer(index; for index in 0..2 * STAGES.len())]
    features: Vec<Part>,
    #[layer(STAGES[3].0)]
    norm: LayerNorm,
    #[layer(STAGES[3].0, classes)]
    head: Linear,
}

/// Returns the config of Swin-T for 1000 classes.
pub fn swin_t() -> SwinTransformerConfig {
    SwinTransformer::config()
}
