//! The attributes of operations, in the alphabetical order in which the portable artifact has them.

use super::ir::{Convolution, Direction, Element, Op, TensorType, Window};

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    Int(i64),
    Bool(bool),
    Ints(Vec<i64>),
    /// One flag for each spatial dimension, all of which are `false`.
    Flags(usize),
    /// The sizes before and after each dimension.
    Pairs(Vec<[i64; 2]>),
    /// The elements of a constant, or one element that all have.
    Tensor(TensorType, Vec<u8>),
    /// The precision of both operands.
    Precision(Precision),
    Direction(Direction),
    /// The type of the operands of a comparison.
    ComparisonType(ComparisonType),
}

/// How exactly products of f32 are computed. The discriminants are those of the portable artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Precision {
    /// As the device computes fastest: on a TPU, with operands rounded to bf16.
    Default = 0,
    /// In f32.
    #[default]
    Highest = 2,
}

/// The type of the operands of a comparison. The discriminants are those of the portable artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ComparisonType {
    Float = 1,
    Signed = 3,
    Unsigned = 4,
}

impl ComparisonType {
    fn of(element: Element) -> Self {
        match element {
            Element::Bool | Element::U8 | Element::U32 => Self::Unsigned,
            Element::I16 | Element::I32 | Element::I64 => Self::Signed,
            Element::F16 | Element::Bf16 | Element::F32 | Element::F64 => Self::Float,
        }
    }
}

/// Returns the attributes of an operation with operands and a result of these types.
pub(super) fn attributes(
    op: &Op,
    operands: &[&TensorType],
    result: &TensorType,
    precision: Precision,
) -> Vec<(&'static str, Attribute)> {
    use Attribute::{Int, Ints, Pairs, Tensor};
    match op {
        Op::Constant(bytes) => vec![("value", Tensor(result.clone(), bytes.clone()))],
        Op::Compare(direction) => vec![
            ("compare_type", Attribute::ComparisonType(ComparisonType::of(operands[0].element))),
            ("comparison_direction", Attribute::Direction(*direction)),
        ],
        Op::BroadcastInDim(dims) => vec![("broadcast_dimensions", ints(dims))],
        Op::Transpose(order) => vec![("permutation", ints(order))],
        Op::Slice { starts, limits, strides } => {
            vec![("limit_indices", ints(limits)), ("start_indices", ints(starts)), ("strides", ints(strides))]
        }
        Op::Concatenate(dim) => vec![("dimension", Int(*dim as i64))],
        Op::Pad { low, high, interior } => vec![
            ("edge_padding_high", Ints(high.clone())),
            ("edge_padding_low", Ints(low.clone())),
            ("interior_padding", ints(interior)),
        ],
        Op::Reverse(dims) | Op::Reduce { dims, .. } => vec![("dimensions", ints(dims))],
        Op::DotGeneral { batch, contracted } => vec![
            ("lhs_batching_dimensions", ints(&batch[0])),
            ("lhs_contracting_dimensions", ints(&contracted[0])),
            ("precision_config", Attribute::Precision(precision)),
            ("rhs_batching_dimensions", ints(&batch[1])),
            ("rhs_contracting_dimensions", ints(&contracted[1])),
        ],
        Op::Convolution(settings) => convolution(settings, precision),
        Op::ReduceWindow { window, .. } => reduce_window(window),
        Op::Gather { dim } => gather(*dim, operands),
        Op::ScatterAdd { dim } => scatter(*dim, operands),
        Op::SelectAndScatterAdd(window) => vec![
            ("padding", Pairs(window.padding.clone())),
            ("window_dimensions", ints(&window.sizes)),
            ("window_strides", ints(&window.strides)),
        ],
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Convert | Op::Reshape => Vec::new(),
    }
}

fn ints(numbers: &[usize]) -> Attribute {
    Attribute::Ints(numbers.iter().map(|number| *number as i64).collect())
}

fn convolution(settings: &Convolution, precision: Precision) -> Vec<(&'static str, Attribute)> {
    let position = |position: usize| Attribute::Int(position as i64);
    vec![
        ("batch_group_count", position(settings.batch_groups)),
        ("feature_group_count", position(settings.groups)),
        ("input_batch_dimension", position(settings.input[0])),
        ("input_feature_dimension", position(settings.input[1])),
        ("input_spatial_dimensions", ints(&settings.spatial(settings.input))),
        ("kernel_input_feature_dimension", position(settings.kernel[1])),
        ("kernel_output_feature_dimension", position(settings.kernel[0])),
        ("kernel_spatial_dimensions", ints(&settings.spatial(settings.kernel))),
        ("lhs_dilation", ints(&settings.input_dilation)),
        ("output_batch_dimension", position(settings.output[0])),
        ("output_feature_dimension", position(settings.output[1])),
        ("output_spatial_dimensions", ints(&settings.spatial(settings.output))),
        ("padding", Attribute::Pairs(settings.padding.clone())),
        ("precision_config", Attribute::Precision(precision)),
        ("rhs_dilation", ints(&settings.kernel_dilation)),
        ("window_reversal", Attribute::Flags(settings.strides.len())),
        ("window_strides", ints(&settings.strides)),
    ]
}

fn reduce_window(window: &Window) -> Vec<(&'static str, Attribute)> {
    vec![
        ("base_dilations", ints(&vec![1; window.sizes.len()])),
        ("padding", Attribute::Pairs(window.padding.clone())),
        ("window_dilations", ints(&window.dilations)),
        ("window_dimensions", ints(&window.sizes)),
        ("window_strides", ints(&window.strides)),
    ]
}

/// Returns the dimensions of the result that are dimensions of `x`, if the indices replace one dimension of `x`.
fn offset_dims(dim: usize, x: &TensorType, indices: &TensorType) -> Attribute {
    let others = (0..x.dims.len()).filter(|other| *other != dim);
    let shifted = others.map(|other| if other < dim { other } else { other - 1 + indices.dims.len() } as i64);
    Attribute::Ints(shifted.collect())
}

/// The indices are single numbers, so the dimension of index vectors is the one after the last.
fn gather(dim: usize, operands: &[&TensorType]) -> Vec<(&'static str, Attribute)> {
    let (x, indices) = (operands[0], operands[1]);
    let mut sizes = x.dims.clone();
    sizes[dim] = 1;
    vec![
        ("collapsed_slice_dims", ints(&[dim])),
        ("index_vector_dim", Attribute::Int(indices.dims.len() as i64)),
        ("indices_are_sorted", Attribute::Bool(false)),
        ("offset_dims", offset_dims(dim, x, indices)),
        ("slice_sizes", ints(&sizes)),
        ("start_index_map", ints(&[dim])),
    ]
}

fn scatter(dim: usize, operands: &[&TensorType]) -> Vec<(&'static str, Attribute)> {
    let (x, indices) = (operands[0], operands[1]);
    vec![
        ("index_vector_dim", Attribute::Int(indices.dims.len() as i64)),
        ("indices_are_sorted", Attribute::Bool(false)),
        ("inserted_window_dims", ints(&[dim])),
        ("scatter_dims_to_operand_dims", ints(&[dim])),
        ("unique_indices", Attribute::Bool(false)),
        ("update_window_dims", offset_dims(dim, x, indices)),
    ]
}
