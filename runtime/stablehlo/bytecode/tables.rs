//! The tables of strings, types, attributes, properties and operations to which the encoded program refers. Equal
//! entries are stored once.

use std::collections::HashMap;
use std::hash::Hash;

use super::super::attributes::Attribute;
use super::super::ir::{Element, TensorType};
use super::encoder::{Encoder, Section};

/// The codes of attributes of the dialect `builtin`.
mod builtin_code {
    pub const STRING: u64 = 2;
    pub const NAME_LOC: u64 = 14;
    pub const UNKNOWN_LOC: u64 = 15;
}

/// The codes of attributes of the dialect `vhlo`.
mod attribute_code {
    pub const ARRAY: u64 = 1;
    pub const BOOLEAN: u64 = 2;
    pub const COMPARISON_DIRECTION: u64 = 3;
    pub const COMPARISON_TYPE: u64 = 4;
    pub const INTEGER: u64 = 9;
    pub const PRECISION: u64 = 11;
    pub const STRING: u64 = 14;
    pub const TENSOR: u64 = 15;
    pub const TYPE: u64 = 17;
}

/// The codes of types of the dialect `vhlo`.
mod type_code {
    pub const FUNCTION: u64 = 8;
    pub const RANKED_TENSOR: u64 = 20;
}

impl Element {
    /// Returns the code of the type.
    fn code(self) -> u64 {
        match self {
            Self::Bool => 0,
            Self::Bf16 => 2,
            Self::F16 => 3,
            Self::F32 => 4,
            Self::F64 => 5,
            Self::I16 => 12,
            Self::I32 => 13,
            Self::I64 => 14,
            Self::U8 => 16,
            Self::U32 => 18,
        }
    }
}

/// A dialect, with its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Dialect {
    Builtin = 0,
    Vhlo = 1,
}

impl Dialect {
    pub const ALL: [(Self, &'static str); 2] = [(Self::Builtin, "builtin"), (Self::Vhlo, "vhlo")];
}

/// Entries without repetition.
#[derive(Debug)]
struct Table<T> {
    entries: Vec<T>,
    indices: HashMap<T, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), indices: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Table<T> {
    /// Returns the index of an entry.
    fn insert(&mut self, entry: T) -> usize {
        *self.indices.entry(entry).or_insert_with_key(|entry| {
            self.entries.push(entry.clone());
            self.entries.len() - 1
        })
    }
}

/// An encoded attribute or type, or the index of an operation's name.
type Entry<T> = (Dialect, T);

#[derive(Debug, Default)]
pub(super) struct Tables {
    strings: Table<String>,
    attributes: Table<Entry<Encoder>>,
    types: Table<Entry<Encoder>>,
    operations: Table<Entry<usize>>,
    properties: Table<Encoder>,
}

impl Tables {
    pub fn string(&mut self, string: &str) -> usize {
        self.strings.insert(string.to_string())
    }

    pub fn operation(&mut self, dialect: Dialect, name: &str) -> usize {
        let name = self.string(name);
        self.operations.insert((dialect, name))
    }

    /// Returns the index of the properties of an operation.
    pub fn properties(&mut self, properties: Encoder) -> usize {
        self.properties.insert(properties)
    }

    /// Returns the index of a location: the path of a layer or of a parameter, or none.
    pub fn location(&mut self, path: &str) -> usize {
        let unknown =
            self.attribute_of(Dialect::Builtin, |encoder| encoder.varint(builtin_code::UNKNOWN_LOC));
        if path.is_empty() {
            return unknown;
        }
        let string = self.string(path);
        let name = self.attribute_of(Dialect::Builtin, |encoder| {
            encoder.varint(builtin_code::STRING);
            encoder.index(string);
        });
        self.attribute_of(Dialect::Builtin, |encoder| {
            encoder.varint(builtin_code::NAME_LOC);
            encoder.index(name);
            encoder.index(unknown);
        })
    }

    fn attribute_of(&mut self, dialect: Dialect, encode: impl FnOnce(&mut Encoder)) -> usize {
        let mut encoder = Encoder::default();
        encode(&mut encoder);
        self.attributes.insert((dialect, encoder))
    }

    /// Returns the index of an attribute that has a code and an index or number.
    fn coded(&mut self, code: u64, value: usize) -> usize {
        self.attribute_of(Dialect::Vhlo, |encoder| {
            encoder.varint(code);
            encoder.index(value);
        })
    }

    pub fn string_attribute(&mut self, string: &str) -> usize {
        let string = self.string(string);
        self.coded(attribute_code::STRING, string)
    }

    /// Returns the index of a list of attributes.
    pub fn array_attribute(&mut self, elements: &[usize]) -> usize {
        self.attribute_of(Dialect::Vhlo, |encoder| {
            encoder.varint(attribute_code::ARRAY);
            encoder.indices(elements);
        })
    }

    /// Returns the index of the type of a function, as an attribute.
    pub fn function_type(&mut self, arguments: &[TensorType], results: &[TensorType]) -> usize {
        let [arguments, results] = [arguments, results]
            .map(|types| types.iter().map(|tensor_type| self.tensor_type(tensor_type)).collect::<Vec<_>>());
        let mut encoder = Encoder::default();
        encoder.varint(type_code::FUNCTION);
        encoder.indices(&arguments);
        encoder.indices(&results);
        let function_type = self.types.insert((Dialect::Vhlo, encoder));
        self.coded(attribute_code::TYPE, function_type)
    }

    fn element_type(&mut self, element: Element) -> usize {
        let mut encoder = Encoder::default();
        encoder.varint(element.code());
        self.types.insert((Dialect::Vhlo, encoder))
    }

    pub fn tensor_type(&mut self, tensor_type: &TensorType) -> usize {
        let element = self.element_type(tensor_type.element);
        let mut encoder = Encoder::default();
        encoder.varint(type_code::RANKED_TENSOR);
        encoder.index(tensor_type.dims.len());
        tensor_type.dims.iter().for_each(|size| encoder.signed_varint(*size as i64));
        encoder.index(element);
        self.types.insert((Dialect::Vhlo, encoder))
    }

    /// Returns the index of a constant. `bytes` are those of all elements, or of one that all have.
    fn tensor(&mut self, dims: Vec<usize>, element: Element, bytes: &[u8]) -> usize {
        let tensor_type = self.tensor_type(&TensorType { dims, element });
        self.attribute_of(Dialect::Vhlo, |encoder| {
            encoder.varint(attribute_code::TENSOR);
            encoder.index(tensor_type);
            encoder.blob(bytes);
        })
    }

    /// Returns the index of a constant of integers. Equal integers are stored once.
    fn int_tensor(&mut self, dims: Vec<usize>, numbers: &[i64]) -> usize {
        let is_splat = numbers.iter().all(|number| *number == numbers[0]);
        let stored = if is_splat { &numbers[..numbers.len().min(1)] } else { numbers };
        let bytes: Vec<u8> = stored.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.tensor(dims, Element::I64, &bytes)
    }

    pub fn attribute(&mut self, attribute: &Attribute) -> usize {
        match attribute {
            Attribute::Int(number) => {
                let i64_type = self.element_type(Element::I64);
                self.attribute_of(Dialect::Vhlo, |encoder| {
                    encoder.varint(attribute_code::INTEGER);
                    encoder.index(i64_type);
                    encoder.signed_varint(*number);
                })
            }
            Attribute::Bool(flag) => self.coded(attribute_code::BOOLEAN, usize::from(*flag)),
            Attribute::Ints(numbers) => self.int_tensor(vec![numbers.len()], numbers),
            Attribute::Flags(count) => self.tensor(vec![*count], Element::Bool, &[0]),
            Attribute::Pairs(pairs) => self.int_tensor(vec![pairs.len(), 2], pairs.as_flattened()),
            Attribute::Tensor(TensorType { dims, element }, bytes) => {
                self.tensor(dims.clone(), *element, bytes)
            }
            Attribute::Precision(precision) => {
                let precision = self.coded(attribute_code::PRECISION, *precision as usize);
                self.array_attribute(&[precision; 2])
            }
            Attribute::Direction(direction) => {
                self.coded(attribute_code::COMPARISON_DIRECTION, *direction as usize)
            }
            Attribute::ComparisonType(comparison) => {
                self.coded(attribute_code::COMPARISON_TYPE, *comparison as usize)
            }
        }
    }

    /// Writes the names of the dialects and of the operations.
    pub fn write_dialects(&mut self, artifact: &mut Encoder) {
        let mut section = Encoder::default();
        section.index(Dialect::ALL.len());
        for (_, name) in Dialect::ALL {
            // The flag states that a version follows. The version of `vhlo` is a part of the producer instead.
            let name = self.string(name);
            section.flagged(name, false);
        }
        section.index(self.operations.entries.len());
        // The flag states that the dialect defines the operation.
        write_groups(&mut section, &self.operations.entries, |section, name| section.flagged(*name, true));
        artifact.section(Section::Dialect, &section);
    }

    /// Writes the attributes and the types, and the sizes of their encodings.
    pub fn write_attributes_and_types(&self, artifact: &mut Encoder) {
        let mut sizes = Encoder::default();
        let mut content = Encoder::default();
        sizes.index(self.attributes.entries.len());
        sizes.index(self.types.entries.len());
        for entries in [&self.attributes.entries, &self.types.entries] {
            write_groups(&mut sizes, entries, |sizes, encoded| {
                // The flag states that the dialect defines the encoding.
                sizes.flagged(encoded.0.len(), true);
                content.bytes(&encoded.0);
            });
        }
        artifact.section(Section::AttrTypeOffset, &sizes);
        artifact.section(Section::AttrType, &content);
    }

    /// Writes the strings after their sizes, the last of which comes first. Each string ends with a zero.
    pub fn write_strings(&self, artifact: &mut Encoder) {
        let mut section = Encoder::default();
        section.index(self.strings.entries.len());
        self.strings.entries.iter().rev().for_each(|string| section.index(string.len() + 1));
        for string in &self.strings.entries {
            section.bytes(string.as_bytes());
            section.byte(0);
        }
        artifact.section(Section::String, &section);
    }

    pub fn write_properties(&self, artifact: &mut Encoder) {
        let mut section = Encoder::default();
        section.index(self.properties.entries.len());
        self.properties.entries.iter().for_each(|properties| section.blob(&properties.0));
        artifact.section(Section::Properties, &section);
    }
}

/// Writes entries in groups of the same dialect.
fn write_groups<T>(section: &mut Encoder, entries: &[Entry<T>], mut write: impl FnMut(&mut Encoder, &T)) {
    for group in entries.chunk_by(|(dialect, _), (other, _)| dialect == other) {
        section.index(group[0].0 as usize);
        section.index(group.len());
        group.iter().for_each(|(_, entry)| write(section, entry));
    }
}
