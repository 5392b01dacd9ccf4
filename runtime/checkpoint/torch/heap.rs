//! The objects of a pickle: values that are cheap to copy, pointing into one heap.
//!
//! Pickled objects may contain themselves; indices instead of references make that harmless.

use super::globals::Global;
use crate::checkpoint::element::Element;
use crate::checkpoint::strided::View;
use crate::{Error, Result};

/// A pickled value; the numbers of tuples, lists and the like are their places on the [`Heap`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool,
    Int(i64),
    /// An integer of more than 64 bits: two's complement, little-endian.
    Long(&'a [u8]),
    Str(&'a str),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
    Global(Global),
    /// Something that no tensor needs: a float, bytes, a set, a device.
    Other,
}

impl Value<'_> {
    /// Whether a long list of such values can have to do with tensors.
    fn may_matter(self) -> bool {
        !matches!(self, Self::None | Self::Bool | Self::Int(_) | Self::Long(_) | Self::Other)
    }

    /// What it is, for messages.
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

/// A storage as the pickle names it; its bytes are elsewhere in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StorageRecord<'a> {
    pub key: &'a str,
    pub bytes: usize,
    /// Its element type, as the legacy format counts elements.
    pub element: Element,
}

/// A tensor as the pickle describes it: how it looks into a storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TensorRecord<'a> {
    pub storage: StorageRecord<'a>,
    pub element: Element,
    pub view: View,
}

/// All objects that a pickle has made. Of the indices in [`Value`]s only its own reach it.
#[derive(Debug, Default)]
pub(super) struct Heap<'a> {
    sequences: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<StorageRecord<'a>>,
    tensors: Vec<TensorRecord<'a>>,
    /// Bytes of what the objects point to.
    owned: usize,
}

/// No shape is longer than this; beyond it, a list of numbers is a training script's log.
const LONG_LIST: usize = 64;

/// What a storage or tensor takes in the tables by which it is found.
const LOOKED_UP: usize = 256;

/// Puts an object on its part of the heap and returns its place.
fn allocate<Object>(part: &mut Vec<Object>, object: Object) -> usize {
    part.push(object);
    part.len() - 1
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
        self.owned += LOOKED_UP;
        Value::Storage(allocate(&mut self.storages, storage))
    }

    pub fn tensor(&mut self, tensor: TensorRecord<'a>) -> Value<'a> {
        self.owned += LOOKED_UP + 2 * tensor.view.shape.capacity() * size_of::<usize>();
        Value::Tensor(allocate(&mut self.tensors, tensor))
    }

    /// Bytes that the objects take, about.
    pub fn memory(&self) -> usize {
        self.owned
            + self.sequences.capacity() * size_of::<Vec<Value>>()
            + self.dicts.capacity() * size_of::<Vec<(Value, Value)>>()
            + self.storages.capacity() * size_of::<StorageRecord>()
            + self.tensors.capacity() * size_of::<TensorRecord>()
    }

    /// The items of a tuple or a list.
    pub fn items(&self, value: Value<'a>) -> Result<&[Value<'a>]> {
        match value {
            Value::Tuple(place) | Value::List(place) => Ok(&self.sequences[place]),
            other => Err(unexpected("a tuple or a list", other)),
        }
    }

    pub fn extend_list(&mut self, list: Value<'a>, items: &[Value<'a>]) -> Result<()> {
        match list {
            Value::List(place) => {
                let list = &mut self.sequences[place];
                let before = list.capacity();
                let short = LONG_LIST.saturating_sub(list.len()).min(items.len());
                let (kept, sifted) = items.split_at(short);
                list.extend_from_slice(kept);
                list.extend(sifted.iter().copied().filter(|item| item.may_matter()));
                self.owned += (list.capacity() - before) * size_of::<Value>();
            }
            // A set takes items as well.
            Value::Other => {}
            other => return Err(unexpected("a list", other)),
        }
        Ok(())
    }

    /// The keys and values of a dictionary; a key may stand there again with a later value.
    pub fn entries(&self, value: Value<'a>) -> Result<&[(Value<'a>, Value<'a>)]> {
        match value {
            Value::Dict(place) => Ok(&self.dicts[place]),
            other => Err(unexpected("a dictionary", other)),
        }
    }

    /// Adds keys and values that follow each other in `items`.
    pub fn extend_dict(&mut self, dict: Value<'a>, items: &[Value<'a>]) -> Result<()> {
        let place = match dict {
            Value::Dict(place) => place,
            // A dictionary of some other class, such as a counter.
            Value::Other => return Ok(()),
            other => return Err(unexpected("a dictionary", other)),
        };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Error::msg("a dictionary's last key has no value"));
        }
        let dict = &mut self.dicts[place];
        let before = dict.capacity();
        dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
        self.owned += (dict.capacity() - before) * size_of::<(Value, Value)>();
        Ok(())
    }

    pub fn storage_record(&self, value: Value<'a>) -> Result<StorageRecord<'a>> {
        match value {
            Value::Storage(place) => Ok(self.storages[place]),
            other => Err(unexpected("a storage", other)),
        }
    }

    pub fn tensor_record(&self, value: Value<'a>) -> Result<&TensorRecord<'a>> {
        match value {
            Value::Tensor(place) => Ok(&self.tensors[place]),
            other => Err(unexpected("a tensor", other)),
        }
    }

    /// Every storage that the pickle names, those of tensors that nobody asks for included.
    pub fn storages(&self) -> &[StorageRecord<'a>] {
        &self.storages
    }
}

pub(super) fn unexpected(expected: &str, found: Value<'_>) -> Error {
    Error::msg(format!("expected {expected}, got {}", found.kind()))
}

/// A number of elements or bytes.
pub(super) fn count(value: Value<'_>) -> Result<usize> {
    match value {
        Value::Int(number) => usize::try_from(number)
            .map_err(|_| Error::msg(format!("expected a number that is not negative, got {number}"))),
        other => Err(unexpected("an integer", other)),
    }
}
