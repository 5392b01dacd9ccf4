//! Which names may go into addresses and into paths of the cache.
//!
//! A sharded checkpoint's index comes from the hub and names files: none of them may lead out of the cache.

use crate::{Error, Result};

/// `owner/name`, or the name alone of the oldest repositories.
pub(super) fn check_repository(name: &str) -> Result<()> {
    let plain = |part: &str| {
        let characters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        // The cache writes `--` for the slash.
        !part.is_empty() && part.chars().all(characters) && !part.contains("--") && !part.contains("..")
    };
    if name.split('/').count() <= 2 && name.split('/').all(|part| plain(part) && part != ".") {
        return Ok(());
    }
    Err(Error::msg(format!("expected a repository of the form `owner/name`, got `{name}`")))
}

/// A relative path with slashes; `what` is the word for it.
pub(super) fn check_path(what: &str, path: &str) -> Result<()> {
    let plain = |part: &str| {
        // What an address or some file system takes for something else.
        let special =
            |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | ':' | '?' | '#' | '%');
        !matches!(part, "" | "." | "..") && !part.contains(special)
    };
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(Error::msg(format!(
        "expected a {what} like `a/b`, without `..` or characters with a meaning of their own, got `{path}`"
    )))
}
