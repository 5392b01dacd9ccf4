//! The metadata of a saved network.

use std::borrow::Cow;

use crate::checkpoint::{Format, Save};
use crate::{Error, Result};

/// The keys that [`Network::save_with`](super::Network::save_with) sets.
const RESERVED: [&str; 3] = ["network", "format", "sconce_version"];

/// Adds the type of the network, `kind`, to the metadata under the key `network` if the format has metadata.
///
/// # Errors
/// Fails if a key is specified twice or is reserved.
pub(super) fn with_type(save: &Save, kind: Cow<str>) -> Result<Save> {
    let metadata = save.unique_metadata()?;
    if let Some(key) = RESERVED.iter().find(|key| metadata.contains_key(*key)) {
        return Err(Error::msg(format!("the metadata key `{key}` is reserved")));
    }
    let save = save.clone();
    Ok(match save.selected_format()? {
        Format::Safetensors => save.metadata([("network", kind)]),
        Format::Npz | Format::Torch => save,
    })
}
