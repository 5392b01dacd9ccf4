//! Reading of safetensors files.

use std::collections::BTreeMap;
use std::fmt::Display;

use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use candle_core::{Device, Tensor};

use crate::{Error, Result};

use super::super::budget::Budget;
use super::super::element::{ElementType, Stream, element_count};
use super::super::input::Input;
use super::super::{Contents, with_context};
use super::LENGTH_BYTES;
use super::header::Header;

/// The maximum length of the header in bytes, as defined by the format.
const MAX_HEADER: u64 = 100_000_000;

/// Reads the tensors of a file, in the order of their data.
pub(in super::super) fn read(mut input: Input, budget: &mut Budget, device: &Device) -> Result<Contents> {
    let (start, header) = header(&mut input, budget)?;
    let (tensors, warning) = header.into_tensors().map_err(invalid)?;
    check_data_length(&input, start, &tensors)?;
    let mut infos: Vec<_> = tensors.tensors().into_iter().collect();
    // Empty tensors have equal offsets; sorting by name makes their order deterministic.
    infos.sort_by(|(a, a_info), (b, b_info)| {
        a_info.data_offsets.cmp(&b_info.data_offsets).then_with(|| a.cmp(b))
    });
    let mut contents = Contents { warnings: warning.into_iter().collect(), ..Contents::default() };
    for (name, info) in infos {
        let Some(element) = element(info.dtype) else {
            contents.push_unsupported(name, format!("{} tensor", info.dtype));
            continue;
        };
        let tensor = stored_tensor(info, element, start, &mut input, budget, device);
        let tensor = with_context(format_args!("tensor `{name}`"), tensor)?;
        contents.state.insert(name, tensor);
    }
    Ok(contents)
}

/// Returns the metadata in the header: strings, and numbers and booleans as text. Omits other values.
pub(in super::super) fn metadata(mut input: Input, mut budget: Budget) -> Result<BTreeMap<String, String>> {
    let (_, header) = header(&mut input, &mut budget)?;
    Ok(header.into_metadata())
}

/// Reads the header. Returns the position of the data, and the header.
fn header(input: &mut Input, budget: &mut Budget) -> Result<(u64, Header)> {
    let length = input.bytes(0, LENGTH_BYTES).map_err(|_| invalid("it has no header"))?;
    let length = length.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte));
    let available = input.length() - LENGTH_BYTES;
    let limit = available.min(MAX_HEADER);
    if length > limit {
        return Err(invalid(format!(
            "expected a header of at most {limit} bytes, found the length {length}"
        )));
    }
    budget.spend(Some(length as usize))?;
    let json = input.bytes(LENGTH_BYTES, length)?;
    budget.spend(Some(Header::parsed_size(&json)))?;
    let header = Header::parse(&json).map_err(invalid)?;
    Ok((LENGTH_BYTES + length, header))
}

/// Checks that the tensors cover the data, which begins at `start`.
fn check_data_length(input: &Input, start: u64, tensors: &Metadata) -> Result<()> {
    let expected = tensors.data_len() as u64;
    let found = input.length() - start;
    if expected == found {
        return Ok(());
    }
    Err(invalid(format!("expected {expected} bytes of data, found {found}")))
}

fn invalid(reason: impl Display) -> Error {
    Error::msg(format!("not a valid safetensors file: {reason}"))
}

fn stored_tensor(
    info: &TensorInfo,
    element: ElementType,
    start: u64,
    input: &mut Input,
    budget: &mut Budget,
    device: &Device,
) -> Result<Tensor> {
    let Some(count) = element_count(&info.shape) else {
        return Err(Error::msg(format!("shape {:?} is too large for memory", info.shape)));
    };
    budget.spend_tensor(element.tensor_bytes(count))?;
    let (begin, end) = info.data_offsets;
    let mut section = input.section(start + begin as u64, (end - begin) as u64)?;
    element.tensor(Stream { reader: &mut section, count }, &info.shape, device)
}

/// Returns the element type, or `None` if candle has no dtype for its values.
fn element(dtype: Dtype) -> Option<ElementType> {
    Some(match dtype {
        Dtype::BOOL => ElementType::Bool,
        Dtype::U8 => ElementType::U8,
        Dtype::I8 => ElementType::I8,
        Dtype::I16 => ElementType::I16,
        Dtype::U16 => ElementType::U16,
        Dtype::I32 => ElementType::I32,
        Dtype::U32 => ElementType::U32,
        Dtype::I64 => ElementType::I64,
        Dtype::F8_E4M3 => ElementType::F8E4M3,
        Dtype::F8_E5M2 => ElementType::F8E5M2,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::BF16,
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        _ => return None,
    })
}
