//! Writes a model, and large weights into a file of their own.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use prost::Message;
use safetensors::View;

use crate::checkpoint::write_atomically;
use crate::{Error, Result};

use super::proto::{self, EXTERNAL, Entry, data_type};

/// The largest total size of the weights in the model itself. A protocol buffer has less than 2³¹ bytes.
const MAX_INLINE_BYTES: u64 = (1 << 31) - (1 << 26);
/// Smaller tensors stay in the model: shapes and other operands that a reader needs to infer shapes.
const MIN_EXTERNAL_BYTES: u64 = 1024;

/// Writes a model with these weights to `path`. Writes large weights to `path` with `.data` at the end of the name if
/// all weights together have more than `max_inline_bytes`, or more than a protocol buffer can have.
pub(super) fn write(
    path: &Path,
    mut model: proto::Model,
    weights: Vec<(String, Tensor)>,
    max_inline_bytes: Option<u64>,
) -> Result<()> {
    let total = weights.iter().map(|(_, tensor)| byte_size(tensor)).fold(0, u64::saturating_add);
    let is_inline = total <= MAX_INLINE_BYTES.min(max_inline_bytes.unwrap_or(u64::MAX));
    let is_external = |tensor: &Tensor| !is_inline && byte_size(tensor) >= MIN_EXTERNAL_BYTES;
    let external: Vec<&Tensor> =
        weights.iter().map(|(_, tensor)| tensor).filter(|tensor| is_external(tensor)).collect();
    let data_path = data_path(path)?;
    if !external.is_empty() {
        write_atomically(&data_path, |file| write_data(file, &external))?;
    }
    let location = data_path.file_name().unwrap_or_default().to_string_lossy();
    let mut offset = 0;
    let mut initializers = Vec::new();
    for (name, tensor) in &weights {
        let mut initializer = header(name, tensor)?;
        if is_external(tensor) {
            let length = byte_size(tensor);
            initializer.data_location = Some(EXTERNAL);
            initializer.external_data = vec![
                Entry::new("location", &location),
                Entry::new("offset", offset),
                Entry::new("length", length),
            ];
            offset += length;
        } else {
            initializer.raw_data = Some(bytes(tensor)?);
        }
        initializers.push(initializer);
    }
    if let Some(graph) = &mut model.graph {
        graph.initializer = initializers;
    }
    write_atomically(path, |file| Ok(file.write_all(&model.encode_to_vec())?))
}

fn data_path(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::msg(format!("expected the path of a file, found {}", path.display())));
    };
    let mut name = name.to_os_string();
    name.push(".data");
    Ok(path.with_file_name(name))
}

fn write_data(file: &mut BufWriter<File>, tensors: &[&Tensor]) -> Result<()> {
    tensors.iter().try_for_each(|tensor| Ok(file.write_all(&bytes(tensor)?)?))
}

fn header(name: &str, tensor: &Tensor) -> Result<proto::Tensor> {
    Ok(proto::Tensor {
        dims: tensor.dims().iter().map(|size| *size as i64).collect(),
        data_type: Some(data_type(tensor.dtype())?),
        name: Some(name.to_string()),
        ..proto::Tensor::default()
    })
}

fn byte_size(tensor: &Tensor) -> u64 {
    (tensor.elem_count() as u64).saturating_mul(tensor.dtype().size_in_bytes() as u64)
}

/// Returns the numbers in row-major order, little-endian.
fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    Ok(tensor.to_device(&Device::Cpu)?.data().into_owned())
}
