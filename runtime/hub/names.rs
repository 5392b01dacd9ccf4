//! Validation of repository and file names.
//!
//! The index of a sharded checkpoint is untrusted. No file name in it may lead to a path outside the cache.

use crate::{Error, Result};

/// Checks a repository name: `owner/name`, or only `name` as for some old repositories.
pub(super) fn check_repository(name: &str) -> Result<()> {
    let is_valid = |part: &str| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        // Reject `--`, because the cache encodes the slash as `--`.
        !part.is_empty() && part.chars().all(is_allowed) && !part.contains("--") && !part.contains("..")
    };
    if name.split('/').count() <= 2 && name.split('/').all(|part| is_valid(part) && part != ".") {
        return Ok(());
    }
    Err(Error::msg(format!("expected a repository of the form `owner/name`, found `{name}`")))
}

/// Checks a relative path with slashes. `kind` describes the path in the error message, for example `file`.
pub(super) fn check_path(kind: &str, path: &str) -> Result<()> {
    let is_valid = |part: &str| {
        // Characters with a special meaning in a URL or on some file system.
        let is_special =
            |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | ':' | '?' | '#' | '%');
        !matches!(part, "" | "." | "..") && !part.contains(is_special)
    };
    if path.split('/').all(is_valid) {
        return Ok(());
    }
    Err(Error::msg(format!(
        "expected a {kind} like `a/b`, without `..` or special characters, found `{path}`"
    )))
}
