//! Writing of safetensors files.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write;

use ::safetensors::tensor::Dtype;

use crate::{Error, Result};

use super::super::output::OutputTensor;
use super::METADATA;

/// Writes the header and the tensors.
pub(in super::super) fn write(
    file: &mut impl Write,
    mut tensors: Vec<OutputTensor>,
    metadata: &BTreeMap<&str, &str>,
) -> Result<()> {
    // Sorting by descending element size aligns every tensor, because the data starts at a multiple of 8.
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.size_in_bytes()));

    let header = header(&tensors, metadata)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    tensors.iter().try_for_each(|tensor| tensor.write(file))
}

/// Checks that the format supports the name of a tensor.
pub(in super::super) fn check(tensor: &OutputTensor) -> Result<()> {
    if tensor.name == METADATA {
        return Err(Error::msg("the safetensors format reserves this name for metadata"));
    }
    Ok(())
}

/// Returns the JSON header, padded with spaces to a multiple of 8 bytes.
fn header(tensors: &[OutputTensor], metadata: &BTreeMap<&str, &str>) -> Result<String> {
    let mut pairs = BTreeMap::from([("format", "pt"), ("sconce_version", env!("CARGO_PKG_VERSION"))]);
    pairs.extend(metadata);

    let mut json = format!("{{{}:{{", Json(METADATA));
    for (i, (key, value)) in pairs.into_iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(json, "{comma}{}:{}", Json(key), Json(value)).map_err(Error::msg)?;
    }
    json.push('}');

    let mut begin = 0;
    for tensor in tensors {
        let dtype = Dtype::from(tensor.dtype);
        let end = begin + tensor.byte_count();
        let shape = tensor.dims();
        let name = Json(tensor.name);
        write!(json, r#",{name}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
            .map_err(Error::msg)?;
        begin = end;
    }
    json.push('}');
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    Ok(json)
}

/// Formats a string as JSON.
pub(super) struct Json<'a>(pub &'a str);

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
