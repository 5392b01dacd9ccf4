//! The classes and functions that a pickle names.
//!
//! Python imports and runs any function that a pickle names. Here, the functions in a short, fixed list are
//! implemented, and all others are only names.

use crate::checkpoint::element::ElementType;

use super::class::Class;
use super::dtype::{Dtype, element_type};
use super::values::PickledValues;

/// A class or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    /// A function whose result the reader replaces with the first argument: the sizes for `Size`, the tensor for a
    /// rebuilt parameter, and the original module for the result of `torch.compile`.
    FirstArgument,
    /// `_rebuild_tensor` and `_rebuild_tensor_v2`, which have the same first arguments.
    RebuildTensor,
    /// `_rebuild_tensor_v3`, for element types without a storage class. One of its arguments is the element type.
    RebuildTensorOfType,
    /// `_rebuild_from_type_v2`, for subclasses of `Tensor` and tensors with attributes. Its first and third arguments
    /// are a function that rebuilds the tensor and the arguments of that function. The other arguments are not needed.
    RebuildFromType,
    /// A function that rebuilds a tensor of a kind that candle lacks.
    RebuildUnsupported(&'static str),
    /// A storage class, such as `FloatStorage`. The field is the type of its elements.
    Storage(Dtype),
    /// A dtype, such as `torch.float32`.
    Type(ElementType),
    /// `set` and `frozenset`.
    Set,
    /// A function that encodes a string as bytes.
    Encode,
    /// `getattr`.
    GetAttribute,
    /// A function that returns an instance of the class in its first argument.
    Instantiate,
    /// Any other class or function, as an index into [`PickledValues::classes`]. Calling it returns an object that does
    /// nothing.
    Foreign(usize),
}

/// Returns the class or function with this name.
pub(super) fn resolve<'a>(values: &mut PickledValues<'a>, module: &'a str, name: &'a str) -> Global {
    implemented(module, name).unwrap_or_else(|| values.foreign(Class { module, name, attribute: None }))
}

/// Returns the class or function if the reader implements it.
fn implemented(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch", "Size")
        | ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
        | ("torch._dynamo.eval_frame", "OptimizedModule") => Global::FirstArgument,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorOfType,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
        ("torch._utils", "_rebuild_qtensor") => Global::RebuildUnsupported("quantized"),
        ("torch._utils", "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor") => {
            Global::RebuildUnsupported("sparse")
        }
        ("torch._utils", "_rebuild_nested_tensor") => Global::RebuildUnsupported("nested"),
        ("torch._utils", "_rebuild_wrapper_subclass") => Global::RebuildUnsupported("wrapped"),
        ("torch._utils", "_rebuild_meta_tensor_no_storage") => Global::RebuildUnsupported("meta"),
        ("builtins" | "__builtin__", "set" | "frozenset") => Global::Set,
        ("builtins" | "__builtin__", "getattr") => Global::GetAttribute,
        ("_codecs", "encode") => Global::Encode,
        ("copyreg" | "copy_reg", "_reconstructor" | "__newobj__" | "__newobj_ex__")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Global::Instantiate,
        ("torch" | "torch.cuda" | "torch.storage", name) if name.ends_with("Storage") => {
            Global::Storage(Dtype::of_storage(name)?)
        }
        ("torch", name) => Global::Type(element_type(name)?),
        _ => return None,
    })
}
