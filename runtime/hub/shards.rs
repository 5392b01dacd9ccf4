//! Downloads the shards of a checkpoint.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::checkpoint::for_each_shard;
use crate::{Error, Result};

use super::client::Client;

/// Returns `true` if `file` is the index of a sharded checkpoint.
pub(super) fn is_index(file: &str) -> bool {
    file.ends_with(".index.json")
}

/// Downloads the files listed in the index at `path`. `file` is the path of the index in the repository.
pub(super) fn download(client: &Client, path: &Path, file: &str) -> Result<()> {
    let directory = file.rfind('/').map_or("", |slash| &file[..=slash]);
    let mut seen = HashSet::new();
    let fetched = for_each_shard(&fs::read(path)?, &mut |shard| {
        if seen.insert(shard.to_owned()) {
            client.get(&format!("{directory}{shard}"))?;
        }
        Ok(())
    });
    fetched.map_err(|error| Error::msg(format!("{}: {error}", path.display())))
}
