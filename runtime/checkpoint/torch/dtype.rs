//! PyTorch's storage classes and dtypes.

use crate::checkpoint::element::ElementType;

/// The type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Dtype {
    Supported(ElementType),
    /// A type that candle lacks.
    Unsupported(&'static UnsupportedDtype),
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct UnsupportedDtype {
    /// The name in PyTorch.
    pub name: &'static str,
    /// The size of an element in bytes.
    pub size: usize,
}

impl Dtype {
    /// Returns the element type of a storage class. It is `U8` for an untyped storage, whose length is in bytes.
    pub fn of_storage(class: &str) -> Option<Self> {
        Some(Self::Supported(match class {
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
            other => return Self::of_unsupported_storage(other),
        }))
    }

    fn of_unsupported_storage(class: &str) -> Option<Self> {
        Some(Self::Unsupported(match class {
            "ComplexFloatStorage" => &UnsupportedDtype { name: "complex64", size: 8 },
            "ComplexDoubleStorage" => &UnsupportedDtype { name: "complex128", size: 16 },
            "QInt8Storage" => &UnsupportedDtype { name: "qint8", size: 1 },
            "QUInt8Storage" => &UnsupportedDtype { name: "quint8", size: 1 },
            "QInt32Storage" => &UnsupportedDtype { name: "qint32", size: 4 },
            "QUInt4x2Storage" => &UnsupportedDtype { name: "quint4x2", size: 1 },
            "QUInt2x4Storage" => &UnsupportedDtype { name: "quint2x4", size: 1 },
            _ => return None,
        }))
    }

    /// Returns the size of an element in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Supported(element) => element.size(),
            Self::Unsupported(dtype) => dtype.size,
        }
    }
}

/// Returns the element type of a dtype such as `torch.float32`.
pub(super) fn element_type(name: &str) -> Option<ElementType> {
    Some(match name {
        "float64" | "double" => ElementType::F64,
        "float32" | "float" => ElementType::F32,
        "float16" | "half" => ElementType::F16,
        "bfloat16" => ElementType::BF16,
        "float8_e4m3fn" => ElementType::F8E4M3,
        "float8_e5m2" => ElementType::F8E5M2,
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
