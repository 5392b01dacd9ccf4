//! What of a checkpoint fitted a network, and what did not.

use std::fmt;

use candle_core::Tensor;

use crate::checkpoint::StateDict;
use crate::{Error, Result};

/// What loading a checkpoint did, by the names of the network. It prints as a short table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// The tensors that were taken from the checkpoint.
    pub loaded: Vec<String>,
    /// Those that the network has and the checkpoint lacks, with their shapes.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Those that the checkpoint has and the network lacks, with their shapes.
    pub unexpected: Vec<(String, Vec<usize>)>,
    /// Those that both have, in different shapes.
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
    /// Notes what the checkpoint has for a tensor of the network, and answers whether it can be loaded.
    pub(crate) fn note(&mut self, name: &str, expected: &[usize], found: Option<&Tensor>) -> bool {
        match found.map(Tensor::dims) {
            Some(found) if found == expected => self.loaded.push(name.to_owned()),
            Some(found) => self.misshapen.push(Misshapen {
                name: name.to_owned(),
                expected: expected.to_vec(),
                found: found.to_vec(),
            }),
            None => self.missing.push((name.to_owned(), expected.to_vec())),
        }
        found.is_some_and(|found| found.dims() == expected)
    }

    /// Notes the tensors of the checkpoint that the network has not asked for.
    pub(crate) fn note_unexpected(&mut self, state: &StateDict, known: impl Fn(&str) -> bool) {
        let unknown = state.iter().filter(|(name, _)| !known(name));
        self.unexpected.extend(unknown.map(|(name, tensor)| (name.to_owned(), tensor.dims().to_vec())));
    }

    /// One error for everything that does not fit, or none.
    pub(crate) fn check(&self) -> Result<()> {
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
