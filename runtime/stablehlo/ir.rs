//! Programs of the operations of StableHLO that the export uses. All shapes are static.

use std::rc::Rc;

use candle_core::DType;

use crate::{Error, Result};

/// The type of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Element {
    Bool,
    U8,
    U32,
    I16,
    I32,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

impl Element {
    /// Returns the element type of a dtype.
    pub fn of(dtype: DType) -> Result<Self> {
        Ok(match dtype {
            DType::U8 => Self::U8,
            DType::U32 => Self::U32,
            DType::I16 => Self::I16,
            DType::I32 => Self::I32,
            DType::I64 => Self::I64,
            DType::F16 => Self::F16,
            DType::BF16 => Self::Bf16,
            DType::F32 => Self::F32,
            DType::F64 => Self::F64,
            _ => {
                let message = "expected a dtype that is exported to StableHLO (floats of 16 bits or more, u8, u32, \
                               i16, i32, i64), found";
                return Err(Error::msg(format!("{message} {dtype:?}")));
            }
        })
    }

    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    /// Returns the bytes of a number, little-endian.
    pub fn bytes(self, number: f64) -> Vec<u8> {
        match self {
            Self::Bool => vec![u8::from(number != 0.)],
            Self::U8 => vec![number as u8],
            Self::U32 => (number as u32).to_le_bytes().to_vec(),
            Self::I16 => (number as i16).to_le_bytes().to_vec(),
            Self::I32 => (number as i32).to_le_bytes().to_vec(),
            Self::I64 => (number as i64).to_le_bytes().to_vec(),
            Self::F16 => half::f16::from_f64(number).to_le_bytes().to_vec(),
            Self::Bf16 => half::bf16::from_f64(number).to_le_bytes().to_vec(),
            Self::F32 => (number as f32).to_le_bytes().to_vec(),
            Self::F64 => number.to_le_bytes().to_vec(),
        }
    }
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TensorType {
    pub dims: Vec<usize>,
    pub element: Element,
}

/// A value: its index in the function, and its type.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub id: usize,
    pub dims: Vec<usize>,
    pub element: Element,
}

impl Value {
    pub fn rank(&self) -> usize {
        self.dims.len()
    }
}

/// A function with one block. The first values are its arguments.
#[derive(Debug, Default)]
pub(super) struct Function {
    /// The names of the arguments.
    pub arguments: Vec<String>,
    /// The types of all values.
    pub types: Vec<TensorType>,
    pub instructions: Vec<Instruction>,
    /// The values that the function returns.
    pub results: Vec<usize>,
}

/// An operation with one result.
#[derive(Clone, Debug)]
pub(super) struct Instruction {
    pub op: Op,
    pub operands: Vec<usize>,
    pub result: usize,
    /// The path of the layer that ran the operation.
    pub path: Rc<str>,
}

/// An operation of StableHLO, with its attributes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    /// The bytes of the elements in row-major order, or those of one element that all have.
    Constant(Vec<u8>),
    Unary(Unary),
    Binary(Binary),
    Compare(Direction),
    /// `condition, on_true, on_false`
    Select,
    Convert,
    /// For each dimension of the operand, the dimension of the result.
    BroadcastInDim(Vec<usize>),
    Reshape,
    /// For each dimension of the result, the dimension of the operand.
    Transpose(Vec<usize>),
    Slice {
        starts: Vec<usize>,
        limits: Vec<usize>,
        strides: Vec<usize>,
    },
    Concatenate(usize),
    /// `x, padding`. Negative sizes remove elements. `interior` elements are inserted between two elements.
    Pad {
        low: Vec<i64>,
        high: Vec<i64>,
        interior: Vec<usize>,
    },
    Reverse(Vec<usize>),
    /// `a, b`. The dimensions of the result are the batch dimensions, the others of `a`, and the others of `b`.
    DotGeneral {
        batch: [Vec<usize>; 2],
        contracted: [Vec<usize>; 2],
    },
    /// `x, weight`
    Convolution(Convolution),
    /// `x, initial`
    Reduce {
        dims: Vec<usize>,
        combine: Binary,
    },
    /// `x, initial`
    ReduceWindow {
        window: Window,
        combine: Binary,
    },
    /// `x, indices`: the elements of `x` at these indices of one dimension. The dimensions of the indices replace it.
    Gather {
        dim: usize,
    },
    /// `x, indices, updates`: adds the updates to the elements that [`Gather`](Self::Gather) reads.
    ScatterAdd {
        dim: usize,
    },
    /// `x, source, initial`: adds the source of each window to the largest element of the window.
    SelectAndScatterAdd(Window),
}

/// The windows of a reduction, for each dimension of the operand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    pub sizes: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// The padding before and after the operand.
    pub padding: Vec<[i64; 2]>,
}

/// The settings of a convolution. The lists have an entry for each spatial dimension.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Convolution {
    pub strides: Vec<usize>,
    pub padding: Vec<[i64; 2]>,
    /// The distance between neighboring elements of the input, with zeros between them.
    pub input_dilation: Vec<usize>,
    /// The distance between neighboring elements of the kernel.
    pub kernel_dilation: Vec<usize>,
    pub groups: usize,
    pub batch_groups: usize,
    /// The positions of the batch and the channels in the input.
    pub input: [usize; 2],
    /// The positions of the output channels and the input channels in the kernel.
    pub kernel: [usize; 2],
    /// The positions of the batch and the channels in the output.
    pub output: [usize; 2],
}

/// An operation on each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Abs,
    Negate,
    Exponential,
    ExponentialMinusOne,
    Log,
    LogPlusOne,
    Logistic,
    Sign,
    Sqrt,
    Rsqrt,
    Tanh,
}

/// An operation on each pair of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Maximum,
    Minimum,
    Power,
}

/// A comparison. The discriminants are those of the portable artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Eq = 0,
    Ne = 1,
    Ge = 2,
    Gt = 3,
    Le = 4,
    Lt = 5,
}

impl Function {
    /// Removes the instructions whose results are not read, and numbers the values in the order of their definitions.
    pub fn pruned(mut self) -> Self {
        let mut is_read = vec![false; self.types.len()];
        self.results.iter().for_each(|id| is_read[*id] = true);
        for instruction in self.instructions.iter().rev() {
            if is_read[instruction.result] {
                instruction.operands.iter().for_each(|id| is_read[*id] = true);
            }
        }
        self.instructions.retain(|instruction| is_read[instruction.result]);
        let mut numbers: Vec<usize> = (0..self.types.len()).collect();
        let mut types = self.types[..self.arguments.len()].to_vec();
        for Instruction { operands, result, .. } in &mut self.instructions {
            operands.iter_mut().for_each(|id| *id = numbers[*id]);
            numbers[*result] = types.len();
            types.push(self.types[*result].clone());
            *result = numbers[*result];
        }
        self.results.iter_mut().for_each(|id| *id = numbers[*id]);
        Self { types, ..self }
    }
}

impl Convolution {
    /// Returns the positions of the spatial dimensions in a tensor whose other dimensions are at these positions.
    pub fn spatial(&self, others: [usize; 2]) -> Vec<usize> {
        (0..self.strides.len() + 2).filter(|dim| !others.contains(dim)).collect()
    }
}

impl Op {
    /// Returns the name in StableHLO.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Constant(_) => "constant",
            Self::Unary(op) => op.name(),
            Self::Binary(op) => op.name(),
            Self::Compare(_) => "compare",
            Self::Select => "select",
            Self::Convert => "convert",
            Self::BroadcastInDim(_) => "broadcast_in_dim",
            Self::Reshape => "reshape",
            Self::Transpose(_) => "transpose",
            Self::Slice { .. } => "slice",
            Self::Concatenate(_) => "concatenate",
            Self::Pad { .. } => "pad",
            Self::Reverse(_) => "reverse",
            Self::DotGeneral { .. } => "dot_general",
            Self::Convolution(_) => "convolution",
            Self::Reduce { .. } => "reduce",
            Self::ReduceWindow { .. } => "reduce_window",
            Self::Gather { .. } => "gather",
            Self::ScatterAdd { .. } => "scatter",
            Self::SelectAndScatterAdd(_) => "select_and_scatter",
        }
    }
}

impl Unary {
    pub fn name(self) -> &'static str {
        match self {
            Self::Abs => "abs",
            Self::Negate => "negate",
            Self::Exponential => "exponential",
            Self::ExponentialMinusOne => "exponential_minus_one",
            Self::Log => "log",
            Self::LogPlusOne => "log_plus_one",
            Self::Logistic => "logistic",
            Self::Sign => "sign",
            Self::Sqrt => "sqrt",
            Self::Rsqrt => "rsqrt",
            Self::Tanh => "tanh",
        }
    }
}

impl Binary {
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
            Self::Maximum => "maximum",
            Self::Minimum => "minimum",
            Self::Power => "power",
        }
    }
}
