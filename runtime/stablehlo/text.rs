//! The textual form of a program, in MLIR's generic syntax.

use std::fmt::{self, Display, Formatter, Write};

use super::attributes::{Attribute, ComparisonType, Precision, attributes};
use super::ir::{Binary, Direction, Element, Function, Instruction, Op, TensorType};

/// Attributes that the textual form joins to one: its name, its type, and the names of its parts.
const GROUPS: &[(&str, &str, &str, &[&str])] = &[
    (
        "dot_general",
        "dot_dimension_numbers",
        "dot",
        &[
            "lhs_batching_dimensions",
            "rhs_batching_dimensions",
            "lhs_contracting_dimensions",
            "rhs_contracting_dimensions",
        ],
    ),
    (
        "convolution",
        "dimension_numbers",
        "conv",
        &[
            "input_batch_dimension",
            "input_feature_dimension",
            "input_spatial_dimensions",
            "kernel_output_feature_dimension",
            "kernel_input_feature_dimension",
            "kernel_spatial_dimensions",
            "output_batch_dimension",
            "output_feature_dimension",
            "output_spatial_dimensions",
        ],
    ),
    (
        "gather",
        "dimension_numbers",
        "gather",
        &["offset_dims", "collapsed_slice_dims", "start_index_map", "index_vector_dim"],
    ),
    (
        "scatter",
        "scatter_dimension_numbers",
        "scatter",
        &["update_window_dims", "inserted_window_dims", "scatter_dims_to_operand_dims", "index_vector_dim"],
    ),
];

/// Constants of more elements are written as their bytes.
const MAX_LISTED: usize = 16;

/// Returns the text of a module with one public function `main`.
pub(super) fn text(function: &Function, precision: Precision) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_module(&mut text, function, precision);
    text
}

fn write_module(text: &mut String, function: &Function, precision: Precision) -> fmt::Result {
    let types = |ids: &[usize]| list(ids.iter().map(|id| &function.types[*id]));
    let arguments: Vec<usize> = (0..function.arguments.len()).collect();
    writeln!(text, "\"builtin.module\"() ({{")?;
    writeln!(
        text,
        "  \"func.func\"() <{{function_type = ({}) -> ({}), sym_name = \"main\", sym_visibility = \"public\"}}> ({{",
        types(&arguments),
        types(&function.results)
    )?;
    write!(text, "  ^bb0(")?;
    for (id, name) in function.arguments.iter().enumerate() {
        let separator = if id == 0 { "" } else { ", " };
        write!(text, "{separator}%{id}: {} loc({})", function.types[id], Quoted(name))?;
    }
    writeln!(text, "):")?;
    for instruction in &function.instructions {
        write_instruction(text, function, instruction, precision)?;
    }
    let results = list(function.results.iter().map(|id| Id(*id)));
    writeln!(text, "    \"func.return\"({results}) : ({}) -> ()", types(&function.results))?;
    writeln!(text, "  }}) : () -> ()\n}}) : () -> ()")
}

fn write_instruction(
    text: &mut String,
    function: &Function,
    instruction: &Instruction,
    precision: Precision,
) -> fmt::Result {
    let Instruction { op, operands, result, path } = instruction;
    let types: Vec<&TensorType> = operands.iter().map(|id| &function.types[*id]).collect();
    let result_type = &function.types[*result];
    let ids = list(operands.iter().map(|id| Id(*id)));
    write!(text, "    %{result} = \"stablehlo.{}\"({ids})", op.name())?;
    let attributes = grouped(op, attributes(op, &types, result_type, precision));
    if !attributes.is_empty() {
        write!(text, " <{{{}}}>", attributes.join(", "))?;
    }
    if let Some(regions) = regions(op, result_type.element) {
        write!(text, " {regions}")?;
    }
    let location = if path.is_empty() { String::new() } else { format!(" loc({})", Quoted(path)) };
    writeln!(text, " : ({}) -> {result_type}{location}", list(types.iter()))
}

/// Returns the attributes as text, with those of groups joined.
fn grouped(op: &Op, attributes: Vec<(&'static str, Attribute)>) -> Vec<String> {
    let group = GROUPS.iter().find(|(name, ..)| *name == op.name());
    let parts: &[&str] = group.map_or(&[], |(.., parts)| parts);
    let (grouped, others): (Vec<_>, Vec<_>) =
        attributes.into_iter().partition(|(name, _)| parts.contains(name));
    let mut texts: Vec<String> =
        others.into_iter().map(|(name, attribute)| format!("{name} = {}", Single(&attribute))).collect();
    if let Some((_, name, kind, parts)) = group {
        let find = |part: &&str| grouped.iter().find(|(name, _)| name == part);
        let fields = parts.iter().filter_map(find);
        let fields = list(fields.map(|(name, attribute)| format!("{name} = {}", Part(attribute))));
        // Without `raw`, the dimensions of convolutions have a syntax of their own.
        let raw = if *kind == "conv" { "raw " } else { "" };
        texts.push(format!("{name} = #stablehlo.{kind}<{raw}{fields}>"));
    }
    texts
}

/// Returns the regions of an operation: functions of two elements.
fn regions(op: &Op, element: Element) -> Option<String> {
    let of_elements = TensorType { dims: Vec::new(), element };
    let of_bool = TensorType { dims: Vec::new(), element: Element::Bool };
    let region = |operation: &str, result: &TensorType| {
        format!(
            "{{^bb0(%a: {of_elements}, %b: {of_elements}): %c = \"stablehlo.{operation} : ({of_elements}, \
             {of_elements}) -> {result} \"stablehlo.return\"(%c) : ({result}) -> ()}}"
        )
    };
    let combined = |combine: &Binary| region(&format!("{}\"(%a, %b)", combine.name()), &of_elements);
    match op {
        Op::Reduce { combine, .. } | Op::ReduceWindow { combine, .. } => {
            Some(format!("({})", combined(combine)))
        }
        Op::ScatterAdd { .. } => Some(format!("({})", combined(&Binary::Add))),
        Op::SelectAndScatterAdd(_) => {
            let compare = "compare\"(%a, %b) <{compare_type = #stablehlo<comparison_type FLOAT>, comparison_direction \
                           = #stablehlo<comparison_direction GE>}>";
            Some(format!("({}, {})", region(compare, &of_bool), combined(&Binary::Add)))
        }
        _ => None,
    }
}

fn list<T: Display>(parts: impl Iterator<Item = T>) -> String {
    parts.map(|part| part.to_string()).collect::<Vec<_>>().join(", ")
}

struct Id(usize);

impl Display for Id {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// A string in quotation marks. Characters that MLIR does not accept in strings are written as their bytes.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' => write!(f, "\\{byte:02X}")?,
                b' '..=b'~' => f.write_char(byte.into())?,
                _ => write!(f, "\\{byte:02X}")?,
            }
        }
        f.write_char('"')
    }
}

impl Display for TensorType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("tensor<")?;
        self.dims.iter().try_for_each(|size| write!(f, "{size}x"))?;
        write!(f, "{}>", self.element)
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "i1",
            Self::U8 => "ui8",
            Self::U32 => "ui32",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// A part of a group of attributes.
struct Part<'a>(&'a Attribute);

impl Display for Part<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Attribute::Int(number) => write!(f, "{number}"),
            Attribute::Ints(numbers) => write!(f, "[{}]", list(numbers.iter())),
            other => Single(other).fmt(f),
        }
    }
}

/// An attribute of an operation.
struct Single<'a>(&'a Attribute);

impl Display for Single<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Attribute::Int(number) => write!(f, "{number} : i64"),
            Attribute::Bool(flag) => write!(f, "{flag}"),
            Attribute::Ints(numbers) if numbers.is_empty() => write!(f, "array<i64>"),
            Attribute::Ints(numbers) => write!(f, "array<i64: {}>", list(numbers.iter())),
            Attribute::Flags(count) => write!(f, "array<i1: {}>", list((0..*count).map(|_| false))),
            Attribute::Pairs(pairs) if pairs.is_empty() => write!(f, "dense<> : tensor<0x2xi64>"),
            Attribute::Pairs(pairs) => {
                let rows = list(pairs.iter().map(|[low, high]| format!("[{low}, {high}]")));
                write!(f, "dense<[{rows}]> : tensor<{}x2xi64>", pairs.len())
            }
            Attribute::Tensor(tensor_type, bytes) => {
                write!(f, "dense<{}> : {tensor_type}", Elements(tensor_type, bytes))
            }
            Attribute::Precision(precision) => {
                let name = match precision {
                    Precision::Default => "DEFAULT",
                    Precision::Highest => "HIGHEST",
                };
                write!(f, "[#stablehlo<precision {name}>, #stablehlo<precision {name}>]")
            }
            Attribute::Direction(direction) => {
                let name = match direction {
                    Direction::Eq => "EQ",
                    Direction::Ne => "NE",
                    Direction::Ge => "GE",
                    Direction::Gt => "GT",
                    Direction::Le => "LE",
                    Direction::Lt => "LT",
                };
                write!(f, "#stablehlo<comparison_direction {name}>")
            }
            Attribute::ComparisonType(comparison) => {
                let name = match comparison {
                    ComparisonType::Float => "FLOAT",
                    ComparisonType::Signed => "SIGNED",
                    ComparisonType::Unsigned => "UNSIGNED",
                };
                write!(f, "#stablehlo<comparison_type {name}>")
            }
        }
    }
}

/// The elements of a constant.
struct Elements<'a>(&'a TensorType, &'a [u8]);

impl Display for Elements<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(TensorType { dims, element }, bytes) = self;
        let count = bytes.len() / element.size();
        let numbers: Vec<String> =
            bytes.chunks(element.size()).take(MAX_LISTED).map(|bytes| element.number(bytes)).collect();
        match (&numbers[..], count) {
            ([number], 1) => f.write_str(number),
            (_, count) if count <= MAX_LISTED => f.write_str(&nested(&numbers, dims)),
            _ => {
                f.write_str("\"0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}"))?;
                f.write_str("\"")
            }
        }
    }
}

/// Returns the numbers in brackets for each dimension.
fn nested(numbers: &[String], dims: &[usize]) -> String {
    let [size, rest @ ..] = dims else { return numbers.concat() };
    let parts = numbers.chunks((numbers.len() / size.max(&1)).max(1));
    format!("[{}]", list(parts.map(|part| nested(part, rest))))
}

impl Element {
    /// Returns the number of bytes.
    pub fn size(self) -> usize {
        self.bytes(0.).len()
    }

    /// Returns a number as text. Infinite numbers and NaN are written as their bits.
    fn number(self, bytes: &[u8]) -> String {
        let bits = bytes.iter().rev().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let float = match self {
            Self::Bool => return (bits != 0).to_string(),
            Self::U8 | Self::U32 => return bits.to_string(),
            Self::I16 => return (bits as i16).to_string(),
            Self::I32 => return (bits as i32).to_string(),
            Self::I64 => return (bits as i64).to_string(),
            Self::F16 => f64::from(half::f16::from_bits(bits as u16)),
            Self::Bf16 => f64::from(half::bf16::from_bits(bits as u16)),
            Self::F32 => return written(f32::from_bits(bits as u32), bits, 4),
            Self::F64 => f64::from_bits(bits),
        };
        written(float, bits, self.size())
    }
}

/// Returns the shortest text that reads as the same number. MLIR needs a point before an exponent.
fn written<T: fmt::LowerExp + Into<f64> + Copy>(number: T, bits: u64, size: usize) -> String {
    if !number.into().is_finite() {
        return format!("0x{bits:0width$X}", width = 2 * size);
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
        _ => text,
    }
}
