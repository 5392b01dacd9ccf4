//! The operations that a graph can contain, with their settings.

use candle_core::{DType, Tensor};

use crate::kernels::activation::Activation;
use crate::kernels::arithmetic::{Binary, Unary};
use crate::kernels::conv::{ConvGeometry, TransposeGeometry};
use crate::kernels::embedding::BagMode;
use crate::kernels::fold::WindowGeometry;
use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;
use crate::kernels::pool::PoolGeometry;
use crate::kernels::recurrent::Recurrence;
use crate::kernels::resample::Filter;

use super::View;

/// The description of an operation. The comments list its operands; a question mark follows an optional operand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// `x, weight, bias?`. The padding repeats, mirrors or wraps the input as `mode` says.
    Conv {
        axes: Axes,
        geometry: ConvGeometry<3>,
        mode: PadMode,
    },
    /// `x, weight, bias?`
    ConvTranspose {
        axes: Axes,
        geometry: TransposeGeometry<3>,
    },
    /// `x, weight [out, in], bias?`
    Linear,
    /// `a, b`
    MatMul,
    /// `x, mean, variance, weight?, bias?`
    BatchNorm {
        eps: f64,
    },
    /// `x, weight?, bias?`
    InstanceNorm {
        eps: f64,
    },
    /// `x, weight?, bias?`, over the last `dims` dimensions.
    LayerNorm {
        dims: usize,
        eps: f64,
    },
    /// `x, weight?`, over the last `dims` dimensions.
    RmsNorm {
        dims: usize,
        eps: f64,
    },
    /// `x, weight?, bias?`
    GroupNorm {
        groups: usize,
        eps: f64,
    },
    /// `x`
    Activation(Activation),
    /// `x`. `functional::elu(x, alpha)`.
    Elu {
        alpha: f64,
    },
    Selu,
    Celu {
        alpha: f64,
    },
    Softplus {
        beta: f64,
        threshold: f64,
    },
    Mish,
    HardSigmoid,
    LogSigmoid,
    GeluTanh,
    Threshold {
        threshold: f64,
        value: f64,
    },
    HardShrink {
        lambd: f64,
    },
    SoftShrink {
        lambd: f64,
    },
    TanhShrink,
    SoftSign,
    /// `x, weight`: one slope for all channels, or one for each.
    PRelu,
    /// `x`
    Glu {
        dim: usize,
    },
    Softmax {
        dim: usize,
    },
    LogSoftmax {
        dim: usize,
    },
    Unary(Unary),
    /// `a, b`
    Binary(Binary),
    /// `a, b`. The result has the dtype u8.
    Compare(Comparison),
    /// `condition, on_true, on_false`
    Where,
    /// `x`
    Reduce {
        reduction: Reduction,
        dims: Vec<usize>,
        keep_dims: bool,
    },
    MaxPool {
        axes: Axes,
        geometry: PoolGeometry<3>,
    },
    AvgPool {
        axes: Axes,
        geometry: PoolGeometry<3>,
        count_include_pad: bool,
        divisor: Option<usize>,
    },
    AdaptiveAvgPool {
        axes: Axes,
    },
    AdaptiveMaxPool {
        axes: Axes,
    },
    /// `x`: images or sequences. `filter` is `None` for averages over areas. `scale` is the scale factor of the height
    /// and the width with which positions are computed, or `None` for the quotient of the sizes.
    Resample {
        filter: Option<Filter>,
        scale: Option<[f64; 2]>,
        align_corners: bool,
    },
    /// `x`. The sides are left, right, top and bottom.
    Pad {
        sides: [isize; 4],
        mode: PadMode,
    },
    View(View),
    /// `x`: the elements in the same order, in the shape of the result.
    Reshape,
    /// `x`: the same elements.
    Identity,
    ToDtype(DType),
    Roll {
        shifts: Vec<isize>,
        dims: Vec<usize>,
    },
    /// Any number of operands.
    Concat {
        dim: usize,
    },
    /// `x, indices`
    IndexSelect {
        dim: usize,
    },
    /// `ids, weight`
    Embedding,
    /// `ids [bags, length], factors?, weight`. The row `padding` of the weight is left out.
    EmbeddingBag {
        mode: BagMode,
        padding: Option<usize>,
    },
    /// `x1, x2, weight [out, in1, in2], bias?`
    Bilinear,
    /// `x1, x2`. `dim` is a dimension of the shape to which both broadcast.
    CosineSimilarity {
        dim: usize,
        eps: f64,
    },
    /// `x1, x2`
    PairwiseDistance {
        p: f64,
        eps: f64,
        keep_dim: bool,
    },
    /// `query, key, value, mask?`
    Attention {
        scale: f64,
        causal_offset: Option<usize>,
    },
    /// See [`MultiheadAttention`].
    MultiheadAttention(MultiheadAttention),
    /// See [`Recurrent`].
    Recurrent(Recurrent),
    /// `x, cos, sin`
    Rotary {
        interleaved: bool,
    },
    /// `x`
    Unfold(WindowGeometry),
    Fold(WindowGeometry),
    PixelShuffle {
        factor: usize,
    },
    PixelUnshuffle {
        factor: usize,
    },
    ChannelShuffle {
        groups: usize,
    },
}

/// Multi-head attention, whose results are the output and, unless they are not needed, the attention weights.
///
/// The operands are `query, key, value, key_padding_mask?, attn_mask?, in_proj_weight, k_proj_weight?, v_proj_weight?,
/// in_proj_bias?, bias_k?, bias_v?, out_proj_weight, out_proj_bias?`. Without `k_proj_weight`, `in_proj_weight` has the
/// weights of query, key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MultiheadAttention {
    pub heads: usize,
    /// Adds a key and a value of zeros.
    pub adds_zeros: bool,
    pub batch_first: bool,
    pub is_causal: bool,
    /// The attention weights are averages over the heads.
    pub averages_weights: bool,
}

/// A stack of recurrent layers, whose results are the outputs of all steps, unless it is a cell, and the tensors of the
/// final state.
///
/// The operands are `x`, the tensors of the initial state (optional), and `weight_ih, weight_hh, bias_ih?, bias_hh?`
/// for each direction of each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recurrent {
    pub recurrence: Recurrence,
    pub hidden_size: usize,
    pub bidirectional: bool,
    pub batch_first: bool,
    /// Computes one step instead of a sequence.
    pub is_cell: bool,
}

/// A comparison of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A reduction over dimensions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reduction {
    Sum,
    Mean,
    /// The divisor is the number of elements minus `correction`, but at least 0.
    Variance {
        correction: f64,
    },
    StandardDeviation,
}

/// The name of an operation in traces, what it computes, and the tensors that are its last operands.
#[derive(Clone, Debug)]
pub(crate) struct Description<'a> {
    pub name: &'static str,
    pub op: Option<Op>,
    pub parameters: Vec<Option<&'a Tensor>>,
}

impl From<&'static str> for Description<'_> {
    fn from(name: &'static str) -> Self {
        Self { name, op: None, parameters: Vec::new() }
    }
}

impl From<(&'static str, Op)> for Description<'_> {
    fn from((name, op): (&'static str, Op)) -> Self {
        Self { name, op: Some(op), parameters: Vec::new() }
    }
}

impl<'a, const N: usize> From<(&'static str, Op, [Option<&'a Tensor>; N])> for Description<'a> {
    fn from((name, op, parameters): (&'static str, Op, [Option<&'a Tensor>; N])) -> Self {
        Self { name, op: Some(op), parameters: parameters.to_vec() }
    }
}
