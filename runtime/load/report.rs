//! The report of loading a checkpoint.

use std::collections::BTreeMap;
use std::fmt;

use crate::Error;
use crate::checkpoint::{Skipped, StateDict};

use super::selection::{Renamed, Selection};
use super::table::{Section, Table};

/// The result of loading a checkpoint into a network.
///
/// [`Display`](fmt::Display) formats it as a table that fits on a screen: the counts, then the tensors that were not
/// loaded and the changed names, sorted by path. Rows that do not fit are only counted. The fields contain everything,
/// in the order of the network or of the file.
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
    /// The objects that loading ignored: objects in the file that are not tensors, tensors that candle cannot
    /// represent, and tensors whose names lack the prefix.
    pub skipped: Vec<Skipped>,
    /// The tensors of the checkpoint that were renamed, with their names in the file and in this report. A name changes
    /// if a prefix or a [wrapper](crate::Load#wrappers) is stripped, or by [`Load::map`](crate::Load::map).
    pub renamed: Vec<(String, String)>,
    /// Deviations of the file from its format that do not affect the tensors, and a note if the list of skipped objects
    /// is incomplete. If a partial load loads nothing, also the options of [`Load`](crate::Load) that would load more.
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

    /// Records the renamed and skipped tensors and the warnings of a selection.
    pub(crate) fn note_renamed(&mut self, selection: &Selection, renamed: Renamed) {
        self.skipped.extend(selection.skipped().cloned().chain(renamed.outside));
        self.warnings.extend_from_slice(selection.warnings());
        self.renamed = renamed.names;
    }

    /// Returns `true` if the network and the checkpoint have the same tensors.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// Returns the sections for the differences between the network and the checkpoint.
    fn differences(&self) -> Vec<Section> {
        let with_shape = |(name, shape): &(String, Vec<usize>)| (name.clone(), format!("{shape:?}"));
        let mismatched = self.mismatched.iter().map(|ShapeMismatch { name, expected, found }| {
            (name.clone(), format!("expected {expected:?}, found {found:?}"))
        });
        vec![
            Section::new("missing", self.missing.iter().map(with_shape)),
            Section::new("unexpected", self.unexpected.iter().map(with_shape)),
            Section::new("mismatched", mismatched),
        ]
    }

    /// Returns the section of renamed tensors. One row stands for all tensors that lost the same prefix.
    fn renamed_section(&self) -> Section {
        let mut prefixes = BTreeMap::<&str, usize>::new();
        for (old, new) in &self.renamed {
            *prefixes.entry(old.strip_suffix(new.as_str()).unwrap_or_default()).or_default() += 1;
        }
        prefixes.retain(|prefix, count| !prefix.is_empty() && *count > 1);
        let has_own_row = |(old, new): &&(String, String)| {
            !old.strip_suffix(new.as_str()).is_some_and(|prefix| prefixes.contains_key(prefix))
        };
        let single =
            self.renamed.iter().filter(has_own_row).map(|(old, new)| (old.clone(), format!("-> {new}")));
        let stripped = prefixes.iter();
        let stripped =
            stripped.map(|(prefix, count)| (format!("{prefix}*"), format!("-> * ({count} tensors)")));
        Section::new("renamed", single.chain(stripped))
    }

    /// Returns the error for a load that fails because of these differences or of `conflicts`: pairs of tied names with
    /// different values. The lines of `advice` follow the table.
    pub(crate) fn error(&self, conflicts: &[(String, String)], advice: &[String]) -> Error {
        let mut sections = self.differences();
        let conflict = |(first, second): &(String, String)| {
            (second.clone(), format!("differs from the values of {first}, to which it is tied"))
        };
        sections.push(Section::new("conflicting", conflicts.iter().map(conflict)));
        sections.retain(|section| !section.rows.is_empty());
        let counts = sections.iter().map(|section| format!("{} {}", section.rows.len(), section.kind));
        let counts = counts.collect::<Vec<_>>().join(", ");
        sections.push(self.renamed_section());
        let advice: String = advice.iter().map(|line| format!("\n{line}")).collect();
        Error::msg(format!("the checkpoint does not match the network: {counts}{}{advice}", Table(sections)))
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [loaded, missing, unexpected, mismatched] =
            [self.loaded.len(), self.missing.len(), self.unexpected.len(), self.mismatched.len()];
        write!(f, "loaded {loaded}, missing {missing}, unexpected {unexpected}, mismatched {mismatched}")?;
        let others = [
            ("skipped", self.skipped.len()),
            ("renamed", self.renamed.len()),
            ("warnings", self.warnings.len()),
        ];
        for (kind, count) in others.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {kind} {count}")?;
        }
        let mut sections = self.differences();
        let skipped = self.skipped.iter().map(|skipped| (skipped.path.clone(), skipped.kind.clone()));
        sections.push(Section::new("skipped", skipped));
        sections.push(self.renamed_section());
        sections
            .push(Section::new("warning", self.warnings.iter().map(|text| (text.clone(), String::new()))));
        Table(sections).fmt(f)
    }
}
