//! The metadata of a saved network.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{Error, Result};

/// Adds the type of the network, `kind`, to the caller's metadata under the key `network`.
///
/// # Errors
/// Fails if a key is specified twice or is reserved.
pub(super) fn with_type(metadata: &[(&str, &str)], kind: Cow<str>) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::from([("network".to_string(), kind.into_owned())]);
    for &(key, value) in metadata {
        let reserved = ["format", "sconce_version"].contains(&key);
        if reserved || all.insert(key.to_string(), value.to_string()).is_some() {
            return Err(Error::msg(format!("the metadata key `{key}` is specified twice or reserved")));
        }
    }
    Ok(all)
}
