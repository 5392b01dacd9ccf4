//! The objects of a pickle.
//!
//! Values are `Copy` and refer to objects on the heap by index, because pickled objects may contain themselves.

use crate::checkpoint::element::ElementType;
use crate::checkpoint::strided::View;
use crate::{Error, Result};

use super::globals::Global;

/// A pickled value. Tuples, lists, dictionaries, storages and tensors are indices into the [`Heap`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool,
    Int(i64),
    /// An integer of more than 64 bits, in little-endian two's complement.
    Long(&'a [u8]),
    Str(&'a str),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
    Global(Global),
    /// A value not needed for tensors: a float, bytes, a set, a device.
    Other,
}

impl Value<'_> {
    /// Returns `true` if a list longer than [`LONG_LIST`] must keep this value, because a tensor may depend on it.
    fn may_be_needed(self) -> bool {
        !matches!(self, Self::None | Self::Bool | Self::Int(_) | Self::Long(_) | Self::Other)
    }

    /// Returns the kind of the value, for error messages.
    pub fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a boolean",
            Self::Int(_) | Self::Long(_) => "an integer",
            Self::Str(_) => "a string",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Global(_) => "a class or function",
            Self::Other => "another object",
        }
    }
}

/// A storage described in the pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StorageRecord<'a> {
    pub key: &'a str,
    pub bytes: usize,
    /// The element type. In the legacy format, the length of a storage is the number of elements of this type.
    pub element: ElementType,
}

/// A tensor described in the pickle: a view of a storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TensorRecord<'a> {
    pub storage: StorageRecord<'a>,
    pub element: ElementType,
    pub view: View,
}

/// All objects created by a pickle. The indices in [`Value`]s are valid only for their own heap.
#[derive(Debug, Default)]
pub(super) struct Heap<'a> {
    /// The items of tuples and lists.
    sequences: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<StorageRecord<'a>>,
    tensors: Vec<TensorRecord<'a>>,
    /// An estimate, in bytes, of the memory that the objects own outside the vectors above.
    owned: usize,
}

/// The number of items above which a list keeps only the values that a tensor may depend on. The shape of a tensor is
/// never that long; such a list is usually the log of a training script.
const LONG_LIST: usize = 64;

/// An estimate, in bytes, of the memory that a storage or tensor takes in the hash maps of the code that reads it.
const LOOKUP_BYTES: usize = 256;

/// Adds an object to `objects` and returns its index.
fn allocate<Object>(objects: &mut Vec<Object>, object: Object) -> usize {
    objects.push(object);
    objects.len() - 1
}

impl<'a> Heap<'a> {
    pub fn tuple(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        Value::Tuple(self.sequence(items))
    }

    pub fn list(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(self.sequence(items))
    }

    fn sequence(&mut self, items: Vec<Value<'a>>) -> usize {
        self.owned += items.capacity() * size_of::<Value>();
        allocate(&mut self.sequences, items)
    }

    pub fn dict(&mut self) -> Value<'a> {
        Value::Dict(allocate(&mut self.dicts, Vec::new()))
    }

    pub fn storage(&mut self, storage: StorageRecord<'a>) -> Value<'a> {
        self.owned += LOOKUP_BYTES;
        Value::Storage(allocate(&mut self.storages, storage))
    }

    pub fn tensor(&mut self, tensor: TensorRecord<'a>) -> Value<'a> {
        self.owned += LOOKUP_BYTES + 2 * tensor.view.shape.capacity() * size_of::<usize>();
        Value::Tensor(allocate(&mut self.tensors, tensor))
    }

    /// Returns the approximate memory of the objects in bytes.
    pub fn memory(&self) -> usize {
        self.owned
            + self.sequences.capacity() * size_of::<Vec<Value>>()
            + self.dicts.capacity() * size_of::<Vec<(Value, Value)>>()
            + self.storages.capacity() * size_of::<StorageRecord>()
            + self.tensors.capacity() * size_of::<TensorRecord>()
    }

    /// Returns the items of a tuple or a list.
    pub fn items(&self, value: Value<'a>) -> Result<&[Value<'a>]> {
        match value {
            Value::Tuple(index) | Value::List(index) => Ok(&self.sequences[index]),
            other => Err(unexpected("a tuple or a list", other)),
        }
    }

    /// Appends items to a list. A list longer than [`LONG_LIST`] keeps only items that may be needed.
    pub fn extend_list(&mut self, list: Value<'a>, items: &[Value<'a>]) -> Result<()> {
        match list {
            Value::List(index) => {
                let list = &mut self.sequences[index];
                let before = list.capacity();
                let unfiltered_count = LONG_LIST.saturating_sub(list.len()).min(items.len());
                let (unfiltered, filtered) = items.split_at(unfiltered_count);
                list.extend_from_slice(unfiltered);
                list.extend(filtered.iter().copied().filter(|item| item.may_be_needed()));
                self.owned += (list.capacity() - before) * size_of::<Value>();
            }
            // The value may be a set. Sets are ignored.
            Value::Other => {}
            other => return Err(unexpected("a list", other)),
        }
        Ok(())
    }

    /// Returns the keys and values of a dictionary. A key may be repeated; the last value counts.
    pub fn entries(&self, value: Value<'a>) -> Result<&[(Value<'a>, Value<'a>)]> {
        match value {
            Value::Dict(index) => Ok(&self.dicts[index]),
            other => Err(unexpected("a dictionary", other)),
        }
    }

    /// Adds entries to a dictionary. `items` alternates between keys and values.
    pub fn extend_dict(&mut self, dict: Value<'a>, items: &[Value<'a>]) -> Result<()> {
        let index = match dict {
            Value::Dict(index) => index,
            // The value may be a dictionary of another class, such as `Counter`. Such dictionaries are ignored.
            Value::Other => return Ok(()),
            other => return Err(unexpected("a dictionary", other)),
        };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Error::msg("a dictionary's last key has no value"));
        }
        let dict = &mut self.dicts[index];
        let before = dict.capacity();
        dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
        self.owned += (dict.capacity() - before) * size_of::<(Value, Value)>();
        Ok(())
    }

    pub fn storage_record(&self, value: Value<'a>) -> Result<StorageRecord<'a>> {
        match value {
            Value::Storage(index) => Ok(self.storages[index]),
            other => Err(unexpected("a storage", other)),
        }
    }

    pub fn tensor_record(&self, value: Value<'a>) -> Result<&TensorRecord<'a>> {
        match value {
            Value::Tensor(index) => Ok(&self.tensors[index]),
            other => Err(unexpected("a tensor", other)),
        }
    }

    /// Returns all storages of the pickle, including those of tensors outside the state dict.
    pub fn storages(&self) -> &[StorageRecord<'a>] {
        &self.storages
    }
}

/// Returns the error for a value of the wrong kind.
pub(super) fn unexpected(expected: &str, found: Value<'_>) -> Error {
    Error::msg(format!("expected {expected}, found {}", found.kind()))
}

/// Converts an integer to a number of elements or bytes.
pub(super) fn count(value: Value<'_>) -> Result<usize> {
    match value {
        Value::Int(number) => usize::try_from(number)
            .map_err(|_| Error::msg(format!("expected a number that is not negative, found {number}"))),
        other => Err(unexpected("an integer", other)),
    }
}
