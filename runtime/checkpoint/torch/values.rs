//! The values that a pickle creates.
//!
//! A [`Value`] is `Copy` and refers to an object by its index in [`PickledValues`], because pickled objects may contain
//! themselves.

use crate::checkpoint::element::ElementType;
use crate::checkpoint::strided::View;
use crate::{Error, Result};

use super::class::Class;
use super::dtype::Dtype;
use super::globals::Global;

/// A pickled value. Containers, storages, tensors and objects are indices into the [`PickledValues`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool,
    Int(i64),
    /// An integer of more than 64 bits, in little-endian two's complement.
    Long(&'a [u8]),
    /// An integer of more than 64 bits, in decimal digits.
    Decimal(&'a str),
    Str(&'a str),
    /// A value of a builtin class, for example a float. Only the name of the class is kept.
    Opaque(&'static str),
    Tuple(usize),
    List(usize),
    Set(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
    /// A tensor that candle cannot represent. The field is the dtype, or another description such as `sparse`.
    UnsupportedTensor(&'a str),
    Global(Global),
    /// The result of calling a class or function that the reader does not implement.
    Object(usize),
    /// Consecutive items that a list longer than [`LONG_LIST`] leaves out. The field is their number.
    Elided(usize),
}

// Values are small, so that the objects of a valid pickle need no more memory than the length of the file allows.
const _: () = assert!(size_of::<Value>() <= 24);

impl Value<'_> {
    /// Returns `true` if a list longer than [`LONG_LIST`] must keep this value, because a tensor may depend on it or
    /// because it is listed as skipped.
    fn is_kept_in_long_list(self) -> bool {
        !matches!(
            self,
            Self::None | Self::Bool | Self::Int(_) | Self::Long(_) | Self::Decimal(_) | Self::Opaque(_)
        )
    }

    pub fn is_tensor(self) -> bool {
        matches!(self, Self::Tensor(_) | Self::UnsupportedTensor(_))
    }

    /// Returns the kind of the value, for error messages.
    pub fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a boolean",
            Self::Int(_) | Self::Long(_) | Self::Decimal(_) => "an integer",
            Self::Str(_) | Self::Opaque("str") => "a string",
            Self::Opaque("float") => "a float",
            Self::Opaque("bytes") => "bytes",
            Self::Opaque(_) | Self::Object(_) => "an object",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Set(_) => "a set",
            Self::Dict(_) => "a dictionary",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) | Self::UnsupportedTensor(_) => "a tensor",
            Self::Global(_) => "a class or function",
            Self::Elided(_) => "items of a long list",
        }
    }
}

/// A storage described in the pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StorageRecord<'a> {
    pub key: &'a str,
    pub bytes: usize,
    /// The element type. In the legacy format, the length of a storage is the number of elements of this type.
    pub dtype: Dtype,
}

/// A tensor described in the pickle: a view of a storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TensorRecord<'a> {
    pub storage: StorageRecord<'a>,
    pub element: ElementType,
    pub view: View,
}

/// The result of a call that the reader does not run, with what the pickle adds to the result.
#[derive(Debug)]
struct Object<'a> {
    /// The index of the class or function.
    class: usize,
    /// The argument of the opcode BUILD: usually the dictionary of the object's attributes.
    state: Option<Value<'a>>,
    /// The keys and values, if the object is an instance of a subclass of `dict`.
    items: Dict<'a>,
}

/// A key and a value of a dictionary.
pub(super) type Entry<'a> = (Value<'a>, Value<'a>);

/// The entries of a dictionary.
#[derive(Debug, Default)]
struct Dict<'a> {
    entries: Vec<Entry<'a>>,
    /// Whether at least one entry has a string as its key and a tensor as its value.
    has_tensors: bool,
    /// Whether the entries are the attributes of a module.
    is_module: bool,
}

impl<'a> Dict<'a> {
    fn push(&mut self, key: Value<'a>, value: Value<'a>) {
        self.has_tensors |= matches!(key, Value::Str(_)) && value.is_tensor();
        self.is_module |= matches!(key, Value::Str("_parameters" | "_modules"));
        self.entries.push((key, value));
    }
}

/// All containers, storages, tensors and objects that a pickle creates. The index in a [`Value`] is valid only in the
/// `PickledValues` that returned the value.
#[derive(Debug, Default)]
pub(super) struct PickledValues<'a> {
    /// The items of tuples, lists and sets.
    sequences: Vec<Vec<Value<'a>>>,
    dicts: Vec<Dict<'a>>,
    objects: Vec<Object<'a>>,
    classes: Vec<Class<'a>>,
    storages: Vec<StorageRecord<'a>>,
    tensors: Vec<TensorRecord<'a>>,
    /// An estimate, in bytes, of the memory that the objects own outside the vectors above.
    owned: usize,
}

/// The number of items after which a list counts simple values instead of keeping them. The shape of a tensor is never
/// longer. A longer list of simple values is usually the log of a training script.
pub(super) const LONG_LIST: usize = 64;

/// An estimate, in bytes, of the memory that the hash maps of the readers need for a storage or tensor.
const LOOKUP_BYTES: usize = 256;

/// Adds an object to `objects` and returns its index.
fn allocate<T>(objects: &mut Vec<T>, object: T) -> usize {
    objects.push(object);
    objects.len() - 1
}

impl<'a> PickledValues<'a> {
    pub fn tuple(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        Value::Tuple(self.sequence(items))
    }

    pub fn list(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(self.sequence(items))
    }

    pub fn set(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        Value::Set(self.sequence(items))
    }

    fn sequence(&mut self, items: Vec<Value<'a>>) -> usize {
        self.owned += items.capacity() * size_of::<Value>();
        allocate(&mut self.sequences, items)
    }

    pub fn dict(&mut self) -> Value<'a> {
        Value::Dict(allocate(&mut self.dicts, Dict::default()))
    }

    /// Returns a class or function that the reader does not implement.
    pub fn foreign(&mut self, class: Class<'a>) -> Global {
        Global::Foreign(allocate(&mut self.classes, class))
    }

    /// Returns an instance of [`Global::Foreign`] with the index `class`.
    pub fn object(&mut self, class: usize) -> Value<'a> {
        Value::Object(allocate(&mut self.objects, Object { class, state: None, items: Dict::default() }))
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
            + self.dicts.capacity() * size_of::<Dict>()
            + self.objects.capacity() * size_of::<Object>()
            + self.classes.capacity() * size_of::<Class>()
            + self.storages.capacity() * size_of::<StorageRecord>()
            + self.tensors.capacity() * size_of::<TensorRecord>()
    }

    /// Returns the number of tuples, lists, sets and dictionaries.
    pub fn container_count(&self) -> usize {
        self.sequences.len() + self.dicts.len()
    }

    /// Returns the index of a tuple, list, set or dictionary among all of them, or `None` for other values. The largest
    /// index is [`container_count`](Self::container_count) - 1.
    pub fn container_index(&self, value: Value<'a>) -> Option<usize> {
        match value {
            Value::Tuple(index) | Value::List(index) | Value::Set(index) => Some(index),
            Value::Dict(index) => Some(self.sequences.len() + index),
            _ => None,
        }
    }

    /// Returns the items of a tuple, a list or a set.
    pub fn items(&self, value: Value<'a>) -> Result<&[Value<'a>]> {
        match value {
            Value::Tuple(index) | Value::List(index) | Value::Set(index) => Ok(&self.sequences[index]),
            other => Err(unexpected("a tuple or a list", other)),
        }
    }

    /// Returns the items of a tuple, a list or a set, each after its index. Elided items are left out.
    pub fn numbered_items(&self, value: Value<'a>) -> impl Iterator<Item = Entry<'a>> {
        let mut index = 0;
        self.items(value).unwrap_or_default().iter().filter_map(move |&item| {
            let position = index;
            index += if let Value::Elided(count) = item { count as i64 } else { 1 };
            (!matches!(item, Value::Elided(_))).then_some((Value::Int(position), item))
        })
    }

    /// Appends items to a list or a set. After the first [`LONG_LIST`] items, consecutive simple values become one
    /// [`Value::Elided`].
    pub fn extend_list(&mut self, list: Value<'a>, items: &[Value<'a>]) -> Result<()> {
        match list {
            Value::List(index) | Value::Set(index) => {
                let list = &mut self.sequences[index];
                let before = list.capacity();
                let unfiltered_count = LONG_LIST.saturating_sub(list.len()).min(items.len());
                let (unfiltered, filtered) = items.split_at(unfiltered_count);
                list.extend_from_slice(unfiltered);
                filtered.iter().for_each(|item| push_to_long_list(list, *item));
                self.owned += (list.capacity() - before) * size_of::<Value>();
            }
            // The object is an instance of a subclass of `list` or `set`. Its items are not needed.
            Value::Object(_) => {}
            other => return Err(unexpected("a list", other)),
        }
        Ok(())
    }

    /// Returns the keys and values of a dictionary or of an object that may be one. A key may be repeated; the last
    /// value counts.
    pub fn entries(&self, value: Value<'a>) -> Result<&[Entry<'a>]> {
        let dict = self.dict_index(value).ok_or_else(|| unexpected("a dictionary", value))?;
        Ok(&self.dict_at(dict).entries)
    }

    /// Returns the number of dictionaries and of objects that may be dictionaries.
    pub fn dict_count(&self) -> usize {
        self.dicts.len() + self.objects.len()
    }

    /// Returns the index of a dictionary, or of an object that may be one, among all of them. Returns `None` for other
    /// values. The largest index is [`dict_count`](Self::dict_count) - 1.
    pub fn dict_index(&self, value: Value<'a>) -> Option<usize> {
        match value {
            Value::Dict(index) => Some(index),
            Value::Object(index) => Some(self.dicts.len() + index),
            _ => None,
        }
    }

    fn dict_at(&self, index: usize) -> &Dict<'a> {
        match index.checked_sub(self.dicts.len()) {
            None => &self.dicts[index],
            Some(object) => &self.objects[object].items,
        }
    }

    /// Returns `true` if the value is a dictionary, or an object with entries.
    pub fn is_dict(&self, value: Value<'a>) -> bool {
        match value {
            Value::Dict(_) => true,
            Value::Object(index) => !self.objects[index].items.entries.is_empty(),
            _ => false,
        }
    }

    /// Returns `true` if the value is a dictionary with a named tensor.
    pub fn has_tensors(&self, value: Value<'a>) -> bool {
        self.dict_index(value).is_some_and(|dict| self.dict_at(dict).has_tensors)
    }

    /// Adds entries to a dictionary. `items` alternates between keys and values.
    pub fn extend_dict(&mut self, dict: Value<'a>, items: &[Value<'a>]) -> Result<()> {
        let dict = match dict {
            Value::Dict(index) => &mut self.dicts[index],
            Value::Object(index) => &mut self.objects[index].items,
            other => return Err(unexpected("a dictionary", other)),
        };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Error::msg("a dictionary's last key has no value"));
        }
        let before = dict.entries.capacity();
        dict.entries.reserve(pairs.len());
        for &[key, value] in pairs {
            dict.push(key, value);
        }
        self.owned += (dict.entries.capacity() - before) * size_of::<Entry>();
        Ok(())
    }

    /// Sets the state of an object. Ignores the state of other values, such as the `_metadata` of a state dict.
    pub fn build(&mut self, value: Value<'a>, state: Value<'a>) {
        if let Value::Object(index) = value {
            self.objects[index].state = Some(state);
        }
    }

    /// Returns the dictionary of an object's attributes. With slots, the state is a tuple of this dictionary and the
    /// slots.
    fn attribute_dict(&self, value: Value<'a>) -> Option<&Dict<'a>> {
        let Value::Object(index) = value else { return None };
        let state = match self.objects[index].state? {
            Value::Tuple(items) => *self.sequences[items].first()?,
            other => other,
        };
        match state {
            Value::Dict(index) => Some(&self.dicts[index]),
            _ => None,
        }
    }

    /// Returns the attributes of an object, or an empty slice for other values.
    pub fn attributes(&self, value: Value<'a>) -> &[Entry<'a>] {
        self.attribute_dict(value).map(|dict| &dict.entries[..]).unwrap_or_default()
    }

    /// Returns `true` if the value is an instance of `torch.nn.Module`.
    pub fn is_module(&self, value: Value<'a>) -> bool {
        self.attribute_dict(value).is_some_and(|dict| dict.is_module)
    }

    /// Returns the classes and functions that the pickle names and that the reader does not implement.
    pub fn classes(&self) -> &[Class<'a>] {
        &self.classes
    }

    /// Returns the class or function whose call made an object.
    pub fn class(&self, object: usize) -> Class<'a> {
        self.classes[self.objects[object].class]
    }

    /// Returns the index of an object's class in [`classes`](Self::classes).
    pub fn class_index(&self, object: usize) -> usize {
        self.objects[object].class
    }

    /// Returns the class or function [`Global::Foreign`] with the index `class`.
    pub fn foreign_class(&self, class: usize) -> Class<'a> {
        self.classes[class]
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

/// Appends an item to a list that has [`LONG_LIST`] items or more.
fn push_to_long_list<'a>(list: &mut Vec<Value<'a>>, item: Value<'a>) {
    match (list.last_mut(), item) {
        (_, item) if item.is_kept_in_long_list() => list.push(item),
        (Some(Value::Elided(count)), _) => *count += 1,
        _ => list.push(Value::Elided(1)),
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
