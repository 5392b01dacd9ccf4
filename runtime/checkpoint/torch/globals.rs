//! The classes and functions that a pickle of tensors may name, and what calling them makes.
//!
//! Python would import and run whatever a pickle names. Here a name is one of this list or an error.

use super::heap::{Heap, StorageRecord, TensorRecord, Value, count, unexpected};
use crate::checkpoint::element::Element;
use crate::checkpoint::strided::View;
use crate::{Error, Result};

/// A class or function of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    Size,
    /// `_rebuild_tensor` and its second version, whose arguments begin alike.
    RebuildTensor,
    /// The version for element types without a storage class, which it names.
    RebuildTensorOfType,
    RebuildParameter,
    /// For subclasses of `Tensor` and tensors with attributes: a function and its arguments.
    RebuildFromType,
    Storage(Element),
    Type(Element),
    /// What tensors can do without: calling it makes [`Value::Other`].
    Inert,
}

/// The entry of the list.
///
/// # Errors
///
/// When there is none; the message has the name.
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
        let reason = beyond_us(name).unwrap_or(
            "which is not among what tensors need (save the state dict alone: \
             `torch.save(model.state_dict(), path)`)",
        );
        Error::msg(format!("the pickle names `{module}.{name}`, {reason}; it was not run"))
    })
}

/// Why tensors of that kind cannot be read, where the name tells a kind.
fn beyond_us(name: &str) -> Option<&'static str> {
    let lowercase = name.to_ascii_lowercase();
    Some(match lowercase.trim_start_matches("_rebuild_") {
        kind if kind.starts_with("complex") => "for complex numbers, and candle has no type for them",
        kind if kind.starts_with("qint") || kind.starts_with("quint") || kind == "qtensor" => {
            "for quantised tensors, which have to be saved after `dequantize()`"
        }
        kind if kind.starts_with("sparse") => "for sparse tensors, which have to be saved after `to_dense()`",
        kind if kind.starts_with("uint") || kind.starts_with("float") => {
            "for elements of a type that candle lacks"
        }
        _ => return None,
    })
}

/// The element type of a storage class. Untyped storages count bytes.
fn storage_element(class: &str) -> Option<Element> {
    Some(match class {
        "DoubleStorage" => Element::F64,
        "FloatStorage" => Element::F32,
        "HalfStorage" => Element::F16,
        "BFloat16Storage" => Element::BF16,
        "LongStorage" => Element::I64,
        "IntStorage" => Element::I32,
        "ShortStorage" => Element::I16,
        "CharStorage" => Element::I8,
        "ByteStorage" | "UntypedStorage" => Element::U8,
        "BoolStorage" => Element::Bool,
        _ => return None,
    })
}

/// The element type that `torch.float32` and the like stand for.
fn type_element(name: &str) -> Option<Element> {
    Some(match name {
        "float64" | "double" => Element::F64,
        "float32" | "float" => Element::F32,
        "float16" | "half" => Element::F16,
        "bfloat16" => Element::BF16,
        "float8_e4m3fn" => Element::F8E4M3,
        "int64" | "long" => Element::I64,
        "int32" | "int" => Element::I32,
        "int16" | "short" => Element::I16,
        "int8" => Element::I8,
        "uint32" => Element::U32,
        "uint16" => Element::U16,
        "uint8" => Element::U8,
        "bool" => Element::Bool,
        _ => return None,
    })
}

/// What `callable(*arguments)` makes.
pub(super) fn call<'a>(heap: &mut Heap<'a>, callable: Value<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
    let Value::Global(global) = callable else {
        return Err(unexpected("a class or function to call", callable));
    };
    match global {
        Global::RebuildFromType => {
            let function = argument(heap, arguments, 0)?;
            let arguments = argument(heap, arguments, 2)?;
            // Such a call inside such a call would let a pickle choose how deep we recurse.
            match function {
                Value::Global(function) if function != Global::RebuildFromType => {
                    call_plain(heap, function, arguments)
                }
                other => Err(unexpected("a function that rebuilds a tensor", other)),
            }
        }
        plain => call_plain(heap, plain, arguments),
    }
}

fn call_plain<'a>(heap: &mut Heap<'a>, function: Global, arguments: Value<'a>) -> Result<Value<'a>> {
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
            Err(Error::msg("the pickle calls an element type, a storage class or a wrapper"))
        }
    }
}

fn argument<'a>(heap: &Heap<'a>, arguments: Value<'a>, index: usize) -> Result<Value<'a>> {
    let arguments = heap.items(arguments)?;
    arguments.get(index).copied().ok_or_else(|| {
        Error::msg(format!("expected at least {} arguments of a call, got {}", index + 1, arguments.len()))
    })
}

/// `OrderedDict()` or, from Python 2, `OrderedDict([[key, value], …])`.
fn ordered_dict<'a>(heap: &mut Heap<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
    let mut flat = Vec::new();
    if let Some(&pairs) = heap.items(arguments)?.first() {
        for &pair in heap.items(pairs)? {
            match heap.items(pair)? {
                [key, value] => flat.extend([*key, *value]),
                items => {
                    return Err(Error::msg(format!("expected a key and a value, got {} items", items.len())));
                }
            }
        }
    }
    let dict = heap.dict();
    heap.extend_dict(dict, &flat)?;
    Ok(dict)
}

/// PyTorch writes two.
const MAX_METADATA: usize = 64;

/// PyTorch may note in the argument at `index` that the stored values are to be negated when they are used.
fn check_metadata<'a>(heap: &Heap<'a>, arguments: Value<'a>, index: usize) -> Result<()> {
    let Some(&metadata @ Value::Dict(_)) = heap.items(arguments)?.get(index) else { return Ok(()) };
    let entries = heap.entries(metadata)?;
    // Every tensor of a file may name one and the same dictionary, which must not be gone through for long.
    if entries.len() > MAX_METADATA {
        return Err(Error::msg(format!("expected at most {MAX_METADATA} notes on a tensor, got more")));
    }
    let lazy = |(key, _): &(Value, Value)| matches!(key, Value::Str("neg" | "conj"));
    if entries.iter().any(lazy) {
        return Err(Error::msg("a tensor that is negated lazily has to be saved after `resolve_neg()`"));
    }
    Ok(())
}

/// `(storage, offset, size, stride, …)`; without `element` it has the type of its storage.
fn rebuild_tensor<'a>(
    heap: &mut Heap<'a>,
    arguments: Value<'a>,
    element: Option<Element>,
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

/// The storage that a persistent id stands for: `('storage', class, key, device, elements, view)`, the
/// last of them in legacy files only.
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
                "expected a storage's class, key, device and length, got {}",
                kinds.join(", ")
            )));
        }
    };
    let bytes = elements.checked_mul(element.size()).ok_or_else(|| {
        Error::msg(format!("storage `{key}` of {elements} elements is larger than any memory"))
    })?;
    Ok(heap.storage(StorageRecord { key, bytes, element }))
}
