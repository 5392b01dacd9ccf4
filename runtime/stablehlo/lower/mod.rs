//! Expresses each operation with those of StableHLO.

mod activation;
mod arithmetic;
mod attention;
mod conv;
mod embedding;
mod erf;
mod fold;
mod multihead;
mod norm;
mod pad;
mod pairs;
mod pool;
mod recurrent;
mod resample;
mod rotary;
mod separable;
mod shape;

use crate::graph::Op;
use crate::kernels::internal::Axes;
use crate::{Error, Result};

pub(super) use conv::outputs_first;

use super::builder::Builder;
use super::ir::{Element, TensorType, Value};

/// The operands of an operation, and the type of its first result.
pub(super) struct Operands<'a> {
    pub values: Vec<Option<Value>>,
    pub output: &'a TensorType,
}

impl Operands<'_> {
    /// Returns the operand at a position, which is not optional.
    fn required(&self, position: usize) -> Result<Value> {
        let missing = || Error::msg(format!("expected an operand at position {position}, found none"));
        self.optional(position).cloned().ok_or_else(missing)
    }

    fn optional(&self, position: usize) -> Option<&Value> {
        self.values.get(position)?.as_ref()
    }
}

/// Adds the instructions of an operation and returns its results.
pub(super) fn lower(b: &mut Builder, op: &Op, operands: &Operands<'_>) -> Result<Vec<Value>> {
    match op {
        Op::MultiheadAttention(op) => multihead::multihead_attention(b, operands, op),
        Op::Recurrent(op) => recurrent::recurrent(b, operands, op),
        op => Ok(vec![lower_single(b, op, operands)?]),
    }
}

/// Adds the instructions of an operation with a single result and returns it.
fn lower_single(b: &mut Builder, op: &Op, operands: &Operands<'_>) -> Result<Value> {
    let x = operands.required(0)?;
    Ok(match op {
        Op::Conv { axes, geometry, mode } => conv::conv(b, operands, *axes, geometry, *mode)?,
        Op::ConvTranspose { axes, geometry } => conv::conv_transpose(b, operands, *axes, geometry)?,
        Op::Linear => arithmetic::project(b, &x, &operands.required(1)?, operands.optional(2)),
        Op::MatMul => b.matmul(&x, &operands.required(1)?),
        Op::BatchNorm { eps } => norm::batch_norm(b, operands, *eps)?,
        Op::InstanceNorm { eps } => norm::instance_norm(b, operands, *eps)?,
        Op::LayerNorm { dims, eps } => norm::layer_norm(b, operands, *dims, *eps)?,
        Op::RmsNorm { dims, eps } => norm::rms_norm(b, operands, *dims, *eps)?,
        Op::GroupNorm { groups, eps } => norm::group_norm(b, operands, *groups, *eps)?,
        Op::Activation(activation) => activation::fused(b, &x, *activation),
        Op::Elu { .. }
        | Op::Selu
        | Op::Celu { .. }
        | Op::Softplus { .. }
        | Op::Mish
        | Op::HardSigmoid
        | Op::LogSigmoid
        | Op::GeluTanh
        | Op::Threshold { .. }
        | Op::HardShrink { .. }
        | Op::SoftShrink { .. }
        | Op::TanhShrink
        | Op::SoftSign => activation::separate(b, &x, op),
        Op::PRelu => activation::prelu(b, &x, &operands.required(1)?),
        Op::Glu { dim } => activation::glu(b, &x, *dim),
        Op::Softmax { dim } => activation::softmax(b, &x, *dim),
        Op::LogSoftmax { dim } => activation::log_softmax(b, &x, *dim),
        Op::Unary(op) => arithmetic::unary(b, &x, *op),
        Op::Binary(op) => arithmetic::binary(b, *op, &x, &operands.required(1)?),
        Op::Compare(comparison) => arithmetic::compare(b, *comparison, &x, &operands.required(1)?),
        Op::Where => arithmetic::select(b, operands)?,
        Op::Reduce { reduction, dims, keep_dims } => arithmetic::reduce(b, &x, *reduction, dims, *keep_dims),
        Op::MaxPool { axes, geometry } => pool::max_pool(b, operands, *axes, geometry)?,
        Op::AvgPool { axes, geometry, count_include_pad, divisor } => {
            pool::avg_pool(b, operands, *axes, geometry, *count_include_pad, *divisor)?
        }
        Op::AdaptiveAvgPool { axes } => pool::adaptive_avg_pool(b, operands, *axes)?,
        Op::AdaptiveMaxPool { axes } => pool::adaptive_max_pool(b, operands, *axes)?,
        Op::Resample { filter, scale, align_corners } => {
            resample::resample(b, operands, *filter, *scale, *align_corners)?
        }
        Op::Pad { sides, mode } => pad::pad_images(b, &x, *sides, *mode)?,
        Op::View(view) => shape::view(b, operands, view)?,
        Op::Reshape => b.reshape(&x, &operands.output.dims),
        Op::Identity => x,
        Op::ToDtype(dtype) => b.convert(&x, Element::of(*dtype)?),
        Op::Roll { shifts, dims } => shape::roll(b, &x, shifts, dims),
        Op::Concat { dim } => shape::concat(b, operands, *dim)?,
        Op::IndexSelect { dim } => b.gather(&x, &operands.required(1)?, *dim),
        Op::Embedding => b.gather(&operands.required(1)?, &x, 0),
        Op::EmbeddingBag { mode, padding } => embedding::embedding_bag(b, operands, *mode, *padding)?,
        Op::Bilinear => pairs::bilinear(b, operands)?,
        Op::CosineSimilarity { dim, eps } => pairs::cosine_similarity(b, operands, *dim, *eps)?,
        Op::PairwiseDistance { p, eps, keep_dim } => {
            pairs::pairwise_distance(b, operands, *p, *eps, *keep_dim)?
        }
        Op::Attention { scale, causal_offset } => attention::attention(b, operands, *scale, *causal_offset)?,
        Op::Rotary { interleaved } => rotary::rotary(b, operands, *interleaved)?,
        Op::Unfold(geometry) => fold::unfold(b, operands, geometry)?,
        Op::Fold(geometry) => fold::fold(b, operands, geometry)?,
        Op::PixelShuffle { factor } => shape::pixel_shuffle(b, operands, *factor)?,
        Op::PixelUnshuffle { factor } => shape::pixel_unshuffle(b, operands, *factor)?,
        Op::ChannelShuffle { groups } => shape::channel_shuffle(b, &x, *groups)?,
        Op::MultiheadAttention(_) | Op::Recurrent(_) => {
            return Err(Error::msg("expected an operation with one result"));
        }
    })
}

/// Runs an operation that needs a batch dimension. Inserts the dimension if `x` lacks it, and removes it from the
/// result.
fn with_batch(
    b: &mut Builder,
    x: &Value,
    axes: Axes,
    operation: impl FnOnce(&mut Builder, &Value) -> Result<Value>,
) -> Result<Value> {
    if x.rank() != axes.count() + 1 {
        return operation(b, x);
    }
    let batch = b.unsqueeze(x, &[0]);
    let y = operation(b, &batch)?;
    Ok(b.squeeze(&y, &[0]))
}

/// Returns the entries of `[depth, height, width]` for these axes.
fn of_axes<T: Clone>(axes: Axes, sizes: &[T; 3]) -> Vec<T> {
    sizes[3 - axes.count()..].to_vec()
}
