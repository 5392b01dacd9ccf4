//! Finds the options with which a checkpoint fits a network.

use std::collections::HashSet;
use std::fmt;

use regex::Regex;

use super::detect::prefixes;
use super::report::LoadReport;
use super::selection::Selection;
use super::signature::Signature;

/// The maximum number of proposals of one kind.
const MAX_PROPOSALS: usize = 3;

/// The maximum number of prefixes that are tried.
const MAX_PREFIXES: usize = 8;

/// The maximum number of missing names for which the search looks for a replacement.
const MAX_MISSING: usize = 8;

/// The maximum number of replacements that are tried for one name.
const MAX_CANDIDATES: usize = 32;

/// The maximum total length, in bytes, of the names of unexpected tensors. If they are longer, no replacements are
/// tried, because every replacement is applied to all names.
const MAX_UNEXPECTED: usize = 1 << 20;

/// The maximum length of the proposed calls in bytes. Names in a hostile file may have any length.
const MAX_CALLS: usize = 400;

/// Loads a selection without changing the network. Returns the report, or `None` if the load would fail even with
/// `partial`.
pub(super) type Attempt<'a> = &'a dyn Fn(&Selection) -> Option<LoadReport>;

/// Returns one line for each way to load more tensors than the failed load that `report` describes. Each line contains
/// the calls to add to the `Load`. Each way has been tried.
pub(crate) fn propose(
    selection: &Selection,
    signature: &Signature,
    report: &LoadReport,
    attempt: Attempt<'_>,
) -> Vec<String> {
    let mut proposals = other_prefixes(selection, signature, attempt);
    proposals.extend(other_keys(selection, attempt));
    proposals.retain(|proposal| !proposal.partial || proposal.loaded > report.loaded.len());
    proposals.truncate(MAX_PROPOSALS);
    if proposals.is_empty() {
        proposals.extend(replacements(selection, signature, report, attempt));
    }
    let mut lines: Vec<String> = proposals.iter().map(ToString::to_string).collect();
    let needs_partial = proposals.iter().all(|proposal| proposal.partial);
    if needs_partial && !report.loaded.is_empty() && attempt(selection).is_some() {
        lines.push(Proposal { calls: String::new(), partial: true, loaded: report.loaded.len() }.to_string());
    }
    lines
}

/// Calls of methods of `Load`.
struct Proposal {
    calls: String,
    /// Whether the load succeeds only with `partial`.
    partial: bool,
    /// The number of tensors that the load reports as loaded.
    loaded: usize,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partial = if self.partial { ".partial()" } else { "" };
        let all = if self.partial { "" } else { "all " };
        let plural = if self.loaded == 1 { "" } else { "s" };
        let count = self.loaded;
        write!(f, "add `{}{partial}` to the `Load` to load {all}{count} tensor{plural}", self.calls)
    }
}

impl Proposal {
    /// Returns the proposal to add `calls`, which make a load use `selection`. Returns `None` unless the load finds all
    /// tensors of the network, or all tensors of the checkpoint belong to the network.
    fn tried(calls: String, selection: &Selection, attempt: Attempt<'_>) -> Option<Self> {
        let report = attempt(selection).filter(|_| calls.len() <= MAX_CALLS)?;
        let has_all = report.missing.is_empty() || report.unexpected.is_empty();
        let fits = has_all && report.mismatched.is_empty() && !report.loaded.is_empty();
        fits.then(|| Self { calls, partial: !report.is_complete(), loaded: report.loaded.len() })
    }
}

/// Proposes the prefixes under which all tensors of the network are found.
fn other_prefixes(selection: &Selection, signature: &Signature, attempt: Attempt<'_>) -> Vec<Proposal> {
    let found = prefixes(selection, signature);
    let complete = found.iter().filter(|(prefix, found)| !prefix.is_empty() && found.is_complete(signature));
    let proposals = complete.take(MAX_PREFIXES).filter_map(|(prefix, _)| {
        let selection = selection.with_prefix(prefix);
        Proposal::tried(format!(".prefix({:?})", selection.prefix()), &selection, attempt)
    });
    let mut proposals: Vec<_> = proposals.collect();
    proposals.sort_by_key(|proposal| proposal.partial);
    proposals.truncate(MAX_PROPOSALS);
    proposals
}

/// Proposes the keys of other state dicts in the file that have all tensors of the network.
fn other_keys(selection: &Selection, attempt: Attempt<'_>) -> Vec<Proposal> {
    let selections = selection.with_other_keys().take(MAX_PROPOSALS);
    let proposals = selections.filter_map(|(key, selection)| {
        let proposal = Proposal::tried(format!(".key({key:?})"), &selection, attempt)?;
        (!proposal.partial).then_some(proposal)
    });
    proposals.collect()
}

/// Proposes maps that rename unexpected tensors to missing ones.
///
/// For the first missing name, searches for a replacement that gives this name to an unexpected tensor of the same
/// shape. Chooses the replacement that turns the most names of unexpected tensors into names of the network. Repeats
/// the search for the names that are still missing.
fn replacements(
    selection: &Selection,
    signature: &Signature,
    report: &LoadReport,
    attempt: Attempt<'_>,
) -> Option<Proposal> {
    if report.unexpected.iter().map(|(name, _)| name.len()).sum::<usize>() > MAX_UNEXPECTED {
        return None;
    }
    let mut calls = String::new();
    let mut selection = selection.clone();
    let mut resolved = HashSet::new();
    for (name, shape) in report.missing.iter().take(MAX_MISSING) {
        if resolved.contains(name) {
            continue;
        }
        let candidates = report.unexpected.iter().filter(|(_, old_shape)| old_shape == shape);
        let candidates = candidates.flat_map(|(old, _)| Replacement::between(old, name)).take(MAX_CANDIDATES);
        if let Some((replacement, names)) = best(candidates, &report.unexpected, signature) {
            calls += &format!(".map({:?}, {:?})", replacement.pattern, replacement.new);
            selection = selection.with_map(replacement.regex()?, replacement.new);
            resolved.extend(names);
        }
    }
    if resolved.is_empty() { None } else { Proposal::tried(calls, &selection, attempt) }
}

/// Returns the replacement that turns the most names into names of the network for tensors of equal shape, and the new
/// names. Returns `None` if no replacement does so, or if replacements from different sources are equally good.
fn best(
    candidates: impl Iterator<Item = Replacement>,
    tensors: &[(String, Vec<usize>)],
    signature: &Signature,
) -> Option<(Replacement, HashSet<String>)> {
    let mut best: Option<(Replacement, HashSet<String>)> = None;
    let mut ambiguous = false;
    for candidate in candidates {
        let regex = candidate.regex()?;
        let renamed = tensors.iter().filter_map(|(name, shape)| {
            let new = regex.replace_all(name, candidate.new.as_str());
            let expected = signature.get(&new).filter(|expected| expected.shape == *shape)?;
            Some((new.into_owned(), expected))
        });
        let names: HashSet<String> = renamed.map(|(new, _)| new).collect();
        let most = best.as_ref().map_or(0, |(_, names)| names.len());
        if names.len() > most {
            ambiguous = false;
            best = Some((candidate, names));
        } else if names.len() == most {
            ambiguous |= best.as_ref().is_some_and(|(best, _)| best.source != candidate.source);
        }
    }
    best.filter(|_| !ambiguous)
}

/// The arguments of `Load::map`.
struct Replacement {
    pattern: String,
    new: String,
    /// The name from which the replacement is derived.
    source: String,
}

impl Replacement {
    /// Returns the replacements that turn the name `found` into `expected`, if the names differ in one part. One
    /// replacement applies at the beginning of a name, another anywhere in it.
    fn between(found: &str, expected: &str) -> Vec<Self> {
        let old: Vec<&str> = found.split('.').collect();
        let new: Vec<&str> = expected.split('.').collect();
        let common =
            |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
        let tail = common(&mut old.iter().rev().zip(new.iter().rev()));
        let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
        let head = common(&mut old.iter().zip(new));
        let mut replacements = Vec::new();
        if tail > 0 {
            let pattern = format!("^{}", regex::escape(&with_dot(old)));
            replacements.push(Self::new(pattern, &with_dot(new), found));
        }
        // Names without a common component are not similar.
        if tail + head > 0 && head < old.len() && head < new.len() {
            let pattern = format!(r"\b{}\b", regex::escape(&old[head..].join(".")));
            replacements.push(Self::new(pattern, &new[head..].join("."), found));
        }
        replacements
    }

    fn new(pattern: String, new: &str, source: &str) -> Self {
        // A dollar sign would refer to a group.
        Self { pattern, new: new.replace('$', "$$"), source: source.to_owned() }
    }

    fn regex(&self) -> Option<Regex> {
        Regex::new(&self.pattern).ok()
    }
}

/// Joins the components of a prefix. The result is empty or ends with a dot.
fn with_dot(components: &[&str]) -> String {
    components.iter().map(|component| format!("{component}.")).collect()
}
