//! Sharded checkpoints: several files (the shards) and an index of their tensors. A shard can have any format, but must
//! not be an index itself.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::{Component, Path};

use candle_core::Device;
use serde_core::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::{Error, Result};

use super::budget::Budget;
use super::input::Input;
use super::{Contents, ReadOptions, open_regular, with_context};

/// The maximum length of an index in bytes. A typical index has about a hundred bytes per tensor.
pub(super) const MAX_INDEX: u64 = 100_000_000;

/// Reads the tensors of all shards in `directory`. Orders the shards by name, and the tensors within each shard by the
/// position of their data.
pub(super) fn read(
    mut index: Input,
    directory: &Path,
    options: &ReadOptions,
    device: &Device,
) -> Result<Contents> {
    if index.length() > MAX_INDEX {
        return Err(Error::msg(format!(
            "expected an index of at most {MAX_INDEX} bytes, found a longer index"
        )));
    }
    let index = index.bytes(0, index.length())?;
    let shards = open_shards(&index, directory)?;
    let length = shards.values().fold(index.len() as u64, |sum, (_, length)| sum.saturating_add(*length));
    let mut budget = Budget::new(usize::try_from(length).unwrap_or(usize::MAX), options.limit);
    budget.spend(Some(index.len()))?;

    let mut contents = Contents::default();
    for (shard, (file, length)) in shards {
        let mut file = options.source(file)?;
        let tensors = options.read_shard(&mut *file, length, &mut budget, device);
        let Contents { state: tensors, unsupported, skipped, warnings, ambiguity } =
            with_context(format_args!("shard `{shard}`"), tensors)?;
        contents.unsupported.extend(unsupported);
        contents.skipped.extend(skipped);
        contents.ambiguity = contents.ambiguity.or(ambiguity);
        contents.warnings.extend(warnings.into_iter().map(|warning| format!("shard `{shard}`: {warning}")));
        for (name, tensor) in tensors {
            if contents.state.contains_key(&name) {
                return Err(Error::msg(format!("tensor `{name}` is in `{shard}` and in an earlier shard")));
            }
            contents.state.insert(name, tensor);
        }
    }
    check_complete(&index, &contents).map(|()| contents)
}

/// Returns an error unless the shards contain every tensor of the index.
fn check_complete(index: &[u8], contents: &Contents) -> Result<()> {
    let unsupported: HashSet<_> = contents.unsupported.iter().map(|tensor| &*tensor.path).collect();
    let is_known = |name: &str| contents.state.contains_key(name) || unsupported.contains(name);
    let mut missing = Vec::new();
    for_each_entry(index, &mut |name, shard| {
        if !is_known(name) && missing.len() < 10 {
            missing.push(format!("`{name}` (in `{shard}`)"));
        }
        Ok(())
    })?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::msg(format!("the shards lack tensors that the index names: {}", missing.join(", "))))
}

type Shards = BTreeMap<String, (File, u64)>;

/// Opens every shard of the index.
fn open_shards(index: &[u8], directory: &Path) -> Result<Shards> {
    let mut shards = Shards::new();
    for_each_shard(index, &mut |shard| {
        if !shards.contains_key(shard) {
            shards.insert(shard.to_owned(), open_regular(&directory.join(shard))?);
        }
        Ok(())
    })?;
    Ok(shards)
}

/// For each tensor, checks that the name of its shard is a plain file name, and calls `on_shard` with this name.
pub(crate) fn for_each_shard(index: &[u8], on_shard: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    for_each_entry(index, &mut |_, shard| {
        with_context(format_args!("shard `{shard}`"), check_shard(shard).and_then(|()| on_shard(shard)))
    })
}

/// Checks that the name of a shard is a plain file name. With a path such as `/etc/passwd`, an untrusted index could
/// otherwise make the reader open any file.
fn check_shard(name: &str) -> Result<()> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name && !name.contains(['\\', ':', '\0']) => Ok(()),
        _ => Err(Error::msg(
            "expected the name of a file in the directory of the index, found a different path",
        )),
    }
}

type OnEntry<'a> = &'a mut dyn FnMut(&str, &str) -> Result<()>;

/// Calls `on_entry` with the name and the shard of each tensor, without building a table of the tensors in memory.
fn for_each_entry(index: &[u8], on_entry: OnEntry) -> Result<()> {
    let mut json = serde_json::Deserializer::from_slice(index);
    let mut outcome = Ok(());
    let has_weight_map = Index { on_entry, outcome: &mut outcome }.deserialize(&mut json);
    outcome?;
    let has_weight_map = has_weight_map.and_then(|found| json.end().map(|()| found));
    if has_weight_map.map_err(|error| Error::msg(format!("not a valid index of shards: {error}")))? {
        Ok(())
    } else {
        Err(Error::msg("expected the index of a sharded checkpoint, found JSON without `weight_map`"))
    }
}

/// A deserializer of the index: a JSON object with the entry `weight_map`, which maps the names of tensors to shards.
struct Index<'a> {
    on_entry: OnEntry<'a>,
    /// The result of `on_entry`, kept here because serde has another error type.
    outcome: &'a mut Result<()>,
}

impl<'de> DeserializeSeed<'de> for Index<'_> {
    /// Whether the index has a `weight_map`.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Index<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `weight_map`")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "weight_map" {
                found = true;
                map.next_value_seed(WeightMap(&mut self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct WeightMap<'a, 'b>(&'a mut Index<'b>);

impl<'de> DeserializeSeed<'de> for WeightMap<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that maps tensor names to files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, shard)) = map.next_entry::<String, String>()? {
            if let Err(error) = (self.0.on_entry)(&name, &shard) {
                *self.0.outcome = Err(error);
                // This error only ends the parsing. `for_each_entry` returns the error in `outcome` instead.
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
