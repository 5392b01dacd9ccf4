//! The names of Python's classes and functions. The reader never imports or calls them.

use std::fmt;

/// A class or function that the reader does not implement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class<'a> {
    /// The name of the Python module.
    pub module: &'a str,
    pub name: &'a str,
    /// The attribute of the class that `getattr` returned, such as an inner class or the member of an enum.
    pub attribute: Option<&'a str>,
}

/// The maximum number of characters of a name in a message or report. A file may repeat a long name many times.
const SHOWN: usize = 100;

/// Returns the first [`SHOWN`] characters of a name from a file.
pub(super) fn elided(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

impl fmt::Display for Class<'_> {
    /// Formats the qualified name as Python does: without the module for builtins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(self.module, "builtins" | "__builtin__") {
            write!(f, "{}.", elided(self.module))?;
        }
        f.write_str(&elided(self.name))?;
        match self.attribute {
            Some(attribute) => write!(f, ".{}", elided(attribute)),
            None => Ok(()),
        }
    }
}
