//! The report of loading a checkpoint.

use std::fmt;

use crate::checkpoint::{Skipped, StateDict};
use crate::{Error, Result};

use super::rename::{Renamed, Selection};

/// The result of loading a checkpoint into a network. [`Display`](fmt::Display) formats it as a table.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("fc.safetensors");
/// Linear::config(3, 2).init(&Device::Cpu)?.save(&path)?;
/// let mut smaller = Linear::config(2, 2).init(&Device::Cpu)?;
/// let report = smaller.load_with(Load::new(&path).partial())?;
/// assert_eq!(report.loaded, ["bias"]);
/// assert_eq!((report.mismatched[0].name.as_str(), &report.mismatched[0].found), ("weight", &vec![2, 3]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// The names of the network's tensors for which the checkpoint has a tensor of the same name and shape. A tied
    /// tensor may be listed under several names.
    pub loaded: Vec<String>,
    /// The tensors of the network that the checkpoint lacks, with their shapes. A tied tensor is missing if the
    /// checkpoint has none of its names; it is listed under its first name.
    pub missing: Vec<(String, Vec<usize>)>,
    /// The tensors of the checkpoint that the network lacks, with their shapes.
    pub unexpected: Vec<(String, Vec<usize>)>,
    /// The tensors that have different shapes in network and checkpoint.
    pub mismatched: Vec<ShapeMismatch>,
    /// What loading ignored: objects in the file that are not tensors, and tensors whose names lack the prefix.
    pub skipped: Vec<Skipped>,
    /// The tensors of the checkpoint that were renamed, with their names in the file and in this report. A name changes
    /// if a prefix or a [wrapper](crate::Load#wrappers) is stripped, or by [`Load::map`](crate::Load::map).
    pub renamed: Vec<(String, String)>,
    /// Deviations of the file from its format that do not affect the tensors.
    pub warnings: Vec<String>,
}

/// A tensor that has different shapes in network and checkpoint.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let mut net = Linear::config(4, 2).init(&Device::Cpu)?;
/// let other = Linear::config(4, 3).bias(false).init(&Device::Cpu)?;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("other.safetensors");
/// other.save(&path)?;
/// let report = net.load_with(Load::new(&path).partial())?;
/// let mismatch = &report.mismatched[0];
/// assert_eq!(mismatch.name, "weight");
/// assert_eq!((&mismatch.expected[..], &mismatch.found[..]), (&[2, 4][..], &[3, 4][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShapeMismatch {
    /// The name in the network.
    pub name: String,
    /// The shape in the network.
    pub expected: Vec<usize>,
    /// The shape in the checkpoint.
    pub found: Vec<usize>,
}

impl LoadReport {
    /// Records a tensor that both the network and the checkpoint have. Returns `false` if the two shapes differ.
    pub(crate) fn note_found(&mut self, name: &str, expected: &[usize], found: &[usize]) -> bool {
        let name = name.to_owned();
        let matches = found == expected;
        if matches {
            self.loaded.push(name);
        } else {
            self.mismatched.push(ShapeMismatch { name, expected: expected.to_vec(), found: found.to_vec() });
        }
        matches
    }

    /// Records a tensor that the checkpoint lacks.
    pub(crate) fn note_missing(&mut self, name: &str, expected: &[usize]) {
        self.missing.push((name.to_owned(), expected.to_vec()));
    }

    /// Records the tensors of the checkpoint whose names the network lacks.
    pub(crate) fn note_unexpected(&mut self, state: &StateDict, known: impl Fn(&str) -> bool) {
        let unknown = state.iter().filter(|(name, _)| !known(name));
        self.unexpected.extend(unknown.map(|(name, tensor)| (name.to_owned(), tensor.dims().to_vec())));
    }

    /// Records what the selection of the tensors changed, skipped and warned of.
    pub(crate) fn note_renamed(&mut self, selection: &Selection, renamed: Renamed) {
        let (skipped, warnings) = selection.notes();
        self.skipped.extend(skipped.iter().cloned().chain(renamed.outside));
        self.warnings.extend_from_slice(warnings);
        self.renamed = renamed.names;
    }

    /// Returns `true` if the network and the checkpoint have the same tensors.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// Checks that all tensors match.
    ///
    /// # Errors
    /// Fails if a tensor does not match, or if there are `conflicts`: tied tensors with different values in the
    /// checkpoint. The error lists all of these tensors, and then `advice`, one line each.
    pub(crate) fn check(&self, conflicts: &[String], advice: &[String]) -> Result<()> {
        let with_shape = |entries: &[(String, Vec<usize>)]| -> Vec<String> {
            entries.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect()
        };
        let mismatched = self.mismatched.iter().map(|ShapeMismatch { name, expected, found }| {
            format!("{name}: expected {expected:?}, found {found:?}")
        });
        let lists = [
            ("missing", with_shape(&self.missing)),
            ("unexpected", with_shape(&self.unexpected)),
            ("mismatched", mismatched.collect()),
            ("tied with different values", conflicts.to_vec()),
        ];
        let parts = lists.iter().filter(|(_, names)| !names.is_empty());
        let parts = parts.map(|(kind, names)| format!("{} {kind}:\n  {}", names.len(), names.join("\n  ")));
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() {
            return Ok(());
        }
        let lines: Vec<_> = parts.iter().chain(advice).map(String::as_str).collect();
        Err(Error::msg(format!("the checkpoint does not match the network; {}", lines.join("\n"))))
    }

    /// Returns one row for each tensor that was not loaded: the kind of difference, the name and the shapes.
    fn rows(&self) -> Vec<[String; 3]> {
        let row = |kind: &str, name: &str, shape: String| [kind.to_owned(), name.to_owned(), shape];
        let with_shape = |kind, (name, shape): &(String, Vec<usize>)| row(kind, name, format!("{shape:?}"));
        let mut rows = Vec::new();
        rows.extend(self.missing.iter().map(|entry| with_shape("missing", entry)));
        rows.extend(self.unexpected.iter().map(|entry| with_shape("unexpected", entry)));
        rows.extend(self.mismatched.iter().map(|ShapeMismatch { name, expected, found }| {
            row("mismatched", name, format!("{expected:?}, found {found:?}"))
        }));
        rows
    }
}

/// The maximum number of rows that are printed.
const MAX_ROWS: usize = 40;

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "loaded {}, missing {}, unexpected {}, mismatched {}",
            self.loaded.len(),
            self.missing.len(),
            self.unexpected.len(),
            self.mismatched.len()
        )?;
        let rows = self.rows();
        let shown = &rows[..rows.len().min(MAX_ROWS)];
        let width = |column: usize| shown.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1)];
        for [kind, name, shape] in shown {
            write!(f, "\n{kind:0$}  {name:1$}  {shape}", widths[0], widths[1])?;
        }
        match rows.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}
