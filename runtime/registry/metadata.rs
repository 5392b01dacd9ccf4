//! The metadata of a saved network.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{Error, Result};

/// Returns the caller's metadata and, under `network`, the network's type.
///
/// # Errors
/// A key occurs twice, or is one that sconce writes.
pub(super) fn with_type(metadata: &[(&str, &str)], kind: Cow<str>) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::from([("network".to_string(), kind.into_owned())]);
    for &(key, value) in metadata {
        let reserved = ["format", "sconce_version"].contains(&key);
        if reserved || all.insert(key.to_string(), value.to_string()).is_some() {
            return Err(Error::msg(format!("the metadata's key `{key}` is given twice or kept by sconce")));
        }
    }
    Ok(all)
}
