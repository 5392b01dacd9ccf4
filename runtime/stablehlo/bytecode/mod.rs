//! The portable artifact: a program of the versioned dialect `vhlo` in MLIR's bytecode format.
//!
//! The artifact has the version 1.0.0 of StableHLO, and version 6 of the bytecode format, which belongs to it.
//! StableHLO guarantees that its releases of the five years after version 1.0.0 accept the artifact.

mod encoder;
mod tables;
#[cfg(test)]
mod tests;

use super::attributes::{Attribute, ComparisonType, Precision, attributes};
use super::ir::{Binary, Direction, Element, Function, Instruction, Op, TensorType};
use encoder::{Encoder, Section};
use tables::{Dialect, Tables};

/// The version of StableHLO that the artifact has.
pub(super) const VERSION: &str = "1.0.0";
/// The version of the bytecode format.
const BYTECODE_VERSION: u64 = 6;
const MAGIC: [u8; 4] = *b"ML\xefR";

/// The parts of an operation that are present.
mod mask {
    pub const RESULTS: u8 = 1 << 1;
    pub const OPERANDS: u8 = 1 << 2;
    pub const REGIONS: u8 = 1 << 4;
    pub const PROPERTIES: u8 = 1 << 6;
}

/// Returns the portable artifact of a module with one public function `main`.
pub(super) fn artifact(function: &Function, precision: Precision) -> Vec<u8> {
    let mut writer = Writer { tables: Tables::default(), function, precision };
    let ir = writer.module();
    let mut tables = writer.tables;
    let mut artifact = Encoder(MAGIC.to_vec());
    artifact.varint(BYTECODE_VERSION);
    artifact.bytes(format!("StableHLO_v{VERSION}\0").as_bytes());
    tables.write_dialects(&mut artifact);
    tables.write_attributes_and_types(&mut artifact);
    artifact.section(Section::Ir, &ir);
    tables.write_strings(&mut artifact);
    tables.write_properties(&mut artifact);
    artifact.0
}

struct Writer<'a> {
    tables: Tables,
    function: &'a Function,
    precision: Precision,
}

/// An operation to be encoded. Values are indices in the region, types are indices in their table.
struct Operation<'a> {
    dialect: Dialect,
    name: &'a str,
    path: &'a str,
    /// The attributes in alphabetical order, as indices in their table.
    properties: Vec<usize>,
    result: Option<usize>,
    operands: Vec<usize>,
    /// The encoded regions. No region reads values from outside.
    regions: Vec<Encoder>,
}

impl Default for Operation<'_> {
    fn default() -> Self {
        Self {
            dialect: Dialect::Vhlo,
            name: "",
            path: "",
            properties: Vec::new(),
            result: None,
            operands: Vec::new(),
            regions: Vec::new(),
        }
    }
}

impl Writer<'_> {
    /// Encodes the block of the module.
    fn module(&mut self) -> Encoder {
        let function = self.function();
        let region = self.region(0, &[], vec![function]);
        let module = self.operation(Operation {
            dialect: Dialect::Builtin,
            name: "module",
            // The name and the visibility of the module, which has none.
            properties: vec![0, 0],
            regions: vec![region],
            ..Operation::default()
        });
        let mut block = Encoder::default();
        block.flagged(1, false);
        block.bytes(&module.0);
        block
    }

    /// Encodes the function `main`.
    fn function(&mut self) -> Encoder {
        let function = self.function;
        let types = |ids: &[usize]| ids.iter().map(|id| function.types[*id].clone()).collect::<Vec<_>>();
        let count = function.arguments.len();
        let arguments: Vec<(&TensorType, &str)> =
            function.types.iter().zip(&function.arguments).map(|(t, name)| (t, name.as_str())).collect();
        let mut operations: Vec<Encoder> =
            function.instructions.iter().map(|instruction| self.instruction(instruction)).collect();
        operations.push(self.returned(function.results.clone()));
        let region = self.region(function.types.len(), &arguments, operations);
        let no_attributes = self.tables.array_attribute(&[]);
        let properties = vec![
            no_attributes,
            self.tables.function_type(&function.types[..count], &types(&function.results)),
            no_attributes,
            self.tables.string_attribute("main"),
            self.tables.string_attribute("public"),
        ];
        self.operation(Operation {
            name: "func_v1",
            properties,
            regions: vec![region],
            ..Operation::default()
        })
    }

    fn instruction(&mut self, instruction: &Instruction) -> Encoder {
        let Instruction { op, operands, result, path } = instruction;
        let types = &self.function.types;
        let operand_types: Vec<&TensorType> = operands.iter().map(|id| &types[*id]).collect();
        let result_type = &types[*result];
        let attributes = attributes(op, &operand_types, result_type, self.precision);
        let properties = attributes.iter().map(|(_, attribute)| self.tables.attribute(attribute)).collect();
        let regions = self.regions(op, result_type.element);
        let result_type = self.tables.tensor_type(result_type);
        self.operation(Operation {
            name: &format!("{}_v1", op.name()),
            path,
            properties,
            result: Some(result_type),
            operands: operands.clone(),
            regions,
            ..Operation::default()
        })
    }

    /// Encodes the functions of two elements that an operation contains.
    fn regions(&mut self, op: &Op, element: Element) -> Vec<Encoder> {
        match op {
            Op::Reduce { combine, .. } | Op::ReduceWindow { combine, .. } => {
                vec![self.combined(*combine, element)]
            }
            Op::ScatterAdd { .. } => vec![self.combined(Binary::Add, element)],
            Op::SelectAndScatterAdd(_) => {
                let properties = vec![
                    self.tables.attribute(&Attribute::ComparisonType(ComparisonType::Float)),
                    self.tables.attribute(&Attribute::Direction(Direction::Ge)),
                ];
                let compare = self.of_elements("compare_v1", properties, element, Element::Bool);
                vec![compare, self.combined(Binary::Add, element)]
            }
            _ => Vec::new(),
        }
    }

    fn combined(&mut self, combine: Binary, element: Element) -> Encoder {
        self.of_elements(&format!("{}_v1", combine.name()), Vec::new(), element, element)
    }

    /// Encodes the region of an operation with two elements as operands.
    fn of_elements(
        &mut self,
        name: &str,
        properties: Vec<usize>,
        element: Element,
        result: Element,
    ) -> Encoder {
        let [element, result] = [element, result].map(|element| TensorType { dims: Vec::new(), element });
        let result = self.tables.tensor_type(&result);
        let operation = self.operation(Operation {
            name,
            properties,
            result: Some(result),
            operands: vec![0, 1],
            ..Operation::default()
        });
        let returned = self.returned(vec![2]);
        self.region(3, &[(&element, ""), (&element, "")], vec![operation, returned])
    }

    fn returned(&mut self, operands: Vec<usize>) -> Encoder {
        self.operation(Operation { name: "return_v1", operands, ..Operation::default() })
    }

    /// Encodes a region with one block. `values` is the number of its arguments and results.
    fn region(
        &mut self,
        values: usize,
        arguments: &[(&TensorType, &str)],
        operations: Vec<Encoder>,
    ) -> Encoder {
        let mut region = Encoder::default();
        region.index(1);
        region.index(values);
        region.flagged(operations.len(), !arguments.is_empty());
        if !arguments.is_empty() {
            region.index(arguments.len());
            for (tensor_type, name) in arguments {
                // The flag states that a location follows.
                region.flagged(self.tables.tensor_type(tensor_type), !name.is_empty());
                if !name.is_empty() {
                    region.index(self.tables.location(name));
                }
            }
            // The uses of the arguments have the order of the program.
            region.byte(0);
        }
        operations.iter().for_each(|operation| region.bytes(&operation.0));
        region
    }

    fn operation(&mut self, operation: Operation<'_>) -> Encoder {
        let Operation { dialect, name, path, properties, result, operands, regions } = operation;
        let is_present = |bit: u8, is_present: bool| if is_present { bit } else { 0 };
        let mut encoded = Encoder::default();
        encoded.index(self.tables.operation(dialect, name));
        encoded.byte(
            is_present(mask::PROPERTIES, !properties.is_empty())
                | is_present(mask::RESULTS, result.is_some())
                | is_present(mask::OPERANDS, !operands.is_empty())
                | is_present(mask::REGIONS, !regions.is_empty()),
        );
        encoded.index(self.tables.location(path));
        if !properties.is_empty() {
            let mut list = Encoder::default();
            properties.iter().for_each(|attribute| list.index(*attribute));
            encoded.index(self.tables.properties(list));
        }
        if let Some(result) = result {
            encoded.indices(&[result]);
        }
        if !operands.is_empty() {
            encoded.indices(&operands);
        }
        if !regions.is_empty() {
            // The flag states that the regions read no values from outside.
            encoded.flagged(regions.len(), true);
            let content = Encoder(regions.into_iter().flat_map(|region| region.0).collect());
            encoded.section(Section::Ir, &content);
        }
        encoded
    }
}
