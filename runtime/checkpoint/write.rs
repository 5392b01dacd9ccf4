//! Checks the tensors of a checkpoint and writes them in the selected format.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};

use candle_core::Tensor;

use crate::{Error, Result};

use super::output::OutputTensor;
use super::save::{Format, Save};
use super::{npz, safetensors, torch, with_context, write_atomically};

/// Writes `tensors` to a checkpoint with the options of [`Save`], atomically, as [`write_atomically`] does.
///
/// Writes one tensor after the other, in chunks of 64 Ki elements. Every tensor is written in row-major order. A view
/// of a larger tensor is written without the rest of that tensor. Tied tensors, which are equal views of one storage,
/// stay tied in a PyTorch file. The other formats store them once for each name.
///
/// A safetensors file begins with the tensors that have the largest elements, so that all tensors are aligned.
/// Tensors with elements of equal size keep their order, except that [`read`](super::read) returns empty tensors in
/// the order of their names. The header contains the metadata. Unless the metadata has these keys, `format` is `pt`,
/// and `sconce_version` is the version of sconce.
///
/// # Errors
///
/// Fails before it writes anything if no format has the extension of the path, if the format does not support a dtype,
/// a name or an option, or if a name or a metadata key occurs twice. Also fails if the file cannot be written, or if a
/// value is too large for [`Save::dtype`]. The message begins with the path. After an error, the old checkpoint is
/// unchanged, unless the message says that the new one is already written.
///
/// # Examples
/// ```
/// use sconce::checkpoint;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("model.safetensors");
/// let weight = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// checkpoint::write(Save::new(&path), [("weight", &weight)])?;
/// let state = checkpoint::read(&path, &Device::Cpu)?;
/// assert_eq!(state.get("weight").unwrap().to_vec1::<f32>()?, [1., 2., 3.]);
/// # Ok(())
/// # }
/// ```
pub fn write<'a, Tensors>(save: impl Borrow<Save>, tensors: Tensors) -> Result<()>
where
    Tensors: IntoIterator<Item = (&'a str, &'a Tensor)>,
{
    let save = save.borrow();
    let tensors = tensors.into_iter().collect();
    let Checked { format, tensors, metadata } = with_context(save.path().display(), check(save, tensors))?;
    if let Some(max_size) = save.shard_size() {
        return safetensors::write_family(save.path(), tensors, &metadata, max_size);
    }
    write_atomically(save.path(), |file| match format {
        Format::Safetensors => safetensors::write(file, tensors, &metadata),
        Format::Npz => npz::write(file, &tensors),
        Format::Torch => torch::write(file, &tensors),
    })
}

/// The tensors of a checkpoint that can be written in `format`.
struct Checked<'a> {
    format: Format,
    tensors: Vec<OutputTensor<'a>>,
    metadata: BTreeMap<&'a str, &'a str>,
}

fn check<'a>(save: &'a Save, tensors: Vec<(&'a str, &'a Tensor)>) -> Result<Checked<'a>> {
    let format = save.selected_format()?;
    let float_dtype = save.float_dtype()?;
    let metadata = save.unique_metadata()?;
    if format != Format::Safetensors
        && let Some(key) = metadata.keys().next()
    {
        return Err(Error::msg(format!(
            "only safetensors has metadata, found the key `{key}` for {format:?}"
        )));
    }
    if format != Format::Safetensors && save.shard_size().is_some() {
        return Err(Error::msg(format!("only safetensors can be split into shards, found {format:?}")));
    }
    let mut names = HashSet::with_capacity(tensors.len());
    let check_tensor = |(name, tensor)| {
        let checked = if names.insert(name) {
            OutputTensor::new(name, tensor, float_dtype)
        } else {
            Err(Error::msg("the name occurs twice"))
        };
        let checked = checked.and_then(|tensor| {
            match format {
                Format::Safetensors => safetensors::check(&tensor),
                Format::Npz => npz::check(&tensor),
                Format::Torch => torch::check(&tensor),
            }?;
            Ok(tensor)
        });
        with_context(format_args!("tensor `{name}`"), checked)
    };
    let tensors = tensors.into_iter().map(check_tensor).collect::<Result<_>>()?;
    Ok(Checked { format, tensors, metadata })
}
