//! Writing of safetensors files.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write as _};
use std::io::Write;

use ::safetensors::tensor::{self, Dtype};
use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

use super::super::with_context;
use super::METADATA;

/// Writes the header and the tensors. Converts one tensor at a time to bytes, to save memory.
pub(in super::super) fn write(
    file: &mut impl Write,
    mut tensors: Vec<(&str, &Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut names = HashSet::with_capacity(tensors.len());
    for (name, tensor) in &tensors {
        let checked = if names.insert(*name) {
            check_storable(name, tensor)
        } else {
            Err(Error::msg("the name occurs twice"))
        };
        with_context(format_args!("tensor `{name}`"), checked)?;
    }
    // Sorting by descending element size aligns every tensor, because the data starts at a multiple of 8.
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size_in_bytes()));

    let header = header(&tensors, metadata)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    // Skip empty tensors: candle panics when it reads the bytes of some empty views.
    for (name, tensor) in tensors.into_iter().filter(|(_, tensor)| tensor.elem_count() > 0) {
        // `View::data` panics on errors. It cannot fail for a contiguous tensor on the CPU.
        let flat = tensor.to_device(&Device::Cpu).and_then(|tensor| tensor.flatten_all());
        let flat = with_context(format_args!("tensor `{name}`"), flat.map_err(Error::from))?;
        file.write_all(&tensor::View::data(&flat))?;
    }
    Ok(())
}

/// Checks that the format supports the name and the dtype of a tensor.
fn check_storable(name: &str, tensor: &Tensor) -> Result<()> {
    if name == METADATA {
        return Err(Error::msg("the safetensors format reserves this name for metadata"));
    }
    match tensor.dtype() {
        DType::U8
        | DType::U32
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::BF16
        | DType::F16
        | DType::F32
        | DType::F64
        | DType::F8E4M3 => Ok(()),
        dtype => Err(Error::msg(format!("dtype {dtype:?} is not supported"))),
    }
}

/// Returns the JSON header, padded with spaces to a multiple of 8 bytes.
fn header(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>) -> Result<String> {
    let mut pairs = BTreeMap::from([("format", "pt"), ("sconce_version", env!("CARGO_PKG_VERSION"))]);
    pairs.extend(metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())));

    let mut json = format!("{{{}:{{", Json(METADATA));
    for (i, (key, value)) in pairs.into_iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(json, "{comma}{}:{}", Json(key), Json(value)).map_err(Error::msg)?;
    }
    json.push('}');

    let mut begin = 0;
    for (name, tensor) in tensors {
        let dtype = Dtype::from(tensor.dtype());
        let end = begin + tensor.elem_count() * tensor.dtype().size_in_bytes();
        let shape = tensor.dims();
        let name = Json(name);
        write!(json, r#",{name}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
            .map_err(Error::msg)?;
        begin = end;
    }
    json.push('}');
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    Ok(json)
}

/// Formats a string as JSON.
struct Json<'a>(&'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                control @ '\0'..='\x1f' => write!(f, "\\u{:04x}", u32::from(control))?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')
    }
}
