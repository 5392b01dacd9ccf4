//! The results of calling classes and functions.

use crate::checkpoint::element::ElementType;
use crate::checkpoint::strided::View;
use crate::{Error, Result};

use super::class::Class;
use super::dtype::Dtype;
use super::globals::Global;
use super::values::{PickledValues, StorageRecord, TensorRecord, Value, count, unexpected};

/// Returns the result of `callable(*arguments)`.
pub(super) fn call<'a>(
    values: &mut PickledValues<'a>,
    callable: Value<'a>,
    arguments: Value<'a>,
) -> Result<Value<'a>> {
    match callable {
        Value::Global(Global::RebuildFromType) => {
            let function = argument(values, arguments, 0)?;
            let arguments = argument(values, arguments, 2)?;
            // Reject nested calls, which would let a pickle control the recursion depth.
            match function {
                Value::Global(function) if function != Global::RebuildFromType => {
                    call_function(values, function, arguments)
                }
                other => Err(unexpected("a function that rebuilds a tensor", other)),
            }
        }
        Value::Global(function) => call_function(values, function, arguments),
        // The callable is the result of an earlier call that the reader did not run.
        Value::Object(object) => Ok(values.object(values.class_index(object))),
        other => Err(unexpected("a class or function to call", other)),
    }
}

fn call_function<'a>(
    values: &mut PickledValues<'a>,
    function: Global,
    arguments: Value<'a>,
) -> Result<Value<'a>> {
    match function {
        Global::OrderedDict => ordered_dict(values, arguments),
        Global::FirstArgument => argument(values, arguments, 0),
        Global::RebuildTensor => rebuild_tensor(values, arguments),
        Global::RebuildTensorOfType => rebuild_tensor_of_type(values, arguments),
        Global::RebuildUnsupported(kind) => Ok(Value::UnsupportedTensor(kind)),
        Global::Set => match values.items(arguments)?.first() {
            Some(&Value::List(items) | &Value::Tuple(items) | &Value::Set(items)) => Ok(Value::Set(items)),
            _ => Ok(values.set(Vec::new())),
        },
        Global::Encode => Ok(Value::Opaque("bytes")),
        Global::GetAttribute => Ok(attribute(values, arguments)),
        Global::Instantiate => match argument(values, arguments, 0)? {
            Value::Global(Global::Foreign(class)) => Ok(values.object(class)),
            _ => Ok(Value::Opaque("object")),
        },
        Global::Foreign(class) => Ok(values.object(class)),
        Global::RebuildFromType | Global::Storage(_) | Global::Type(_) => {
            Err(Error::msg("expected a function that can be called here, found another class or function"))
        }
    }
}

/// Returns the attribute of a class, such as the member of an enum, or a placeholder for any other attribute.
fn attribute<'a>(values: &mut PickledValues<'a>, arguments: Value<'a>) -> Value<'a> {
    let class = match values.items(arguments) {
        Ok(&[Value::Global(Global::Foreign(class)), Value::Str(name)]) => {
            Class { attribute: Some(name), ..values.foreign_class(class) }
        }
        _ => Class { module: "builtins", name: "getattr", attribute: None },
    };
    Value::Global(values.foreign(class))
}

fn argument<'a>(values: &PickledValues<'a>, arguments: Value<'a>, index: usize) -> Result<Value<'a>> {
    let arguments = values.items(arguments)?;
    arguments.get(index).copied().ok_or_else(|| {
        Error::msg(format!("expected at least {} arguments in a call, found {}", index + 1, arguments.len()))
    })
}

/// Builds `OrderedDict()` or, from Python 2, `OrderedDict([[key, value], …])`.
fn ordered_dict<'a>(values: &mut PickledValues<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
    let mut flat = Vec::new();
    if let Some(&pairs) = values.items(arguments)?.first() {
        for &pair in values.items(pairs)? {
            match values.items(pair)? {
                [key, value] => flat.extend([*key, *value]),
                items => {
                    return Err(Error::msg(format!(
                        "expected a key and a value, found {} items",
                        items.len()
                    )));
                }
            }
        }
    }
    let dict = values.dict();
    values.extend_dict(dict, &flat)?;
    Ok(dict)
}

/// The maximum number of metadata entries of a tensor. PyTorch writes at most two.
const MAX_METADATA: usize = 64;

/// Returns `true` if a tensor is lazily negated or conjugated. PyTorch marks such tensors in the metadata, which is the
/// argument at `index`.
fn is_lazy<'a>(values: &PickledValues<'a>, arguments: Value<'a>, index: usize) -> Result<bool> {
    let Some(&metadata @ Value::Dict(_)) = values.items(arguments)?.get(index) else { return Ok(false) };
    let entries = values.entries(metadata)?;
    // Limit the length of this dictionary: all tensors of a file may share it, and it is searched once per tensor.
    if entries.len() > MAX_METADATA {
        let found = entries.len();
        return Err(Error::msg(format!(
            "expected at most {MAX_METADATA} metadata entries of a tensor, found {found}"
        )));
    }
    Ok(entries.iter().any(|(key, _)| matches!(key, Value::Str("neg" | "conj"))))
}

/// Builds a tensor from the arguments `(storage, offset, size, stride, requires_grad, hooks, metadata)`.
fn rebuild_tensor<'a>(values: &mut PickledValues<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
    match values.storage_record(argument(values, arguments, 0)?)?.dtype {
        Dtype::Supported(element) => view(values, arguments, element, 6),
        Dtype::Unsupported(dtype) => Ok(Value::UnsupportedTensor(dtype.name)),
    }
}

/// Builds a tensor from the arguments `(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)`.
fn rebuild_tensor_of_type<'a>(values: &mut PickledValues<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
    match argument(values, arguments, 6)? {
        Value::Global(Global::Type(element)) => view(values, arguments, element, 7),
        Value::Global(Global::Foreign(dtype)) => {
            Ok(Value::UnsupportedTensor(values.foreign_class(dtype).name))
        }
        other => Err(unexpected("an element type", other)),
    }
}

/// Builds a tensor from the arguments `(storage, offset, size, stride, …)`. `metadata` is the index of the metadata.
fn view<'a>(
    values: &mut PickledValues<'a>,
    arguments: Value<'a>,
    element: ElementType,
    metadata: usize,
) -> Result<Value<'a>> {
    if is_lazy(values, arguments, metadata)? {
        return Ok(Value::UnsupportedTensor("lazily negated"));
    }
    let storage = values.storage_record(argument(values, arguments, 0)?)?;
    let view = View {
        offset: count(argument(values, arguments, 1)?)?,
        shape: counts(values, argument(values, arguments, 2)?)?,
        strides: counts(values, argument(values, arguments, 3)?)?,
    };
    Ok(values.tensor(TensorRecord { storage, element, view }))
}

fn counts<'a>(values: &PickledValues<'a>, sequence: Value<'a>) -> Result<Vec<usize>> {
    values.items(sequence)?.iter().map(|&value| count(value)).collect()
}

/// Returns the object with the persistent id `id`: a storage or, in a legacy file, the class of a module. The id of a
/// class also contains the source code of the class.
pub(super) fn persistent<'a>(values: &mut PickledValues<'a>, id: Value<'a>) -> Result<Value<'a>> {
    match values.items(id)? {
        [Value::Str("module"), class, ..] => Ok(*class),
        _ => storage(values, id),
    }
}

/// The maximum length of a storage's key in bytes. PyTorch writes numbers. A file may use one long key for many
/// storages, and the reader hashes the key for each tensor.
const MAX_KEY: usize = 64;

/// Returns the storage of the persistent id `('storage', class, key, device, elements, view)`. Only legacy files have
/// `view`, which must be `None`.
fn storage<'a>(values: &mut PickledValues<'a>, id: Value<'a>) -> Result<Value<'a>> {
    let (dtype, key, elements) = match values.items(id)? {
        &[Value::Str("storage"), Value::Global(Global::Storage(dtype)), Value::Str(key), _, elements]
        | &[
            Value::Str("storage"),
            Value::Global(Global::Storage(dtype)),
            Value::Str(key),
            _,
            elements,
            Value::None,
        ] => (dtype, key, count(elements)?),
        items => {
            let kinds: Vec<_> = items.iter().take(6).map(|item| item.kind()).collect();
            return Err(Error::msg(format!(
                "expected a storage's class, key, device and length, found {}",
                kinds.join(", ")
            )));
        }
    };
    if key.len() > MAX_KEY {
        let length = key.len();
        return Err(Error::msg(format!(
            "expected storage keys of at most {MAX_KEY} bytes, found one of {length}"
        )));
    }
    let bytes = elements.checked_mul(dtype.size()).ok_or_else(|| {
        Error::msg(format!("storage `{key}` of {elements} elements is too large for memory"))
    })?;
    Ok(values.storage(StorageRecord { key, bytes, dtype }))
}
