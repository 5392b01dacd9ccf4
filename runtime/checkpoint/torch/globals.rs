//! The classes and functions that a pickle may name, and the results of calling them.
//!
//! Python imports and runs any function that a pickle names. Here, every name outside a fixed list is an error.

use crate::checkpoint::element::ElementType;
use crate::checkpoint::strided::View;
use crate::{Error, Result};

use super::heap::{Heap, StorageRecord, TensorRecord, Value, count, unexpected};

/// A supported class or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    Size,
    /// `_rebuild_tensor` and `_rebuild_tensor_v2`, which have the same first arguments.
    RebuildTensor,
    /// `_rebuild_tensor_v3`, for element types without a storage class. One of its arguments is the element type.
    RebuildTensorOfType,
    RebuildParameter,
    /// `_rebuild_from_type_v2`, for subclasses of `Tensor` and tensors with attributes. Its first and third arguments
    /// are a function that rebuilds the tensor and the arguments of that function. The other arguments are not needed.
    RebuildFromType,
    Storage(ElementType),
    Type(ElementType),
    /// A class or function not needed for tensors. Calling it returns [`Value::Other`].
    Inert,
}

/// Returns the class or function with this name.
///
/// # Errors
///
/// Fails if the class or function is not supported. The message contains the name.
pub(super) fn resolve(module: &str, name: &str) -> Result<Global> {
    let global = match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch", "Size") => Some(Global::Size),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_tensor_v3") => Some(Global::RebuildTensorOfType),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Some(Global::RebuildParameter)
        }
        ("torch._tensor", "_rebuild_from_type_v2") => Some(Global::RebuildFromType),
        ("torch", "device" | "Tensor")
        | ("torch.nn.parameter", "Parameter")
        | ("builtins" | "__builtin__", "set" | "frozenset" | "bytearray")
        | ("_codecs", "encode")
        | ("collections", "Counter" | "defaultdict")
        | ("numpy", "dtype" | "ndarray")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => {
            Some(Global::Inert)
        }
        ("torch" | "torch.cuda" | "torch.storage", name) if name.ends_with("Storage") => {
            storage_element(name).map(Global::Storage)
        }
        ("torch", name) => type_element(name).map(Global::Type),
        _ => None,
    };
    global.ok_or_else(|| {
        let reason = unsupported_reason(name).unwrap_or(
            "which is not needed for tensors (save only the state dict: \
             `torch.save(model.state_dict(), path)`)",
        );
        Error::msg(format!("the pickle names `{module}.{name}`, {reason}; it was not run"))
    })
}

/// Returns the reason that the class or function `name` is not supported, or `None` if the name does not imply one.
fn unsupported_reason(name: &str) -> Option<&'static str> {
    let lowercase = name.to_ascii_lowercase();
    Some(match lowercase.trim_start_matches("_rebuild_") {
        kind if kind.starts_with("complex") => "for complex numbers, which candle does not support",
        kind if kind.starts_with("qint") || kind.starts_with("quint") || kind == "qtensor" => {
            "for quantized tensors; call `dequantize()` before saving"
        }
        kind if kind.starts_with("sparse") => "for sparse tensors; call `to_dense()` before saving",
        kind if kind.starts_with("uint") || kind.starts_with("float") => {
            "for an element type that candle does not support"
        }
        _ => return None,
    })
}

/// Returns the element type of a storage class. It is `U8` for an untyped storage, whose length is in bytes.
fn storage_element(class: &str) -> Option<ElementType> {
    Some(match class {
        "DoubleStorage" => ElementType::F64,
        "FloatStorage" => ElementType::F32,
        "HalfStorage" => ElementType::F16,
        "BFloat16Storage" => ElementType::BF16,
        "LongStorage" => ElementType::I64,
        "IntStorage" => ElementType::I32,
        "ShortStorage" => ElementType::I16,
        "CharStorage" => ElementType::I8,
        "ByteStorage" | "UntypedStorage" => ElementType::U8,
        "BoolStorage" => ElementType::Bool,
        _ => return None,
    })
}

/// Returns the element type of a dtype such as `torch.float32`.
fn type_element(name: &str) -> Option<ElementType> {
    Some(match name {
        "float64" | "double" => ElementType::F64,
        "float32" | "float" => ElementType::F32,
        "float16" | "half" => ElementType::F16,
        "bfloat16" => ElementType::BF16,
        "float8_e4m3fn" => ElementType::F8E4M3,
        "int64" | "long" => ElementType::I64,
        "int32" | "int" => ElementType::I32,
        "int16" | "short" => ElementType::I16,
        "int8" => ElementType::I8,
        "uint32" => ElementType::U32,
        "uint16" => ElementType::U16,
        "uint8" => ElementType::U8,
        "bool" => ElementType::Bool,
        _ => return None,
    })
}

/// Returns the result of `callable(*arguments)`.
pub(super) fn call<'a>(heap: &mut Heap<'a>, callable: Value<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
    let Value::Global(global) = callable else {
        return Err(unexpected("a class or function to call", callable));
    };
    match global {
        Global::RebuildFromType => {
            let function = argument(heap, arguments, 0)?;
            let arguments = argument(heap, arguments, 2)?;
            // Reject nested calls, which would let a pickle control the recursion depth.
            match function {
                Value::Global(function) if function != Global::RebuildFromType => {
                    call_function(heap, function, arguments)
                }
                other => Err(unexpected("a function that rebuilds a tensor", other)),
            }
        }
        function => call_function(heap, function, arguments),
    }
}

fn call_function<'a>(heap: &mut Heap<'a>, function: Global, arguments: Value<'a>) -> Result<Value<'a>> {
    match function {
        Global::OrderedDict => ordered_dict(heap, arguments),
        Global::Size => argument(heap, arguments, 0),
        Global::RebuildTensor => {
            check_metadata(heap, arguments, 6)?;
            rebuild_tensor(heap, arguments, None)
        }
        Global::RebuildTensorOfType => match argument(heap, arguments, 6)? {
            Value::Global(Global::Type(element)) => {
                check_metadata(heap, arguments, 7)?;
                rebuild_tensor(heap, arguments, Some(element))
            }
            other => Err(unexpected("an element type", other)),
        },
        Global::RebuildParameter => {
            let tensor = argument(heap, arguments, 0)?;
            heap.tensor_record(tensor)?;
            Ok(tensor)
        }
        Global::Inert => Ok(Value::Other),
        Global::RebuildFromType | Global::Storage(_) | Global::Type(_) => {
            Err(Error::msg("expected a function that can be called here, found another class or function"))
        }
    }
}

fn argument<'a>(heap: &Heap<'a>, arguments: Value<'a>, index: usize) -> Result<Value<'a>> {
    let arguments = heap.items(arguments)?;
    arguments.get(index).copied().ok_or_else(|| {
        Error::msg(format!("expected at least {} arguments in a call, found {}", index + 1, arguments.len()))
    })
}

/// Builds `OrderedDict()` or, from Python 2, `OrderedDict([[key, value], …])`.
fn ordered_dict<'a>(heap: &mut Heap<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
    let mut flat = Vec::new();
    if let Some(&pairs) = heap.items(arguments)?.first() {
        for &pair in heap.items(pairs)? {
            match heap.items(pair)? {
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
    let dict = heap.dict();
    heap.extend_dict(dict, &flat)?;
    Ok(dict)
}

/// The maximum number of metadata entries of a tensor. PyTorch writes two.
const MAX_METADATA: usize = 64;

/// Rejects lazily negated or conjugated tensors. PyTorch marks them in the metadata, which is the argument at
/// `index`.
fn check_metadata<'a>(heap: &Heap<'a>, arguments: Value<'a>, index: usize) -> Result<()> {
    let Some(&metadata @ Value::Dict(_)) = heap.items(arguments)?.get(index) else { return Ok(()) };
    let entries = heap.entries(metadata)?;
    // Limit the length of this dictionary: all tensors of a file may share it, and it is searched once per tensor.
    if entries.len() > MAX_METADATA {
        let found = entries.len();
        return Err(Error::msg(format!(
            "expected at most {MAX_METADATA} metadata entries of a tensor, found {found}"
        )));
    }
    let is_lazy = |(key, _): &(Value, Value)| matches!(key, Value::Str("neg" | "conj"));
    if entries.iter().any(is_lazy) {
        return Err(Error::msg(
            "the tensor is negated or conjugated lazily; call `resolve_neg()` before saving",
        ));
    }
    Ok(())
}

/// Builds a tensor from the arguments `(storage, offset, size, stride, …)`. `element` defaults to the element type of
/// the storage.
fn rebuild_tensor<'a>(
    heap: &mut Heap<'a>,
    arguments: Value<'a>,
    element: Option<ElementType>,
) -> Result<Value<'a>> {
    let storage = heap.storage_record(argument(heap, arguments, 0)?)?;
    let view = View {
        offset: count(argument(heap, arguments, 1)?)?,
        shape: counts(heap, argument(heap, arguments, 2)?)?,
        strides: counts(heap, argument(heap, arguments, 3)?)?,
    };
    Ok(heap.tensor(TensorRecord { storage, element: element.unwrap_or(storage.element), view }))
}

fn counts<'a>(heap: &Heap<'a>, values: Value<'a>) -> Result<Vec<usize>> {
    heap.items(values)?.iter().map(|&value| count(value)).collect()
}

/// Returns the storage of the persistent id `('storage', class, key, device, elements, view)`. Only legacy files have
/// `view`, which must be `None`.
pub(super) fn storage<'a>(heap: &mut Heap<'a>, id: Value<'a>) -> Result<Value<'a>> {
    let (element, key, elements) = match heap.items(id)? {
        &[Value::Str("storage"), Value::Global(Global::Storage(element)), Value::Str(key), _, elements]
        | &[
            Value::Str("storage"),
            Value::Global(Global::Storage(element)),
            Value::Str(key),
            _,
            elements,
            Value::None,
        ] => (element, key, count(elements)?),
        items => {
            let kinds: Vec<_> = items.iter().take(6).map(|item| item.kind()).collect();
            return Err(Error::msg(format!(
                "expected a storage's class, key, device and length, found {}",
                kinds.join(", ")
            )));
        }
    };
    let bytes = elements.checked_mul(element.size()).ok_or_else(|| {
        Error::msg(format!("storage `{key}` of {elements} elements is too large for memory"))
    })?;
    Ok(heap.storage(StorageRecord { key, bytes, element }))
}
