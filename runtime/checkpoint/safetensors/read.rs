//! Reading: the header first, then each tensor from its section of the file.

use std::collections::BTreeMap;

use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use candle_core::{Device, Tensor};

use super::super::budget::Budget;
use super::super::element::{Element, Stream, element_count};
use super::super::input::Input;
use super::super::{StateDict, within};
use super::LENGTH_BYTES;
use crate::{Error, Result};

/// As the format's definition has it.
const MAX_HEADER: u64 = 100_000_000;

/// What a byte of the header takes in memory at most, by measurement: names and shapes in tables that grow.
const PER_HEADER_BYTE: usize = 16;

/// The tensors of a file, in the order of their data.
pub(in super::super) fn read(mut input: Input, budget: &mut Budget, device: &Device) -> Result<StateDict> {
    let (start, header) = header(&mut input, budget)?;
    let mut infos: Vec<_> = header.tensors().into_iter().collect();
    // Empty tensors share their offset; by name they come in the same order every time.
    infos.sort_by(|(name, info), (other, than)| {
        info.data_offsets.cmp(&than.data_offsets).then_with(|| name.cmp(other))
    });
    let mut state = StateDict::new();
    for (name, info) in infos {
        let tensor = stored_tensor(info, start, &mut input, budget, device);
        state.insert(&*name, within(format_args!("tensor `{name}`"), tensor)?);
    }
    Ok(state)
}

/// What the header keeps beside the tensors.
pub(in super::super) fn metadata(mut input: Input, mut budget: Budget) -> Result<BTreeMap<String, String>> {
    let (_, header) = header(&mut input, &mut budget)?;
    Ok(header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Where the data begin, and the header, whose tensors cover them one after the other.
fn header(input: &mut Input, budget: &mut Budget) -> Result<(u64, Metadata)> {
    let invalid = |what: String| Error::msg(format!("not a valid safetensors file: {what}"));
    let length = input.bytes(0, LENGTH_BYTES).map_err(|_| invalid("it has no header".into()))?;
    let length = length.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte));
    let available = input.length() - LENGTH_BYTES;
    if length > available.min(MAX_HEADER) {
        return Err(invalid(format!("its header claims {length} bytes of {available}")));
    }
    budget.spend(Some((length as usize).saturating_mul(PER_HEADER_BYTE)))?;
    let json = input.bytes(LENGTH_BYTES, length)?;
    let header: Metadata = serde_json::from_slice(&json).map_err(|error| invalid(error.to_string()))?;
    let (expected, found) = (header.data_len() as u64, available - length);
    if expected != found {
        return Err(invalid(format!("expected {expected} bytes of data, got {found}")));
    }
    Ok((LENGTH_BYTES + length, header))
}

fn stored_tensor(
    info: &TensorInfo,
    start: u64,
    input: &mut Input,
    budget: &mut Budget,
    device: &Device,
) -> Result<Tensor> {
    let Some(element) = element(info.dtype) else {
        return Err(Error::msg(format!("candle has no type for elements of type {}", info.dtype)));
    };
    let Some(count) = element_count(&info.shape) else {
        return Err(Error::msg(format!("shape {:?} is larger than any memory", info.shape)));
    };
    budget.spend_tensor(element.tensor_bytes(count))?;
    let (begin, end) = info.data_offsets;
    let mut section = input.section(start + begin as u64, (end - begin) as u64)?;
    element.tensor(Stream { reader: &mut section, count }, &info.shape, device)
}

/// The type of that name in a header, where candle has one that holds its values.
fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::BOOL => Element::Bool,
        Dtype::U8 => Element::U8,
        Dtype::I8 => Element::I8,
        Dtype::I16 => Element::I16,
        Dtype::U16 => Element::U16,
        Dtype::I32 => Element::I32,
        Dtype::U32 => Element::U32,
        Dtype::I64 => Element::I64,
        Dtype::F8_E4M3 => Element::F8E4M3,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        _ => return None,
    })
}
