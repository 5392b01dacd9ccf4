//! Checkpoints in several files: the index that lists them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::names;
use crate::{Error, Result};

pub(super) const DEFAULT_INDEX: &str = "model.safetensors.index.json";

pub(super) fn is_index(file: &str) -> bool {
    file.ends_with(".index.json")
}

/// The paths in the repository of the files that the index lists; it lies at `path`, and in the
/// repository it is `file`.
pub(super) fn listed(path: &Path, file: &str) -> Result<BTreeSet<String>> {
    let invalid = |problem: &dyn fmt::Display| {
        Error::msg(format!("{}: not an index of a sharded checkpoint: {problem}", path.display()))
    };
    let index: Value = serde_json::from_slice(&fs::read(path)?).map_err(|error| invalid(&error))?;
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        return Err(invalid(&"it has no `weight_map`"));
    };
    let directory = file.rfind('/').map_or("", |slash| &file[..=slash]);
    let shards = map.values().map(|shard| {
        let shard = shard.as_str().ok_or_else(|| invalid(&"a tensor's file is no string"))?;
        names::check_path("file", shard)?;
        Ok(format!("{directory}{shard}"))
    });
    shards.collect()
}
