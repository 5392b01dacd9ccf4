//! What of a checkpoint fitted a network, and what did not.

use std::fmt;

use crate::checkpoint::StateDict;
use crate::{Error, Result};

/// What loading a checkpoint did, by the names of the network. It prints as a short table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// The names under which the checkpoint has a tensor that fits; several of one tensor that fields share.
    pub loaded: Vec<String>,
    /// The tensors that the network has and the checkpoint lacks, with their shapes. A tensor that fields share is
    /// missing if the checkpoint has none of its names, and is listed under the first.
    pub missing: Vec<(String, Vec<usize>)>,
    /// The tensors that the checkpoint has and the network lacks, with their shapes.
    pub unexpected: Vec<(String, Vec<usize>)>,
    /// The tensors that both have, in different shapes.
    pub misshapen: Vec<Misshapen>,
}

/// A tensor that has one shape in the network and another in the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misshapen {
    /// Its name in the network.
    pub name: String,
    /// The network's shape.
    pub expected: Vec<usize>,
    /// The checkpoint's shape.
    pub found: Vec<usize>,
}

impl LoadReport {
    /// Notes that the checkpoint has a tensor under a name of the network. Returns `false` if it has another
    /// shape than the network expects.
    pub(crate) fn note_found(&mut self, name: &str, expected: &[usize], found: &[usize]) -> bool {
        let (name, fits) = (name.to_owned(), found == expected);
        if fits {
            self.loaded.push(name);
        } else {
            self.misshapen.push(Misshapen { name, expected: expected.to_vec(), found: found.to_vec() });
        }
        fits
    }

    pub(crate) fn note_missing(&mut self, name: &str, expected: &[usize]) {
        self.missing.push((name.to_owned(), expected.to_vec()));
    }

    /// Notes the tensors of the checkpoint whose names the network does not have.
    pub(crate) fn note_unexpected(&mut self, state: &StateDict, known: impl Fn(&str) -> bool) {
        let unknown = state.iter().filter(|(name, _)| !known(name));
        self.unexpected.extend(unknown.map(|(name, tensor)| (name.to_owned(), tensor.dims().to_vec())));
    }

    /// Checks that everything fits.
    ///
    /// # Errors
    /// One error that lists everything that does not fit, and the `conflicts`.
    pub(crate) fn check(&self, conflicts: &[String]) -> Result<()> {
        let plain = |entries: &[(String, Vec<usize>)]| -> Vec<String> {
            entries.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect()
        };
        let misshapen = self.misshapen.iter().map(|Misshapen { name, expected, found }| {
            format!("{name}: expected {expected:?}, found {found:?}")
        });
        let lists = [
            ("missing", plain(&self.missing)),
            ("unexpected", plain(&self.unexpected)),
            ("misshapen", misshapen.collect()),
            ("tied with different values", conflicts.to_vec()),
        ];
        let parts = lists.iter().filter(|(_, names)| !names.is_empty());
        let parts = parts.map(|(what, names)| format!("{} {what}:\n  {}", names.len(), names.join("\n  ")));
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() {
            return Ok(());
        }
        Err(Error::msg(format!("the checkpoint does not fit the network; {}", parts.join("\n"))))
    }

    /// What does not fit: what about it, its name, its shape or shapes.
    fn rows(&self) -> Vec<[String; 3]> {
        let row = |what: &str, name: &str, shape: String| [what.to_owned(), name.to_owned(), shape];
        let plain = |what, (name, shape): &(String, Vec<usize>)| row(what, name, format!("{shape:?}"));
        let mut rows = Vec::new();
        rows.extend(self.missing.iter().map(|entry| plain("missing", entry)));
        rows.extend(self.unexpected.iter().map(|entry| plain("unexpected", entry)));
        rows.extend(self.misshapen.iter().map(|Misshapen { name, expected, found }| {
            row("misshapen", name, format!("{expected:?}, found {found:?}"))
        }));
        rows
    }
}

/// So many rows are printed; the rest are counted.
const MAX_ROWS: usize = 40;

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loaded, missing, unexpected, misshapen } = self;
        let counts = [loaded.len(), missing.len(), unexpected.len(), misshapen.len()];
        let [loaded, missing, unexpected, misshapen] = counts;
        write!(f, "loaded {loaded}, missing {missing}, unexpected {unexpected}, misshapen {misshapen}")?;
        let rows = self.rows();
        let shown = &rows[..rows.len().min(MAX_ROWS)];
        let width = |column: usize| shown.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1)];
        for [what, name, shape] in shown {
            write!(f, "\n{what:0$}  {name:1$}  {shape}", widths[0], widths[1])?;
        }
        match rows.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}
