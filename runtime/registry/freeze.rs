//! Freezes and unfreezes parameters.

use std::collections::HashSet;

use candle_core::{Tensor, TensorId, Var};

use crate::glob::Glob;
use crate::module::{Mode, Module};
use crate::{Error, Result};

use super::list::{TensorKind, all_paths};
use super::mode::{matching_layers, pin};
use super::replace::{Replacements, for_each_mut};

pub(super) fn freeze<M: Module + ?Sized>(network: &mut M, pattern: &str) -> Result<()> {
    match replace_parameters(network, pattern, |tensor| Ok(tensor.detach()))? {
        0 => Err(no_match(network, "parameter", pattern)),
        _ => Ok(()),
    }
}

pub(super) fn freeze_in_eval<M: Module + ?Sized>(network: &mut M, pattern: &str) -> Result<()> {
    let layers = matching_layers(network, pattern);
    let pinned = pin(network, Some(Mode::Eval), layers)?;
    match pinned + replace_parameters(network, pattern, |tensor| Ok(tensor.detach()))? {
        0 => Err(no_match(network, "parameter or layer", pattern)),
        _ => Ok(()),
    }
}

pub(super) fn unfreeze<M: Module + ?Sized>(network: &mut M, pattern: &str) -> Result<()> {
    match replace_parameters(network, pattern, |tensor| Ok(Var::from_tensor(tensor)?.into_inner()))? {
        0 => Err(no_match(network, "parameter", pattern)),
        _ => Ok(()),
    }
}

fn no_match<M: Module + ?Sized>(network: &M, what: &str, pattern: &str) -> Error {
    Error::msg(format!("no {what} of {} matches {pattern:?}", network.kind()))
}

/// Replaces the parameters whose path matches `pattern`. If one path of a tied parameter matches, the parameter is
/// replaced under all of its paths. Returns the number of replaced parameters.
fn replace_parameters<M: Module + ?Sized>(
    network: &mut M,
    pattern: &str,
    replacement: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<usize> {
    let glob = Glob::new(pattern);
    let entries = all_paths(network).into_iter();
    let matching = entries.filter(|entry| entry.kind == TensorKind::Parameter && glob.matches(&entry.path));
    let matching: HashSet<TensorId> = matching.map(|entry| entry.tensor.id()).collect();
    let mut replacements = Replacements::default();
    for_each_mut(network, &mut |_, _, tensor| {
        if matching.contains(&tensor.id()) {
            *tensor = replacements.get_or_make(tensor, &replacement)?;
        }
        Ok(())
    })?;
    Ok(matching.len())
}
